"""`mbrl compare`: two results folders, or two profiles of one, side by side."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from mbrl_jax.report.compare import Pair

__all__ = ["Compare", "compare"]


@dataclass(frozen=True, kw_only=True)
class Compare:
    """The same claims in two results folders: of other machines, commits or profiles; runs nothing."""

    first: Annotated[Path, tyro.conf.Positional]
    """A results folder, or an address s3://BUCKET/PREFIX or gs://BUCKET/PREFIX."""
    second: Annotated[Path, tyro.conf.Positional]
    """Another one; the same where only the profiles differ."""
    profiles: tuple[str, str] | None = None
    """The profile of each; the largest with finished runs if not given."""
    artefacts: tuple[str, ...] = ()
    """Artefacts or papers to compare; all, and runs of your own, if not given."""
    out: Path = Path("comparison")
    """The folder to write index.html and claims.csv to."""
    experiments: Path | None = None
    """A folder of experiments of your own, `<paper>/<artefact>.py`; this package's if not given."""


def compare(words: list[str]) -> int:
    """Runs the command; 1 if an artefact's module could not be imported, else 0."""
    args = tyro.cli(Compare, prog="mbrl compare", args=words)
    from mbrl_jax import storage
    from mbrl_jax.commands import artefacts
    from mbrl_jax.report import compare as comparing
    from mbrl_jax.runner import setup

    setup.configure()
    sides = [
        comparing.Source(storage.located(root), profile)
        for root, profile in zip((args.first, args.second), args.profiles or (None, None), strict=True)
    ]
    known, broken = artefacts.discover(args.experiments)
    chosen = artefacts.chosen(args.artefacts, known)
    if not args.artefacts:
        own = {one.name: one for side in sides for one in artefacts.others(side.root, known)}
        chosen += own.values()
    index, pairs = comparing.compare(chosen, sides[0], sides[1], args.out)
    _say(pairs)
    print(f"comparison: {index}")
    for name, problem in broken.items():
        print(f"mbrl compare: {name} could not be imported and is left out:\n{problem}", file=sys.stderr)
    return 1 if broken else 0


def _say(pairs: Sequence[Pair]) -> None:
    """What changed, then how much did."""
    from mbrl_jax.report.compare import changed

    moved = [(pair, what) for pair in pairs if (what := changed(pair))]
    for pair, what in moved:
        print(f"{what:<32} {pair.artefact.name:<18} {pair.claim.text}")
    both = sum(pair.both for pair in pairs)
    print(f"\n{both} claims have results on both sides, {len(moved)} changed")
