"""MAO on continuous control, made-up results: runs can be made, everything is drawn, claims are judged both ways."""

import numpy as np
import pandas as pd
import pytest

from experiments.mao import continuous, figure2, figure3, slbo, table1
from experiments.mao.continuous import ALIVE, L1, L1_VPS, NOTHING, RANDOM, SAC, SLBO, STALE, VAML, VAML_VPS
from mbrl_jax import results
from mbrl_jax.report import select
from mbrl_jax.report.claims import Verdict, judge

STEPS = np.arange(0, 8001, 2000)


def made_up(name, tasks, scores, alive, seeds=6):
    """A long table in which every seed of a label ends at about its score, with the share of its model that lives."""
    rng, parts = np.random.default_rng(0), []

    def add(label, env, seed, metric, values, at=STEPS):
        rows = {"env_step": at, "value": values, "seed": seed, "algorithm": label, "env": env, "metric": metric}
        parts.append(pd.DataFrame(rows).assign(run=f"{label} {env} {metric}"))

    for env in tasks:
        for label, score in scores.items():
            for seed in range(seeds):
                noise = 0.01 * rng.normal(size=len(STEPS))
                add(label, env, seed, select.RETURN, -100 + (score + 100) * np.minimum(STEPS / 2000, 1) + noise)
                if label in alive:
                    add(label, env, seed, "model/alive", np.full(4, alive[label]), STEPS[1:])
        for label, value in ((NOTHING, -40.0), (RANDOM, -90.0)):
            for seed in range(20):
                add(label, env, seed, select.RETURN, np.array([value]), STEPS[:1])
    return pd.concat(parts).assign(experiment=name, diverged_at=np.nan)


SCORES = {SLBO: -5.0, L1: -5.0, L1_VPS: -4.0, VAML: -20.0, VAML_VPS: -21.0, ALIVE: -6.0, SAC: -30.0, STALE: -60.0}
LIVES = {SLBO: 0.9, L1: 0.9, L1_VPS: 0.9, VAML: 0.0, VAML_VPS: 0.0, ALIVE: 0.8, STALE: 0.9}


@pytest.mark.parametrize("profile", ["smoke", "laptop", "paper"])
def test_every_methods_runs_are_others(profile):
    planned = continuous.planned(figure2.NAME, profile, figure2.tasks(profile))
    ids = [results.run_id(one.identity(one.environment())) for one in planned]
    assert len(set(ids)) == len(ids) == 7 * len(figure2.tasks(profile)) + 1
    budgets = {one.env: set() for one in planned}
    for one in planned:
        budgets[one.env].add(one.config.steps + (one.config.warmup_steps if one.algorithm == SAC else 0))
    assert all(len(steps) == 1 for steps in budgets.values())


def test_long_tasks_have_the_papers_steps():
    config = continuous.scale("paper").config
    assert config("mbbl_ant-v0").steps == 800_000 and config("mbbl_pendulum-v0").steps == 200_000


def test_the_weights_are_the_papers():
    assert {env: table1.ours(env) for env in table1.PRINTED} == table1.PRINTED
    alive = continuous.chosen("mbbl_ant-v0", continuous.scale("laptop"))[ALIVE].config
    assert alive.model.weight == 0.5


def verdicts(claims, frame):
    return {claim.text: judge(claim, frame) for claim in claims}


def test_what_the_paper_says_holds_where_results_are_so():
    tasks = figure2.tasks("laptop")
    frame = made_up(figure2.NAME, tasks, SCORES, LIVES)
    found = verdicts(figure2.CLAIMS, frame)
    for env in tasks:
        title = continuous.PUBLISHED[env].title
        held = [found[f"{title}: {text}"].verdict for text in (
            "MA-L1's final return exceeds MA-VAML's",
            "MA-L1 learns faster than MA-VAML",
            "SLBO learns more than to do nothing",
            "with the weight that the paper selects for MA-VAML the model dies",
            "with MA-L1's weight the model of MA-VAML lives",
        )]  # fmt: skip
        assert held == [Verdict.HOLDS] * 5
    assert found["VPS improves MA-L1 on most tasks"].verdict is Verdict.HOLDS
    assert found["VPS brings MA-VAML no consistent gain"].verdict is Verdict.HOLDS
    assert found["Pendulum: without refreshing the values while the model learns MA-L1 has no success"].estimate > 50
    assert found["Swimmer: MA-L1 is significantly better than SLBO"].verdict is Verdict.OPEN
    assert "not run" in found["MBPO is far above these returns"].note
    assert not [one for one in found.values() if "could not be judged" in one.note]
    curves, units, table = figure2.blocks(frame)
    assert len(curves.panels) == len(units.panels) == len(table.frame) == 2
    assert list(table.frame[STALE] != "–") == [True, False]


def test_results_that_contradict_the_paper_fail():
    swapped = {**SCORES, L1: -20.0, VAML: -5.0, VAML_VPS: -1.0}
    found = verdicts(figure2.CLAIMS, made_up(figure2.NAME, figure2.tasks("laptop"), swapped, {**LIVES, VAML: 0.9}))
    texts = (
        "Pendulum: MA-L1's final return exceeds MA-VAML's",
        "Pendulum: MA-L1's final return is comparable to SLBO's",
    )
    assert [found[text].verdict for text in texts] == [Verdict.FAILS] * 2
    assert found["VPS brings MA-VAML no consistent gain"].verdict is Verdict.FAILS
    dies = "Pendulum: with the weight that the paper selects for MA-VAML the model dies"
    assert found[dies].verdict is Verdict.FAILS


def test_reacher_is_judged_at_the_first_stage_and_at_the_end():
    frame = made_up(figure3.NAME, figure3.TASKS[:1], SCORES, LIVES)
    found = verdicts(figure3.CLAIMS, frame)
    assert found["Reacher: MA-L1 is optimal within 10,000 steps"].verdict is Verdict.HOLDS
    assert found["Reacher: MA-VAML is sub-optimal at the end"].verdict is Verdict.HOLDS
    assert found["Hopper: MA-L1 is better than SLBO and than both forms of MA-VAML"].verdict is Verdict.OPEN
    assert len(figure3.blocks(frame)) == 3


def test_the_table_is_drawn_and_judged():
    scores = {table1._label(value): -5.0 for value in table1.LAMBDAS}
    frame = made_up(table1.NAME, (continuous.FIRST,), scores, dict.fromkeys(scores, 0.0))
    presets = {"experiment": table1.NAME, "algorithm": "presets", "env": "all", "seed": 0, "env_step": 0}
    presets |= {"metric": table1.DIFFER, "value": 0.0, "run": "table", "diverged_at": np.nan}
    frame = pd.concat([frame, pd.DataFrame([presets])])
    assert judge(table1.CLAIMS[0], frame).verdict is Verdict.HOLDS
    table, figure = table1.blocks(frame)
    assert len(table.frame) == 8 and len(figure.panels) == 2


def test_slbos_returns_stand_beside_the_published_ones():
    frame = made_up(slbo.NAME, ("mbbl_acrobot-v0",), {SLBO: -100.0}, {})
    assert [judge(claim, frame).verdict for claim in slbo.CLAIMS].count(Verdict.HOLDS) == 1
    _, table = slbo.blocks(frame)
    assert list(table.frame["task"]) == ["Acrobot"]
