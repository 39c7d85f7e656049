"""DAM as an algorithm: one structure, lanes that do not feel each other, the data of a round, and its artefacts."""

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from cases.dam import CONFIG
from cases.dam import ICY as ENV
from scipy import stats

from experiments import exact
from experiments.dam import common, comparison, figure1, figure2, fits, sensitivity, settings, sizes, table1
from mbrl_jax import envs, report, results, rollouts
from mbrl_jax.algorithms import dam, preset
from mbrl_jax.envs import icy_road
from mbrl_jax.runner import program, work
from mbrl_jax.runner.run import override, sweepable

METHODS = np.array([[c, v] for c in (0.0, 1.0) for v in (0.0, 1.0)], np.float32)
KEY = jax.random.key(0)


def make(method):
    correction, variance = method
    return dam.make(replace(CONFIG, correction=correction, minimum_variance=variance), ENV)


class Rounds(NamedTuple):
    """The states before and after two rounds, and the second round's info."""

    before: dam.State
    after: dam.State
    info: dict


def two_rounds(init, step, *args):
    """Two rounds from `init(key)` by `step(key, state)`, each compiled once."""
    before = init(*args)
    first, _ = step(jax.random.fold_in(KEY, 1), before, *args[1:])
    return Rounds(before, *step(jax.random.fold_in(KEY, 2), first, *args[1:]))


@pytest.fixture(scope="module")
def lanes():
    """Four methods in one program, the same key in all."""
    shape = jax.eval_shape(make(METHODS[0]).init, KEY)
    axes = jax.tree.map(lambda lane: 0 if lane else None, program.batched(shape))
    init = jax.vmap(lambda key, method: make(method).init(key), (None, 0), axes)
    step = jax.vmap(lambda key, state, method: make(method).step(key, state), (None, axes, 0), (axes, 0))
    return two_rounds(jax.jit(init), jax.jit(step), KEY, jnp.asarray(METHODS))


@pytest.fixture(scope="module")
def alone():
    """The last method by itself."""
    algorithm = make(METHODS[3])
    return two_rounds(jax.jit(algorithm.init), jax.jit(algorithm.step), KEY)


def test_one_structure_in_and_out():
    algorithm = dam.make(CONFIG, ENV)
    before = jax.eval_shape(algorithm.init, KEY)
    after, info = jax.eval_shape(algorithm.step, KEY, before)
    assert jax.tree.structure(before) == jax.tree.structure(after)

    def describe(leaf):
        return leaf.shape, leaf.dtype, getattr(leaf, "weak_type", False)

    assert jax.tree.map(describe, before) == jax.tree.map(describe, after)
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(before))
    assert all(leaf.shape == () for leaf in info.values())
    assert algorithm.env_steps == 10 and algorithm.warmup_steps == 40


def test_methods_in_one_program_equal_methods_alone(lanes, alone):
    together = jax.tree.map(lambda x, lane: x[3] if lane else x, lanes.after, program.batched(lanes.after))
    for (path, a), b in zip(jax.tree.leaves_with_path(together), jax.tree.leaves(alone.after), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4, err_msg=jax.tree_util.keystr(path))
    for name in lanes.info:
        np.testing.assert_allclose(lanes.info[name][3], alone.info[name], rtol=2e-3, atol=2e-3, err_msg=name)


def test_a_round_adds_its_episodes_and_keeps_what_was_there(alone):
    before, after, info = alone
    assert int(before.memory.collected.value) == 8 and int(after.memory.collected.value) == 12
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(a[:8], b[:8]), before.memory.steps.value, after.memory.steps.value
    )
    held = jax.tree.map(np.asarray, after.memory.steps.value)
    assert held.reward.shape == (12, 5) and after.memory.valid.value.all()
    np.testing.assert_array_equal(held.obs[:, 0], np.broadcast_to(icy_road.START, (12, 4)))
    np.testing.assert_array_equal(held.next_obs[:, :-1], held.obs[:, 1:])
    np.testing.assert_allclose(held.reward, icy_road.reward(jnp.asarray(held.obs)), rtol=1e-6)
    np.testing.assert_allclose(info["train/return"], held.reward[10:].sum(axis=1).mean(), rtol=1e-5)
    assert set(np.unique(held.action)) == {0, 1} and (held.action.sum(axis=-1) == 1).all()  # random ones too
    assert all(np.isfinite(value) for value in info.values())
    assert 0 <= info["planner/ess"] <= CONFIG.planning.particles


def test_random_actions_are_of_the_kind_that_is_planned():
    """Algorithm 3: every choice alike, one-hot, as the planner's are; in a box, uniform."""
    obs = jnp.zeros((3000, 4))
    chosen = np.asarray(rollouts.first_action(KEY, dam.uniform(dam.Planning(), ENV.spec), obs))
    assert chosen.shape == (3000, 3) and (chosen.sum(axis=-1) == 1).all() and set(np.unique(chosen)) == {0, 1}
    assert stats.chisquare(chosen.sum(axis=0)).pvalue > 0.001
    drawn = np.asarray(rollouts.first_action(KEY, dam.uniform(dam.Planning(actions="box"), ENV.spec), obs))
    assert stats.kstest(drawn.ravel(), stats.uniform(-1, 2).cdf).pvalue > 0.001


def test_the_two_halves_change_what_they_should(lanes):
    _, last, info = lanes
    np.testing.assert_array_equal(info["disc/steps"][:2], 0)  # no correction: the discriminator is not fitted
    assert (np.asarray(info["disc/steps"])[2:] > 0).all()
    np.testing.assert_allclose(info["planner/ess"][:2], 2.0, rtol=1e-6)  # and all weights are 1
    assert not np.allclose(info["planner/ess"][2:], 2.0)
    kernel = np.asarray(last.agent.model.params["params"]["Dense_0"]["kernel"])
    assert not np.allclose(kernel[0], kernel[1])  # with and without return weights


def test_weights_follow_the_returns_of_their_episodes(alone):
    state = alone.after
    data = dam._data(CONFIG, state.memory)
    assert data.valid.all() and data.weights.shape == (60,)
    returns = np.asarray(state.memory.steps.value.reward).sum(axis=1)
    shifted = returns - returns.min()
    np.testing.assert_allclose(data.weights.reshape(12, 5), (shifted / shifted.mean())[:, None] * np.ones(5), rtol=1e-5)
    plain = dam._data(replace(CONFIG, minimum_variance=0.0), state.memory)
    np.testing.assert_array_equal(plain.weights, 1.0)
    early = dam._data(CONFIG, alone.before.memory)
    assert int(early.valid.sum()) == 40 and not early.valid[40:].any()


@pytest.mark.parametrize(
    ("env", "changes", "planning"),
    [
        ("intersection", {"steps": 25, "warmup_episodes": 1, "episodes": 1}, {"horizon": 1, "sequences": 1}),
        ("icy_road", {"steps": 5, "warmup_episodes": 1, "episodes": 1}, {"search": "cross_entropy", "elites": 3}),
        ("pendulum", {"steps": 200, "warmup_episodes": 1, "episodes": 1}, {"search": "mppi", "actions": "box"}),
        ("icy_road", {"steps": 5, "episodes": 1}, {"search": "exhaustive", "horizon": 2, "sigmoid": 1.0}),
    ],
)
def test_every_search_and_a_single_episode_can_be_built(env, changes, planning):
    world = envs.make(env)
    algorithm = dam.make(replace(CONFIG, **changes, planning=replace(CONFIG.planning, **planning)), world)
    state = jax.eval_shape(algorithm.init, KEY)
    after, info = jax.eval_shape(algorithm.step, KEY, state)
    assert jax.tree.structure(state) == jax.tree.structure(after) and "planner/ess" in info
    obs = jnp.zeros((3, world.spec.obs_dim))
    act = jax.eval_shape(lambda s, o: rollouts.first_action(KEY, algorithm.policy(s), o), state, obs)
    assert act.shape == (3, world.spec.action_dim)


def test_a_single_episode_and_one_sequence_of_one_step_run():
    planning = replace(CONFIG.planning, horizon=1, sequences=1, particles=1)
    config = replace(CONFIG, steps=5, warmup_episodes=1, episodes=1, planning=planning)
    algorithm = dam.make(config, ENV)
    state, info = jax.jit(lambda key: algorithm.step(key, algorithm.init(key)))(KEY)
    assert all(np.isfinite(value) for value in info.values())
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(state.agent))


def test_hyper_parameters_that_share_a_program():
    names = sweepable(dam.Config())
    assert {"correction", "minimum_variance", "planning.sigmoid", "planning.weight_clip"} <= set(names)
    assert {"planning.self_normalised", "discriminator.noise"} <= set(names)
    assert {"model.fit.learning_rate", "planning.temperature"} <= set(names)
    assert not {"planning.horizon", "model.holdout_fraction"} & set(names)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda: replace(CONFIG, episodes=0), "episodes must be at least 1, got 0"),
        (lambda: dam.make(replace(CONFIG, steps=15), ENV), "positive multiple .* got 15 and 10"),
        (lambda: dam.Planning(sequences=0), "sequences must be at least 1, got 0"),
        (lambda: dam.Planning(search="exhaustive", actions="box"), "needs actions='choices', got 'box'"),
        (lambda: dam.make(CONFIG, ENV._replace(reward=None)), "needs a known reward, icy_road-v0 has neither"),
        (
            lambda: dam.make(CONFIG, envs.make("pendulum")),
            "scores of choices, pendulum-v1's are vectors",
        ),
        (lambda: dam.Planning(logit_clip=-1.0), "logit_clip must be positive and finite, got -1"),
        (lambda: dam.Planning(weight_clip=0.0), "weight_clip must be positive and finite, got 0"),
    ],
)
def test_impossible_configurations_are_refused(change, rule):
    with pytest.raises(ValueError, match=rule):
        change()


def test_presets_are_whole_rounds():
    for env in ("icy_road-v0", "intersection-v0", "pendulum-v1"):
        config = preset("dam", env)
        assert dam.make(config, envs.make(env)).env_steps * 10 == config.steps


ICY, CROSS = "icy_road-v0", "intersection-v0"
VARIED = ("40 particles", "one particle (Algorithm 1)", "instance noise 0.2", "swerve probability 0.6")
SEEDS = 8


def synthetic(value, varied=VARIED):
    """Results of Table 1 and of variations of IcyRoad; `value(place of the cell, env)` is what seed 0 earns.

    Seed s earns s more. Cells are counted by model, then method, as in `common`.
    """
    parts = []
    where = {table1.NAME: (ICY, CROSS), sensitivity.NAME: tuple(f"{ICY}, {name}" for name in varied)}
    for experiment, places in where.items():
        for env in places:
            for place, (model, method) in enumerate((m, k) for m in common.MODELS for k in common.METHODS):
                found = value(place, env) + np.arange(SEEDS)[:, None]
                for metric in ("eval/return_mean", "planner/promise_gap", "planner/ess"):
                    part = exact.table(common.label(model, method), metric, found, [0], env)
                    parts.append(part.assign(experiment=experiment, run="one", diverged_at=np.nan))
    return pd.concat(parts, ignore_index=True)


def test_a_manifest_names_the_runs_and_leaves_what_is_swept_to_the_table():
    frame = synthetic(lambda place, env: 0.0)
    assert exact._facts(frame, SEEDS, False)["algorithm"] == "unimodal, multimodal"


def verdicts(module, frame):
    return [str(report.judge(claim, frame).verdict) for claim in module.ARTEFACT.claims]


RISING = ["HOLDS", "HOLDS", "FAILS", "FAILS", "HOLDS", "FAILS"]
"""Verdicts where each cell beats all before it: baseline < minvar < disc < DAM, unimodal below multimodal."""


def test_table_1_has_the_papers_numbers_beside_ours_and_verdicts_that_follow_the_numbers(tmp_path):
    frame = synthetic(lambda place, env: 20.0 * place)
    frame.attrs["root"] = tmp_path
    blocks = table1.ARTEFACT.blocks(frame)
    table = blocks[0].frame.set_index("method")
    assert table.loc["DAM", "IcyRoad, multimodal (paper)"] == "7.94±0.92"
    assert table.loc["baseline", "Intersection, unimodal (paper)"] == "62.67±22.10"
    assert table.loc["DAM", "Intersection, multimodal"] == "143.50 ± 0.87"  # 7 x 20 + 3.5, sd of 0 to 7 over sqrt(8)
    assert verdicts(table1, frame) == [*RISING, *RISING, "FAILS"]  # the last: baseline against minvar, all cells
    assert set(verdicts(table1, frame[frame["seed"] < 3])) == {"OPEN"}


@pytest.mark.slow
def test_the_sensitivity_tables_show_what_turns():
    steady = synthetic(lambda place, env: 20.0 * place)
    tables = [block.frame for block in sensitivity.ARTEFACT.blocks(steady) if isinstance(block, report.Table)]
    larger, changes, guesses, returns, promises = tables[:5]
    assert list(larger["setting"]) == ["Table 1", "40 particles"]
    assert changes["setting"].tolist() == ["40 particles"]
    assert changes.iloc[0]["DAM multimodal best"] == "+0.0 [+0.0, +0.0]"  # of the same models, seed by seed
    assert list(guesses["setting"]) == ["Table 1", "one particle (Algorithm 1)", *VARIED[2:]]
    assert guesses["DAM multimodal best"].str.endswith("HOLDS (same)").tolist() == [False, True, True, True]
    assert returns.set_index("setting").loc["instance noise 0.2", "unimodal, DAM"] == "63.5 ± 0.9"
    assert set(promises["setting"]) == {"Table 1", *VARIED[2:]}
    assert verdicts(sensitivity, steady) == ["HOLDS", "HOLDS", "OPEN", "OPEN"]  # nothing is varied at the intersection
    turned = synthetic(lambda place, env: -20.0 * place if "0.6" in env else 20.0 * place)
    assert verdicts(sensitivity, turned) == ["HOLDS", "FAILS", "OPEN", "OPEN"]
    assert "FAILS (opposite)" in sensitivity.ARTEFACT.blocks(turned)[2].frame.iloc[-1]["DAM multimodal best"]
    opposite = synthetic(lambda place, env: -20.0 * place if "40 particles" in env else 20.0 * place)
    assert verdicts(sensitivity, opposite) == ["FAILS", "HOLDS", "OPEN", "OPEN"]


@pytest.mark.parametrize(("gap", "there", "verdict"), [(20.0, 0.0, "FAILS"), (5.0, 2.0, "HOLDS"), (2.0, 5.0, "HOLDS")])
def test_a_size_decides_a_verdict_only_where_the_gap_itself_has_changed(gap, there, verdict):
    """The seeds of a cell are 0 to 7 apart: gaps of 5 are decided, of 2 are not; 3 more or less is chance."""
    frame = synthetic(lambda place, env: (there if "2×128" in env else gap) * place, ("networks 2×128",))
    stands = "open" if gap > there else "decided"
    assert sizes.ARTEFACT.blocks(frame)[0].frame.iloc[1]["DAM multimodal best"].endswith(f"({stands})")
    starred = sizes.ARTEFACT.blocks(frame)[1].frame.iloc[0]["DAM multimodal best"].endswith("*")
    assert (verdicts(sizes, frame)[0], starred) == (verdict, verdict == "FAILS")
    planned = synthetic(lambda place, env: (there if "40 particles" in env else gap) * place)
    assert verdicts(sensitivity, planned)[0] == "FAILS", "3 more or less of the same models is no chance"


def test_the_change_of_a_gap_is_that_to_the_strongest_rival():
    here = [np.full(seeds, value) for seeds, value in ((6, 5.0), (3, 1.0), (4, 3.0))]
    usual = [np.full(9, value) for value in (5.0, 4.0, 2.0)]
    assert tuple(map(float, comparison.shift(here, usual))) == (1.0, 1.0, 1.0)  # 5 - 3 instead of 5 - 4


def test_the_change_of_a_gap_of_the_same_models_is_resampled_seed_by_seed():
    """Seeds are up to 50 apart, and each of the first eight is 1 better here: seen only where they are paired."""
    usual = [np.arange(10) * 5.0, np.arange(10) * -5.0]
    here = [usual[0][:8] + 1.0, usual[1][:8]]
    assert tuple(map(float, comparison.shift(here, usual, paired=True))) == (1.0, 1.0, 1.0)
    apart = comparison.shift(here, [one[:8] for one in usual])
    assert apart.low < 0 < apart.estimate == 1.0 < apart.high


def test_a_setting_is_shown_when_all_its_cells_have_results():
    rows = ("other seeds", "networks 2×128")
    frame = synthetic(lambda place, env: 20.0 * place, rows)
    part = frame[~(frame["env"].str.endswith("2×128") & frame["algorithm"].str.startswith("multimodal"))]
    assert list(comparison.present(part, ICY, comparison.SIZES)) == ["other seeds"]
    *_, told, _ = sizes.ARTEFACT.blocks(part)
    assert "networks 2×128" in told.text
    assert comparison.unfinished(frame, ICY, comparison.SIZES) == []


def test_weights_of_the_discriminator_do_not_touch_methods_without_one():
    """Under such a setting the baseline is Table 1's: what is stored for it there is not looked at."""
    frame = synthetic(lambda place, env: 20.0 * place)
    other = synthetic(lambda place, env: 20.0 * place + 1000.0 * ("noise" in env and place % 4 < 2))
    pd.testing.assert_frame_equal(*(sensitivity.ARTEFACT.blocks(one)[2].frame for one in (frame, other)))


@pytest.mark.parametrize(
    ("verdict", "usual", "expected"),
    [
        ("HOLDS", "HOLDS", "same"),
        ("OPEN", "FAILS", "open"),
        ("FAILS", "HOLDS", "opposite"),
        ("HOLDS", "OPEN", "decided"),
    ],
)
def test_how_a_verdict_stands_to_that_of_table_1(verdict, usual, expected):
    assert comparison.relation(report.Verdict(verdict), report.Verdict(usual)) == expected


def test_larger_sizes_stand_beside_table_1_with_other_seeds():
    """The wider networks leave a verdict open that Table 1 has decided, and their gap is another one."""
    rows = {"other seeds": 20.0, "networks 2×128": 0.0}
    frame = synthetic(lambda place, env: rows.get(env.removeprefix(f"{ICY}, "), 20.0) * place, tuple(rows))
    shown, changes = (block.frame.set_index("setting") for block in sizes.ARTEFACT.blocks(frame)[:2])
    expected = ["HOLDS", "HOLDS (same)", "HOLDS (same)", "OPEN (open)"]
    assert [cell.split("] ")[1] for cell in shown["DAM multimodal best"]] == expected
    assert shown["seeds"].to_dict() == {"Table 1": 8, "other seeds": 8, comparison.TOGETHER: 16, "networks 2×128": 8}
    assert changes["DAM multimodal best"].str.endswith("*").to_dict() == {"other seeds": False, "networks 2×128": True}
    assert verdicts(sizes, frame) == ["FAILS", "OPEN"]  # nothing is varied at the intersection
    assert verdicts(sizes, frame[~frame["env"].str.endswith("128")]) == [
        "OPEN",
        "OPEN",
    ]  # the same size is no larger one


def test_larger_sizes_are_compared_with_all_seeds_of_table_1():
    """A gap of 20 in Table 1 and 10 with other seeds is 15 with both; the other seeds are compared with Table 1."""
    rows = {"other seeds": 10.0, "networks 2×128": 15.0}
    frame = synthetic(lambda place, env: rows.get(env.removeprefix(f"{ICY}, "), 20.0) * place, tuple(rows))
    shown, changes = (block.frame.set_index("setting") for block in sizes.ARTEFACT.blocks(frame)[:2])
    assert shown.loc[comparison.TOGETHER, "disc > DAM, unimodal"].startswith("-15.0 [")
    assert changes.loc["networks 2×128", "disc > DAM, unimodal"].startswith(("+0.0 [", "-0.0 ["))
    assert changes.loc["other seeds", "disc > DAM, unimodal"].startswith("+10.0 [")


def test_what_more_seeds_of_table_1_decide_alike_does_not_hang_on_a_size():
    """Minimum variance is 2 better, open with 8 seeds, 7 with others: with both as decided as with wider networks."""
    better = {"other seeds": 7.0, "networks 2×128": 15.0}
    frame = synthetic(
        lambda place, env: better.get(env.removeprefix(f"{ICY}, "), 2.0) if place == 1 else 20.0 * place, tuple(better)
    )
    shown, changes = (block.frame.set_index("setting") for block in sizes.ARTEFACT.blocks(frame)[:2])
    expected = ["OPEN", "FAILS (decided)", "FAILS (decided)", "FAILS (same)"]
    assert [cell.split("] ")[1] for cell in shown["baseline > minvar, unimodal"]] == expected
    assert changes.loc["networks 2×128", "baseline > minvar, unimodal"].endswith("*")
    assert verdicts(sizes, frame)[0] == "HOLDS"
    assert verdicts(sizes, frame[~frame["env"].str.endswith("other seeds")])[0] == "FAILS"


def test_rows_of_another_kind_hide_no_change(monkeypatch):
    """Six changes under one larger size are corrected for six, however often Table 1 is repeated beside them."""
    asked = {}

    def shifts(frame, env, rows, confidence):
        asked.update(dict.fromkeys(rows, confidence))
        return {}

    monkeypatch.setattr(comparison, "_shifts", shifts)
    names = ("other seeds", "40 more seeds", "networks 2×128")
    comparison._moved(
        pd.DataFrame(), ICY, {one.name: one for one in settings.SIZES["laptop"][ICY] if one.name in names}
    )
    assert asked == {"other seeds": 1 - 0.05 / 12, "40 more seeds": 1 - 0.05 / 12, "networks 2×128": 1 - 0.05 / 6}


def test_what_the_paper_leaves_open_stands_apart_from_the_sizes_and_turns_no_claim_on_them():
    """Broader Gaussians turn every verdict: the sensitivity table's claim counts that, the one on sizes does not."""
    broad = "Gaussians from e⁻³ up"
    frame = synthetic(lambda place, env: (-20.0 if broad in env else 20.0) * place, ("networks 2×128", broad))
    tables = [block.frame for block in sizes.ARTEFACT.blocks(frame) if isinstance(block, report.Table)]
    repeated = synthetic(lambda place, env: 20.0 * place, ("other seeds", broad))
    shown = [block.frame for block in sizes.ARTEFACT.blocks(repeated) if isinstance(block, report.Table)]
    assert list(shown[3]["setting"]) == ["Table 1", comparison.TOGETHER, broad]
    assert [list(one["setting"]) for one in tables] == [
        *(["Table 1", "networks 2×128"], ["networks 2×128"], ["Table 1", "networks 2×128"]),
        *(["Table 1", broad], [broad], ["Table 1", broad]),
    ]
    assert tables[3].iloc[1]["DAM multimodal best"].endswith("FAILS (opposite)")
    moved = tables[4].iloc[0]["disc > baseline, unimodal"]  # by -40 instead of 40
    assert moved.startswith("-80.0 [") and moved.endswith("] *")
    assert verdicts(sizes, frame)[0] == "HOLDS"
    assert verdicts(sensitivity, frame)[1] == "FAILS"
    part = frame[~(frame["env"].str.endswith(broad) & frame["algorithm"].str.startswith("multimodal"))]
    assert broad in sizes.ARTEFACT.blocks(part)[-2].text


def test_more_seeds_of_some_methods_belong_to_their_row():
    """Wider networks with three seeds of two methods more, 100 above the others: that gap is one of eleven seeds."""
    wide = f"{ICY}, networks 2×128"
    frame = synthetic(lambda place, env: 20.0 * place, ("networks 2×128",))
    more = frame[(frame["env"] == wide) & frame["algorithm"].str.contains("correction=0") & (frame["seed"] < 3)]
    more = more.assign(seed=more["seed"] + SEEDS, value=more["value"] + 100.0, run="another")
    shown, changes = (block.frame.set_index("setting") for block in sizes.ARTEFACT.blocks(pd.concat([frame, more]))[:2])
    assert shown["seeds"].to_dict() == {"Table 1": SEEDS, "networks 2×128": f"{SEEDS} to {SEEDS + 3}"}
    assert changes["seeds"].to_dict() == {"networks 2×128": f"{SEEDS} to {SEEDS + 3}"}
    stretched = (2 + 3 + 4 + 5 + 6 + 7 + 100) / 7  # IQM of 0 to 7 and 100 to 102: two are cut off at each end
    assert shown.loc["networks 2×128", "disc > baseline, unimodal"].startswith(f"{40.0 + 3.5 - stretched:+.1f} [")
    assert changes.loc["networks 2×128", "disc > baseline, unimodal"].startswith(f"{3.5 - stretched:+.1f} [")
    assert changes.loc["networks 2×128", "disc > DAM, unimodal"].startswith(("+0.0 [", "-0.0 ["))


def test_the_further_seeds_are_others_and_of_methods_without_a_discriminator():
    rows = [(env, one) for env, rows in settings.SIZES["laptop"].items() for one in rows if one.further]
    assert {one.kind for _, one in rows} == {"same", "fuller"}
    for env, one in rows:
        usual, more = (make("laptop", env, "unimodal", one) for make in (sensitivity.trained, sensitivity.further))
        assert {lane.label for lane in more.lanes()} == {
            common.label("unimodal", name) for name in settings.UNCORRECTED
        }
        assert sorted({lane.seed for lane in (*usual.lanes(), *more.lanes())}) == list(
            range(one.first_seed, one.first_seed + one.seeds + one.further)
        )
        assert not {lane.seed for lane in usual.lanes()} & {lane.seed for lane in more.lanes()}
        assert replace(more, sweep=usual.sweep, seeds=usual.seeds, made_by=usual.made_by) == usual


@pytest.mark.parametrize(
    ("table", "profile"), [(table, profile) for table in (settings.SETTINGS, settings.SIZES) for profile in table]
)
def test_every_setting_names_what_exists(table, profile):
    for env, rows in table[profile].items():
        assert len({one.name for one in rows}) == len(rows)
        assert sum(len(group) for group in sensitivity._programs(rows)) == sum(not one.own for one in rows)
        for one in rows:
            cell = sensitivity.trained(profile, env, "unimodal", one)
            assert {lane.label for lane in cell.lanes()} <= {common.label("unimodal", name) for name in common.METHODS}
            assert cell.environment().spec.name == f"{env}, {one.name}"
            assert dam.make(override(cell.config, cell.lanes()[0].values), cell.environment()).env_steps > 0
            assert replace(cell.config.planning, **one.planning) != cell.config.planning or not one.planning
            assert override(cell.config, one.weights) != cell.config or not one.weights


def test_unknown_profiles_are_refused():
    for module in (table1, sensitivity, sizes, fits, figure1, figure2):
        with pytest.raises(ValueError, match="profile"):
            module.ARTEFACT.jobs("latop")


@pytest.mark.slow
def test_the_smoke_profile_of_every_artefact_runs_and_is_drawn(tmp_path):
    for module in (sensitivity, sizes, fits, figure1, figure2):  # the first trains Table 1
        work.perform(module.ARTEFACT.jobs("smoke"), tmp_path)
    frame = results.load(tmp_path)
    frame.attrs["root"] = tmp_path
    for module in (table1, sensitivity, sizes, fits, figure1, figure2):
        names = (module.NAME, *module.ARTEFACT.also)
        assert len(module.ARTEFACT.blocks(frame[frame["experiment"].isin(names)])) >= 2
        assert set(verdicts(module, frame)) <= {"HOLDS", "FAILS", "OPEN"}


def test_the_curve_of_figure_1_is_exact():
    inside = [np.diff(stats.norm.cdf([-0.5, 0.5], *peak))[0] for peak in ((-1.5, 0.4), (1.5, 0.6))]
    assert figure1.middle() == pytest.approx(np.mean(inside), rel=1e-4)
    mean, std = figure1.moments()
    assert mean == 0 and std == pytest.approx(np.sqrt(0.5 * (0.4**2 + 0.6**2) + 1.5**2))


def test_figure_2_names_the_seeds_without_samples_in_a_region():
    """A mixture may put none of its samples where nothing can be; such a seed has no mean weight there."""
    assert figure2._interval(np.full(3, np.nan)) == "no samples there"
    assert figure2._interval(np.array([1.0, 1.0, np.nan])) == "1.00 [1.00, 1.00] (2 seeds with samples there)"
    assert figure2._interval(np.ones(3)) == "1.00 [1.00, 1.00]"
