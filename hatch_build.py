"""What a wheel holds besides the package: the experiments, inside it, so that nobody gets a package of that name."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Experiments(BuildHookInterface):
    """Puts `experiments/` into a wheel as `mbrl_jax/_experiments`; an editable install uses it where it is."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it builds."""
        if version == "standard":
            build_data["force_include"]["experiments"] = "mbrl_jax/_experiments"
