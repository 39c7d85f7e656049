"""From the results folder to what the report shows: which runs count, what they say, what is damaged or missing."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure as Drawing

from mbrl_jax import results
from mbrl_jax.checks import resolved
from mbrl_jax.report import data, theme
from mbrl_jax.report.artefact import Animation, Artefact, Block, Figure, Table, Text
from mbrl_jax.report.claims import Claim, Judgement, Verdict, judge
from mbrl_jax.report.select import MissingDataError
from mbrl_jax.types import Facts

__all__ = ["PROFILES", "Drawn", "Section", "drawn", "gather"]

PROFILES = {
    "paper": "the paper's scale",
    "laptop": "laptop profile: scaled down where the note says so",
    "smoke": "smoke profile: proves that it runs, too short to be evidence",
}


class Drawn(NamedTuple):
    """A figure block made ready: inline SVG per panel, label to light colour, caption, and the numbers behind it."""

    panels: Sequence[str]
    legend: dict[str, str]
    caption: str
    numbers: pd.DataFrame


class Section(NamedTuple):
    """An artefact with its evidence.

    Attributes:
      artefact: the artefact.
      profile: profile of the runs shown; empty if there are none.
      blocks: what is drawn.
      judged: claims with their judgements.
      runs: manifests of the runs shown.
      remarks: damaged files, unfinished runs, runs left out.
      across: for every profile that has runs, the judgements of the artefact's claims in their order.
      frame: the results that are shown, as `results.load` gives them.
    """

    artefact: Artefact
    profile: str
    blocks: Sequence[Drawn | Table | Animation | Text]
    judged: Sequence[tuple[Claim, Judgement]]
    runs: Sequence[Facts]
    remarks: Sequence[str]
    across: Mapping[str, Sequence[Judgement]]
    frame: pd.DataFrame


class Evidence(NamedTuple):
    """The results of an artefact in one profile: what is drawn, what of it is judged, and what is to be said of it."""

    shown: pd.DataFrame
    complete: pd.DataFrame
    remarks: Sequence[str]


def gather(
    artefacts: Sequence[Artefact], root: str | Path, profile: str | None = None, *, draw: bool = True
) -> list[Section]:
    """Reads the results once and evaluates every artefact on its own; what goes wrong in one stays in it.

    Args:
      artefacts: in the order of the sections.
      root: the results folder.
      profile: the profile that is shown; of each artefact the largest with finished runs if None.
      draw: whether blocks are drawn, and claims judged in other profiles too.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        manifests = results.manifests(root).to_dict("records")
    damaged = [str(warning.message) for warning in caught]
    return [_section(artefact, resolved(root), manifests, damaged, profile, draw) for artefact in artefacts]


def _section(
    artefact: Artefact,
    root: Path,
    manifests: Sequence[Facts],
    damaged: Sequence[str],
    profile: str | None,
    draw: bool,
) -> Section:
    names = (artefact.name, *artefact.also)
    mine = [facts for facts in manifests if facts["experiment"] in names]
    there = {_profile_of(facts) for facts in mine}
    if profile is None:
        profile = _profile([facts for facts in mine if facts["experiment"] == artefact.name] or mine)
    elif profile not in there:
        profile = ""
    runs = {name: [facts for facts in mine if _profile_of(facts) == name] for name in {*there, profile}}
    frame, complete, remarks = _evidence(artefact, root, runs[profile], damaged)
    across = {profile: [_judge(claim, complete, profile) for claim in artefact.claims]}
    judged = list(zip(artefact.claims, across[profile], strict=True))
    for other in sorted(there - {profile}) if artefact.claims and draw else ():
        held = _evidence(artefact, root, runs[other], damaged).complete
        across[other] = [_judge(claim, held, other) for claim in artefact.claims]
    shown = [facts for facts in runs[profile] if facts["run"] in set(frame["run"])]
    blocks, problem = _blocks(artefact, frame) if draw else ([], [])
    return Section(artefact, profile, blocks, judged, shown, [*problem, *remarks], across, frame)


def _evidence(artefact: Artefact, root: Path, runs: Sequence[Facts], damaged: Sequence[str]) -> Evidence:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        frame = results.load(root, run=[facts["run"] for facts in runs]) if runs else results.load(root / "nothing")
    frame, replaced = _newest(frame, runs, artefact.name)
    frame.attrs["root"] = str(root)
    remarks = [str(warning.message) for warning in caught if str(warning.message) not in damaged] + list(damaged)
    remarks += [f"{replaced} older run(s) of the same seeds are left out"] if replaced else []
    remarks += _mixed(frame, runs) + _respelt(frame)
    unfinished = [facts["run"] for facts in runs if facts["status"] != "finished"]
    remarks += [f"unfinished, drawn as far as they are but not judged: {', '.join(unfinished)}"] if unfinished else []
    complete = frame.loc[~frame["run"].isin(unfinished)]
    complete.attrs["root"] = str(root)
    return Evidence(frame, complete, remarks)


def _judge(claim: Claim, frame: pd.DataFrame, profile: str) -> Judgement:
    if frame.empty:
        nothing = float("nan")
        return Judgement(Verdict.OPEN, nothing, nothing, nothing, 0, 0, "no finished run yet")
    judged = judge(claim, frame)
    if profile == "smoke":
        return judged._replace(verdict=Verdict.OPEN, note="smoke profile: too short to be evidence")
    if claim.profiles and profile not in claim.profiles:
        wanted = " or ".join(claim.profiles)
        return judged._replace(verdict=Verdict.OPEN, note=f"about the {wanted} profile's scale, which this is not")
    return judged


def _blocks(artefact: Artefact, frame: pd.DataFrame) -> tuple[list[Drawn | Table | Animation | Text], list[str]]:
    if frame.empty:
        return [], []
    try:
        return [
            drawn(block, f"{results.file_name(artefact.name)}-{i}") for i, block in enumerate(artefact.blocks(frame))
        ], []
    except MissingDataError as error:
        return [Text(f"Not all results are there yet: {error}.")], []
    except Exception as error:  # one drawing that fails must not take the report with it
        return [], [f"could not be drawn: {type(error).__name__}: {error}"]


def drawn(block: Block, prefix: str) -> Drawn | Table | Animation | Text:
    """A block made ready for the page; the ids in its drawings begin with the prefix."""
    if not isinstance(block, Figure):
        return block
    legend: dict[str, str] = {}
    notes: dict[str, None] = {}
    for panel in block.panels:
        if isinstance(panel, Drawing):
            notes |= dict.fromkeys(filter(None, [str(panel.get_label())]))
            legend |= {label: tint for label, tint in theme.legend(panel).items() if label not in legend}
    svgs = [theme.to_svg(panel, f"{prefix}-{i}", data.description(panel)) for i, panel in enumerate(block.panels)]
    return Drawn(svgs, legend, " ".join(filter(None, (block.caption, *notes))), data.numbers(block.panels))


def _mixed(frame: pd.DataFrame, runs: Sequence[Facts]) -> list[str]:
    """Remarks where the seeds of one label come from runs with different settings: before and after a change, say."""
    settings = {facts["run"]: json.dumps(facts.get("config"), sort_keys=True, default=str) for facts in runs}
    found = []
    for _, part in frame[["algorithm", "env", "run"]].drop_duplicates().groupby(["algorithm", "env"]):
        if len({settings[run] for run in part["run"]}) > 1:
            label, names = " on ".join(part.iloc[0][["algorithm", "env"]]), ", ".join(sorted(part["run"]))
            found.append(f"the seeds of {label} come from runs with different settings: {names}")
    return found


def _respelt(frame: pd.DataFrame) -> list[str]:
    """Remarks where two tasks have one name but for capitals, hyphens and underscores, as ours and a published one."""
    spellings: dict[str, list[str]] = {}
    for env in sorted(frame["env"].unique()):
        spellings.setdefault(re.sub("[-_]", "", env.lower()), []).append(env)
    twice = [names for names in spellings.values() if len(names) > 1]
    return [f"drawn as different tasks, though they differ in spelling only: {', '.join(names)}" for names in twice]


def _profile_of(facts: Facts) -> str:
    profile = facts.get("profile")
    return profile if isinstance(profile, str) else "unlabelled"


def _profile(runs: Sequence[Facts]) -> str:
    """The largest profile with finished runs, else the largest with any; profiles are never mixed."""
    order = [*PROFILES, "unlabelled"]
    order += sorted({_profile_of(facts) for facts in runs} - set(order))
    for wanted in (("finished",), results.STATUSES):
        there = {_profile_of(facts) for facts in runs if facts["status"] in wanted}
        for profile in order:
            if profile in there:
                return profile
    return ""


def _newest(frame: pd.DataFrame, runs: Sequence[Facts], own: str) -> tuple[pd.DataFrame, int]:
    """Where several runs hold the same seeds, keeps the artefact's own, finished, newest one."""

    def merit(facts: Facts) -> tuple[bool, bool, str]:
        return facts["experiment"] == own, facts["status"] == "finished", str(facts.get("written", ""))

    best = [facts["run"] for facts in sorted(runs, key=merit, reverse=True)]
    keys = ["algorithm", "env", "seed"]
    owners = frame[["run", *keys]].drop_duplicates()
    owners = owners.assign(place=[best.index(run) for run in owners["run"]]).sort_values("place").drop_duplicates(keys)
    kept = frame.merge(owners[["run", *keys]], on=["run", *keys])
    return kept, len(set(frame["run"]) - set(kept["run"]))
