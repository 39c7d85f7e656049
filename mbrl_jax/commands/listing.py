"""`mbrl list`: what there is, by name."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

__all__ = ["List", "listing"]

KINDS = ("algorithms", "environments", "presets", "artefacts")


@dataclass(frozen=True, kw_only=True)
class List:
    """Algorithms, environments, presets and artefacts by name."""

    kinds: Annotated[
        tuple[Literal["algorithms", "environments", "presets", "artefacts"], ...], tyro.conf.Positional
    ] = ()
    """What to list; everything if not given."""
    experiments: Path | None = None
    """A folder of experiments of your own, `<paper>/<artefact>.py`; this package's if not given."""


def listing(words: list[str]) -> int:
    """Runs the command; 1 if an artefact's module could not be imported, else 0."""
    args = tyro.cli(List, prog="mbrl list", args=words)
    from mbrl_jax.runner import setup

    setup.configure()
    code = 0
    for kind in args.kinds or KINDS:
        print(f"{kind}:")
        code |= {
            "algorithms": _algorithms,
            "environments": _environments,
            "presets": _presets,
            "artefacts": lambda: _artefacts(args.experiments),
        }[kind]()
    return code


def _algorithms() -> int:
    from mbrl_jax.algorithms import REGISTRY

    for name, entry in REGISTRY.items():
        print(f"  {name:<12} {entry.about}")
    return 0


def _environments() -> int:
    from mbrl_jax import envs

    for name in envs.names():
        print(f"  {name}")
    return 0


def _presets() -> int:
    """Per algorithm the environments whose preset is not the default configuration."""
    from mbrl_jax import envs
    from mbrl_jax.algorithms import REGISTRY, preset

    for name in REGISTRY:
        default = preset(name, "no environment has this name")
        own = [env for env in envs.names() if preset(name, env) != default]
        print(f"  {name:<12} {', '.join(own) or 'none'}")
    return 0


def _artefacts(folder: Path | None) -> int:
    from mbrl_jax.commands import artefacts

    known, broken = artefacts.discover(folder)
    width = max(map(len, known), default=0)
    for name, artefact in known.items():
        print(f"  {name:<{width}}  {artefact.title} ({artefact.paper})")
    for name, problem in broken.items():
        print(f"  {name} could not be imported: {problem.strip().splitlines()[-1]}", file=sys.stderr)
    return 1 if broken else 0
