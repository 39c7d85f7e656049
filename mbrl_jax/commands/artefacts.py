"""Finds the artefacts: modules `experiments/<paper>/<artefact>.py` that expose `ARTEFACT`."""

from __future__ import annotations

import importlib
import pkgutil
import traceback
from collections.abc import Sequence

from mbrl_jax.report.artefact import Artefact
from mbrl_jax.types import nearest

__all__ = ["chosen", "discover"]


def discover() -> tuple[dict[str, Artefact], dict[str, str]]:
    """All artefacts by name, in the order of papers and figures, and for each module that failed its traceback."""
    import experiments

    found: dict[str, Artefact] = {}
    broken: dict[str, str] = {}
    for paper in pkgutil.iter_modules(experiments.__path__):
        if not paper.ispkg:
            continue
        package = importlib.import_module(f"experiments.{paper.name}")
        for module in pkgutil.iter_modules(package.__path__):
            name = f"{paper.name}/{module.name}"
            try:
                artefact = getattr(importlib.import_module(f"experiments.{paper.name}.{module.name}"), "ARTEFACT", None)
            except Exception:  # one broken file must not hide the others
                broken[name] = traceback.format_exc()
                continue
            if artefact is not None:
                found[artefact.name] = artefact
    return found, broken


def chosen(names: Sequence[str], known: dict[str, Artefact]) -> list[Artefact]:
    """The artefacts of the given names; a paper's name alone means all of its artefacts, no name means all.

    Raises:
      ValueError: a name is neither; says which are near.
    """
    picked: dict[str, Artefact] = {}
    for name in names or list(known):
        wanted = [name] if name in known else [each for each in known if each.startswith(f"{name.rstrip('/')}/")]
        if not wanted:
            papers = {each.split("/")[0] for each in known}
            raise ValueError(nearest(name, [*known, *papers], "artefact"))
        picked |= {each: known[each] for each in wanted}
    return list(picked.values())
