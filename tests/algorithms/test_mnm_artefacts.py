"""MnM on continuous control, made-up results: runs can be made, everything is drawn, claims are judged both ways."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from experiments.mnm import (
    continuous,
    figure4a,
    figure4b,
    figure5,
    figure6,
    figure7,
    figure8,
    figure9,
    figure10,
    figure12,
    gaps,
    hopper,
    slope,
    table2,
)
from experiments.mnm.continuous import (
    DRAWER,
    FULL,
    INVERTED,
    MBPO,
    MNM,
    NO_LOGGED,
    NO_VALUE,
    POSE,
    SAC,
    SMALL_CLASSIFIER,
    VMBPO,
)
from mbrl_jax import results
from mbrl_jax.data.rows import unpack
from mbrl_jax.report import select
from mbrl_jax.report.claims import Verdict, judge
from mbrl_jax.runner import work

MODULES = (
    figure4a,
    figure4b,
    figure5,
    figure6,
    figure7,
    figure8,
    figure9,
    figure10,
    figure12,
    hopper,
    slope,
    table2,
)
STEPS = np.arange(0, 3001, 250)


def rows(label, env, metric, of_seed, seeds=6, at=STEPS):
    """A long table of one metric; `of_seed(rng)` gives the values of a seed."""
    rng, parts = np.random.default_rng(0), []
    for seed in range(seeds):
        table = {"env_step": at, "value": of_seed(rng), "seed": seed, "algorithm": label, "env": env, "metric": metric}
        parts.append(pd.DataFrame(table).assign(run=f"{label} {env}"))
    return pd.concat(parts).assign(experiment="mnm/made_up", diverged_at=np.nan)


def rising(start, end, spread=1.0, at=STEPS):
    """A curve that is at its end after half of the steps, with noise that differs between seeds."""
    return lambda rng: start + (end - start) * np.minimum(at / (at[-1] / 2), 1) + spread * rng.normal(size=len(at))


def ran(label, env, score, value, *, start=0.0, length=1000.0, error=(1.0, 0.3), more=None):
    """What a run stores: returns, lengths, values (in the task's units), model errors, and other metrics."""
    later = STEPS[1:]
    found = [
        rows(label, env, select.RETURN, rising(start, score)),
        rows(label, env, "eval/length", lambda rng: np.full(len(STEPS), length)),
        rows(label, env, gaps.VALUE, lambda rng: gaps.SCALE * rising(value[0], value[1], 0.1, later)(rng), at=later),
        rows(label, env, gaps.MSE, rising(*error, 0.001, later), at=later),
    ]
    for metric, level in (more or {}).items():
        found.append(rows(label, env, metric, rising(level, level, 0.01 * abs(level), later), at=later))
    return pd.concat(found)


def judged(module, frame):
    return {claim.text: judge(claim, frame) for claim in module.ARTEFACT.claims}


def verdicts(module, frame, env):
    """Verdicts of the claims on a task."""
    name = continuous.title(env)
    return [one.verdict for text, one in judged(module, frame).items() if name in text]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.NAME)
@pytest.mark.parametrize("profile", list(continuous.SCALES))
def test_every_artefacts_runs_are_others_and_kept_where_it_looks(module, profile):
    planned = module.ARTEFACT.jobs(profile)
    ids = [one.identity for one in planned]
    assert len(set(ids)) == len(ids)
    assert {one.experiment for one in planned} <= {module.NAME, *module.ARTEFACT.also}
    assert module.ARTEFACT.on_request == (() if module is table2 else ("smoke", "laptop"))
    assert module is not table2 or profile == "paper" or len(planned) == 1, "it trains at the paper's scale only"


def test_artefacts_that_show_the_same_run_share_it():
    """On a laptop every training once; beside them what two models are asked, and the comparison with the print."""
    small = [module for module in MODULES if module not in (figure6, hopper)]
    found = {one.identity: one.title for module in small for one in module.ARTEFACT.jobs("laptop")}
    trained = {run.algorithm + run.env for module in small for run in runs(module, "laptop")}
    assert len(found) == len(trained) + 3
    assert {run.env for module in small for run in runs(module, "laptop")} == {INVERTED, POSE}


def runs(module, profile):
    wanted = module.wanted(profile) if hasattr(module, "wanted") else module.WANTED
    return continuous.planned(profile, wanted)


def test_methods_differ_in_what_they_are_about_and_nothing_else():
    ours, twin, without = (continuous.chosen(label, INVERTED, "laptop") for label in (MNM, MBPO, NO_VALUE))
    assert ours.config == twin.config == replace(without.config, value_coefficient=1.0)
    assert (ours.method, twin.method, without.method) == ("mnm", "mnm_mbpo", "mnm")
    assert continuous.chosen(continuous.longer(4), DRAWER, "paper").config.rollout_length == 4
    model_free = continuous.chosen(SAC, POSE, "paper").config
    assert (model_free.updates_per_step, model_free.agent.target_entropy) == (20, -4.5)
    with pytest.raises(ValueError, match="profile must be one of"):
        continuous.scale("lapto")


def test_the_papers_settings_are_run_in_the_paper_profile():
    for module in MODULES:
        for run in runs(module, "paper"):
            assert run.config.warmup_steps == 10_000 and run.config.steps >= 125_000
            assert len(run.seeds) >= 3 and run.eval_episodes == 30


def pendulum(scores, values=None):
    values = values or {}
    return pd.concat([ran(label, INVERTED, score, values.get(label, (0, 90))) for label, score in scores.items()])


def test_figure_4a_is_judged_both_ways():
    frame = pendulum({MNM: 980.0, MBPO: 985.0, VMBPO: 300.0})
    found = judged(figure4a, frame)
    assert found["C1, Inverted pendulum: MnM-approx is on par with MBPO"].verdict is Verdict.HOLDS
    assert found["C2, Inverted pendulum: MnM-approx's final return exceeds VMBPO's"].verdict is Verdict.HOLDS
    assert found["The best evaluation of MnM-approx on the inverted pendulum is above 950 of 1,000"].verdict == "HOLDS"
    assert found["C1, Hopper: MnM-approx is on par with MBPO"].verdict is Verdict.OPEN
    assert not [one.note for one in found.values() if "could not be judged" in one.note]
    _, table, steps = figure4a.blocks(frame)
    assert list(table.frame["p, published"]) == ["–", "none given", ".04, .00, .03 (which is which is not said)"]
    assert float(table.frame["p"].iloc[2]) < 0.001 < float(table.frame["p"].iloc[1])
    assert "6/6" in steps.frame["median steps to solve"].iloc[0]
    assert verdicts(figure4a, pendulum({MNM: 300.0, MBPO: 980.0, VMBPO: 600.0}), INVERTED)[:2] == [Verdict.FAILS] * 2


def posed(scores, success):
    return pd.concat([
        ran(label, POSE, score, (0.0, -50.0), start=-110.0, length=80.0, more={"eval/success": success[label]})
        for label, score in scores.items()
    ])  # fmt: skip


def test_figure_4b_is_judged_both_ways():
    frame = posed({MNM: -10.0, MBPO: -40.0, SAC: -70.0}, {MNM: 0.9, MBPO: 0.4, SAC: 0.2})
    assert set(verdicts(figure4b, frame, POSE)) == {Verdict.HOLDS}
    curves, scores, success = figure4b.blocks(frame)
    assert len(curves.panels) == 1 and len(scores.frame) == len(success.frame) == 3
    frame = posed({MNM: -60.0, MBPO: -40.0, SAC: -30.0}, {MNM: 0.1, MBPO: 0.4, SAC: 0.5})
    assert set(verdicts(figure4b, frame, POSE)) == {Verdict.FAILS}
    found = judged(figure4b, frame)
    assert [one.verdict for text, one in found.items() if text.startswith(("C3", "C6: "))] == [Verdict.OPEN] * 2


def test_what_is_earned_is_the_discounted_rest_of_an_episode():
    """Of 10 steps that pay 1 each the mean of (1 − γ^(10 − t)) / (1 − γ) over t; cut off by time: 1 / (1 − γ)."""
    short = gaps.values(ran(MNM, INVERTED, 10.0, (0, 1), start=10.0, length=10.0), MNM, INVERTED)
    exact = np.mean([(1 - gaps.GAMMA ** (10 - t)) / (1 - gaps.GAMMA) for t in range(10)])
    np.testing.assert_allclose(short.earned.mean(), exact, rtol=0.05)
    whole = gaps.values(ran(MNM, INVERTED, 1000.0, (0, 1), start=1000.0), MNM, INVERTED)
    np.testing.assert_allclose(whole.earned, 100.0, rtol=0.01)
    assert list(whole.env_step) == list(STEPS[1:])


def test_figure_7_is_judged_both_ways():
    believed = {MNM: (0.0, 99.0), MBPO: (0.0, 500.0)}
    frame = pendulum({MNM: 1000.0, MBPO: 600.0}, believed)
    assert set(verdicts(figure7, frame, INVERTED)) == {Verdict.HOLDS}
    worth, table, errors, more = figure7.blocks(frame)
    assert len(worth.panels) == len(errors.panels) == 1 and len(table.frame) == len(more.frame) == 2
    assert list(table.frame["largest possible"]) == ["100"] * 2
    wild = pd.concat([ran(MNM, INVERTED, 600.0, (0.0, 500.0)), ran(MBPO, INVERTED, 1000.0, (0.0, 95.0))])
    wild = wild[(wild["metric"] != gaps.MSE) | (wild["algorithm"] != MNM)]
    blown = rows(MNM, INVERTED, gaps.MSE, lambda rng: np.geomspace(0.1, 50.0 + rng.normal(), 12), at=STEPS[1:])
    assert set(verdicts(figure7, pd.concat([wild, blown]), INVERTED)) == {Verdict.FAILS}


def test_figure_8_compares_with_the_twins_smallest_error():
    near = pd.concat([ran(MNM, INVERTED, 1, (0, 1), error=(1, 0.4)), ran(MBPO, INVERTED, 1, (0, 1), error=(1, 0.3))])
    assert set(verdicts(figure8, near, INVERTED)) == {Verdict.HOLDS}
    lower = pd.concat([ran(MNM, DRAWER, 1, (0, 1), error=(1, 0.1)), ran(MBPO, DRAWER, 1, (0, 1), error=(1, 0.3))])
    assert verdicts(figure8, lower, DRAWER) == [Verdict.HOLDS]
    figure, table = figure8.blocks(near)
    assert len(figure.panels[0].axes[0].lines) == 7 and len(table.frame) == 2


def test_figure_9_sees_values_that_fall():
    def humped(top, end):
        at = STEPS[1:]
        return lambda rng: gaps.SCALE * (np.interp(at, [0, 1000, 3000], [0, top, end]) + 0.1 * rng.normal(size=len(at)))

    def frame(of_mnm, of_mbpo):
        parts = [pendulum({MNM: 1000.0, MBPO: 1000.0})]
        parts[0] = parts[0][parts[0]["metric"] != gaps.VALUE]
        shapes = ((MNM, of_mnm), (MBPO, of_mbpo))
        parts += [rows(label, INVERTED, gaps.VALUE, humped(*shape), at=STEPS[1:]) for label, shape in shapes]
        return pd.concat(parts)

    assert set(verdicts(figure9, frame((90, 95), (300, 60)), INVERTED)) == {Verdict.HOLDS}
    assert set(verdicts(figure9, frame((300, 60), (90, 95)), INVERTED)) == {Verdict.FAILS}


def test_figure_10_is_drawn_and_judged():
    logits = dict.fromkeys(figure10.LOGITS.values(), 0.2)
    frame = pd.concat([ran(MNM, INVERTED, 980.0, (0, 1), more=logits), ran(FULL, INVERTED, 50.0, (0, 1), more=logits)])
    assert verdicts(figure10, frame, INVERTED) == [Verdict.HOLDS]
    assert len(figure10.blocks(frame)[-1].panels) == 2


def test_figure_12_judges_the_slope_over_all_lengths():
    falling, rising_too = ((980.0, 400.0), (400.0, 980.0))
    for scores, verdict in ((falling, Verdict.HOLDS), (rising_too, Verdict.FAILS)):
        frame = pendulum(dict(zip(map(figure12.label, figure12.LENGTHS[INVERTED]), scores, strict=True)))
        assert verdicts(figure12, frame, INVERTED) == [verdict]
    assert len(figure12.blocks(frame)[0].panels) == 2


def test_a_run_beyond_the_bound_is_reported_as_such():
    def frame(steepness, width):
        more = {gaps.SLOPE: steepness, slope.STD: width}
        parts = [ran(label, INVERTED, 980.0, (0, 1), more=more) for label in (MNM, NO_VALUE)]
        return pd.concat([*parts, ran(MBPO, INVERTED, 980.0, (0, 1), more={slope.STD: 0.1})])

    calm, wild = frame(0.01, 0.001), frame(3.0, 2.0)
    assert set(verdicts(slope, calm, INVERTED)) == {Verdict.HOLDS}
    found = verdicts(slope, wild, INVERTED)
    assert [found[0], found[2]] == [Verdict.FAILS] * 2
    tables = [slope.blocks(one)[1].frame for one in (calm, wild)]
    assert [list(one["runs beyond the bound"]) for one in tables] == [["0 of 6"] * 2, ["6 of 6"] * 2]
    assert 1.0 < slope.bound() < 1.2


def test_diverged_seeds_count_as_the_worst_and_are_drawn():
    """Half of MnM-approx's seeds are gone at step 1,000, and nothing is recorded of them after it."""
    more = {gaps.SLOPE: 0.001, slope.STD: 0.001, "eval/success": 0.3}
    both = [ran(label, POSE, -20.0, (0, -5), start=-110.0, length=80.0, more=more) for label in (MNM, MBPO)]
    frame = pd.concat([*both, ran(SAC, POSE, -70.0, (0, 0), length=80.0, more=more)])
    gone = (frame["algorithm"] == MNM) & frame["seed"].isin([0, 2, 4])
    frame["diverged_at"] = np.where(gone, 1000.0, np.nan)
    frame = frame[~gone | (frame["env_step"] <= 1000)]
    for module in (figure4b, figure7, figure8, figure9, slope):
        found = judged(module, frame)
        assert not [one.note for one in found.values() if "could not be judged" in one.note], module.NAME
        assert module.ARTEFACT.blocks(frame)
    name = continuous.title(POSE)
    assert judged(slope, frame)[f"{name}: values stay less steep than smoothing can hold, over the whole run"].low < 0
    table = slope.blocks(frame)[1].frame
    assert table["runs beyond the bound"].iloc[0] == "3 of 6" and table["of these diverged"].iloc[0] == 3
    stable = judged(figure7, frame)[f"C9, {name}: the error of MnM-approx's model never blows up"]
    assert stable.verdict is not Verdict.HOLDS and stable.n_diverged == 3


def test_figure_5_asks_for_what_is_kind():
    parts = [rows(label, INVERTED, figure5.GAIN, lambda rng, m=mean: m + 0.001 * rng.normal(size=1), at=STEPS[:1])
             for label, mean in ((MNM, 0.01), (NO_VALUE, 0.005), (MBPO, 0.0))]  # fmt: skip
    frame = pd.concat(parts)
    assert set(verdicts(figure5, frame, INVERTED)) == {Verdict.HOLDS}
    assert len(figure5.blocks(frame)[0].panels) == 1
    obs = np.zeros((2, 23), np.float32)
    obs[:, 17:20], obs[:, 14:17] = [0.3, 0.0, 0.0], [0.1, 0.0, 0.0]
    moved = obs.copy()
    moved[0, 14:17], moved[1, 17:20] = [0.3, 0.0, 0.0], [0.1, 0.0, 0.0]
    np.testing.assert_allclose(figure5._from_tip(obs, moved), [0.2, 0.0], atol=1e-6)


def test_figure_5_measures_the_averaged_models_of_all_seeds(monkeypatch):
    """Models that always predict the mean change, without noise: by how much that is kinder is told by hand."""
    run = runs(figure5, "smoke")[0]
    algorithm = run.build({}, run.environment())
    state = jax.jit(algorithm.init)(jax.random.key(figure5.FRESH))
    held = unpack(state.memory.rows.value[: algorithm.warmup_steps], run.environment().spec)

    def constant(seed):
        tree = jax.tree.map(jnp.zeros_like, state.agent.model.target)
        half = jnp.concatenate([jnp.full(4, float(seed)), jnp.full(4, -20.0)])
        last = tree["params"][max(tree["params"])]
        last["bias"] = jnp.broadcast_to(half, last["bias"].shape)
        return state._replace(agent=state.agent._replace(model=state.agent.model._replace(target=tree)))

    lanes = [constant(seed) for seed in run.seeds]
    monkeypatch.setattr(figure5.loop, "final_state", lambda run, root: lanes)
    monkeypatch.setattr(figure5.program, "lane", lambda state, i: state[i])
    function, arguments = figure5._program(run, None)
    asked = np.abs(held.obs[:, 1]) >= figure5.QUESTIONS[INVERTED].least
    assert 0 < asked.sum() < len(asked)
    # The statistics are those of an untrained state: no shift, unit deviation, so that every entry moves by the seed.
    expected = [np.mean((np.abs(held.next_obs[:, 1]) - np.abs(held.obs[:, 1] + seed))[asked]) for seed in run.seeds]
    np.testing.assert_allclose(jax.jit(function)(*arguments), expected, rtol=1e-3)


def test_table_2_is_the_papers_and_contradicts_its_text(tmp_path):
    assert {env: table2.ours(env) for env in table2.PRINTED} == table2.PRINTED
    work.perform(table2.ARTEFACT.jobs("smoke")[:1], tmp_path)
    scores = {MBPO: 980.0, NO_LOGGED: 500.0, MNM: 700.0, SMALL_CLASSIFIER: 200.0}
    trained = [ran(label, DRAWER, score, (0, 1)) for label, score in scores.items()]
    frame = pd.concat([results.load(tmp_path, experiment=table2.NAME), *trained])
    found = judged(table2, frame)
    assert found["The updates per step of our presets are the paper's"].verdict is Verdict.HOLDS
    assert found["C18: MnM-approx and MBPO differ in the model's update only"].verdict is Verdict.FAILS
    of_runs = [one.verdict for text, one in found.items() if text.startswith(("C15", "C16: MnM"))]
    assert of_runs == [Verdict.HOLDS] * 2
    assert len(table2.blocks(frame)) == 2


def test_figure_6_needs_all_rivals_to_be_worse():
    labels = figure6.LABELS
    frame = pd.concat([
        ran(label, continuous.SCREW_FIXED, score, (0, 1), start=-1000.0, length=80.0)
        for label, score in zip(labels, (500.0, 100.0, -300.0, -200.0, -400.0), strict=True)
    ])  # fmt: skip
    assert {one.verdict for one in judged(figure6, frame).values()} == {Verdict.HOLDS}
    assert len(figure6.blocks(frame)[1].frame) == 5


def test_hopper_is_drawn():
    steep = {gaps.SLOPE: 0.5}
    parts = [ran(label, continuous.HOPPER, score, (0, 1), more=steep) for label, score in ((MNM, 900.0), (MBPO, 800.0))]
    frame = pd.concat([*parts, ran(FULL, continuous.HOPPER, 100.0, (0, 1))])
    assert set(verdicts(hopper, frame, continuous.HOPPER)) == {Verdict.HOLDS}
    assert len(hopper.blocks(frame)) == 7
