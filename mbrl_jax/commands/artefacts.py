"""Finds the artefacts: modules `<paper>/<artefact>.py` of a folder of experiments that expose `ARTEFACT`.

Whatever the folder is called, it is imported as the package `experiments`, by which its modules import one another.
This package's own lies beside it in a clone, and inside it, as `_experiments`, where it was installed from a wheel.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pandas as pd

from mbrl_jax import results
from mbrl_jax.checks import nearest, resolved
from mbrl_jax.jobs import Job
from mbrl_jax.report import figures, select, statistics
from mbrl_jax.report.artefact import Artefact, Block, Figure, Table

__all__ = ["chosen", "discover", "others", "own_folder", "prepare"]

NAME = "experiments"
SHOWN = 6  # curves in one panel; the table holds them all


def own_folder() -> Path:
    """This package's own experiments: inside it where it was installed from a wheel, beside it in a clone."""
    package = Path(__file__).parents[1]
    inside = package / "_experiments"
    return inside if inside.is_dir() else package.parent / "experiments"


def _package(folder: Path) -> ModuleType:
    """A folder as the package `experiments`.

    Raises:
      ValueError: it is no package, or this process has already imported another one under that name.
    """
    start = folder.absolute() / "__init__.py"
    known = sys.modules.get(NAME)
    if known is not None:
        if Path(known.__file__ or "").resolve() != start.resolve():
            raise ValueError(f"one folder of experiments can be used in a process, got {folder} after {known.__file__}")
        return known
    if not start.is_file():
        raise ValueError(f"a folder of experiments must be a Python package, {folder} has no __init__.py")
    spec = importlib.util.spec_from_file_location(NAME, start, submodule_search_locations=[str(start.parent)])
    assert spec is not None and spec.loader is not None
    sys.modules[NAME] = package = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
    return package


def discover(folder: Path | None = None) -> tuple[dict[str, Artefact], dict[str, str]]:
    """All artefacts by name, in the order of papers and figures, and for each module that failed its traceback.

    Args:
      folder: the folder of experiments; this package's own if None.

    Raises:
      ValueError: the folder is no package, or another one has been imported in this process.
    """
    experiments = _package(own_folder() if folder is None else resolved(folder))
    found: dict[str, Artefact] = {}
    broken: dict[str, str] = {}
    for paper in pkgutil.iter_modules(experiments.__path__):
        if not paper.ispkg:
            continue
        package = importlib.import_module(f"{NAME}.{paper.name}")
        for module in pkgutil.iter_modules(package.__path__):
            name = f"{paper.name}/{module.name}"
            try:
                artefact = getattr(importlib.import_module(f"{NAME}.{paper.name}.{module.name}"), "ARTEFACT", None)
            except Exception:  # one broken file must not hide the others
                broken[name] = traceback.format_exc()
                continue
            if artefact is not None:
                found[artefact.name] = artefact
    return found, broken


def prepare(folder: Path | None = None) -> None:
    """Makes a folder of experiments known to a worker process, so that their jobs can be unpickled.

    Raises:
      ValueError: as of `discover`.
    """
    _package(own_folder() if folder is None else folder)


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


def others(root: str | Path, known: dict[str, Artefact]) -> list[Artefact]:
    """One section per experiment in the results that belongs to no artefact: one's own runs and sweeps."""
    covered = {name for artefact in known.values() for name in (artefact.name, *artefact.also)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the report names damaged runs itself
        rows = results.manifests(root).to_dict("records")
    names = sorted({row["experiment"] for row in rows} - covered)
    return [Artefact(name=n, title=f"Own runs: {n}", paper="not of a paper", jobs=_nothing, blocks=_own) for n in names]


def _nothing(profile: str) -> Sequence[Job]:
    """There is nothing to do: the results exist, or `mbrl train` and `mbrl sweep` make them."""
    return ()


def _own(frame: pd.DataFrame) -> list[Block]:
    """Final returns of every label, and the curves of the best."""
    rows = []
    for env in sorted(frame["env"].unique()):
        for label in sorted(frame.loc[frame["env"] == env, "algorithm"].unique()):
            final = select.final(frame, label, env)
            middle = statistics.aggregate(final)
            rows.append(
                {
                    "task": env,
                    "algorithm": label,
                    "seeds": len(final),
                    "return (IQM)": middle.estimate,
                    "low": middle.low,
                    "high": middle.high,
                }
            )
    table = pd.DataFrame(rows).sort_values(["task", "return (IQM)"], ascending=[True, False], ignore_index=True)
    panels = []
    for env, best in table.groupby("task"):
        labels = list(best["algorithm"])[:SHOWN]
        panels += figures.learning_curves(frame, algorithms=labels, envs=[str(env)])
    shown = f"the {SHOWN} best labels of each task" if len(table) > SHOWN else "all labels"
    return [
        Figure(panels, f"Evaluation return against environment steps, IQM and 95 % intervals over seeds; {shown}."),
        Table(table, "Return at the end: IQM over seeds with its 95 % bootstrap interval."),
    ]
