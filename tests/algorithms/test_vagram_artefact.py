"""The distractor artefact on made-up results: runs can be made, everything is drawn, claims are judged both ways."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from experiments.vagram import distractors
from experiments.vagram.distractors import ARTEFACT, MLE, SCALES, VAGRAM, VAML
from mbrl_jax import envs, results
from mbrl_jax.report import select
from mbrl_jax.report.claims import Verdict, judge


def made_up(scores, tasks, seeds=6):
    """A long table in which every seed of a label ends at about its score, without and with distractors."""
    rng, rows = np.random.default_rng(0), []
    at = np.arange(0, 4001, 250)
    for label, pair in scores.items():
        for task, score in zip(tasks, pair, strict=True):
            for seed in range(seeds):
                values = -1200 + (score + 1200) * np.minimum(at / 2000, 1.0) + 5 * rng.normal(size=len(at))
                table = {"env_step": at, "value": values, "seed": seed, "algorithm": label, "env": task}
                rows.append(pd.DataFrame(table).assign(run=f"{label} {task}"))
    return pd.concat(rows).assign(experiment=distractors.NAME, metric=select.RETURN, diverged_at=np.nan)


@pytest.mark.parametrize("profile", list(SCALES))
def test_every_profiles_runs_differ_in_objective_and_task_only(profile):
    planned = distractors.planned(profile)
    ids = [results.run_id(one.identity(one.environment())) for one in planned]
    assert len(set(ids)) == len(ids) == 6
    assert {one.env for one in planned} == set(SCALES[profile].tasks)
    assert {one.environment().spec.name for one in planned} == set(SCALES[profile].tasks)
    plain = {replace(one.config, model=replace(one.config.model, deterministic=False)) for one in planned}
    assert len(plain) == 1
    assert {one.algorithm for one in planned if one.config.model.deterministic} == {VAGRAM, VAML}
    width, dims = (envs.make(task).spec.obs_dim for task in SCALES[profile].tasks)
    assert dims == width + 10


def test_the_laptop_run_has_seeds_enough_for_a_verdict():
    assert SCALES["laptop"].seeds >= 6
    with pytest.raises(ValueError, match="profile must be one of"):
        distractors.planned("lapto")


@pytest.mark.parametrize("profile", ["laptop", "paper"])
def test_results_as_the_paper_has_them_hold_and_are_drawn(profile):
    scores = {MLE: (-200, -900), VAGRAM: (-210, -300), VAML: (-800, -1100)}
    frame = made_up(scores, SCALES[profile].tasks)
    assert [judge(claim, frame).verdict for claim in ARTEFACT.claims] == [Verdict.HOLDS] * 4
    figure, table = ARTEFACT.blocks(frame)
    alone = SCALES[profile].tasks[0]
    titles = [panel.axes[0].get_title(loc="left") for panel in figure.panels]
    assert titles == [alone, f"{alone} with 10 distractors"]
    assert list(table.frame["the model minimises"]) == [MLE, VAGRAM, VAML]
    assert table.frame["with 10 distractors"].str.startswith("-").all()


def test_results_that_contradict_the_paper_fail():
    scores = {MLE: (-300, -200), VAGRAM: (-200, -900), VAML: (-150, -150)}
    frame = made_up(scores, SCALES["laptop"].tasks)
    assert [judge(claim, frame).verdict for claim in ARTEFACT.claims] == [Verdict.FAILS] * 4


def test_without_the_distracted_task_nothing_is_drawn_or_judged():
    frame = made_up({MLE: (-200, -900)}, SCALES["laptop"].tasks)
    alone = frame[frame["env"] == "pendulum-v1"]
    with pytest.raises(select.MissingDataError, match="with and without distractors"):
        ARTEFACT.blocks(alone)
    assert judge(ARTEFACT.claims[0], alone).verdict is Verdict.OPEN
