"""`make_train` is the runner without its host: the same bits, lane by lane, from one compilation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from mbrl_jax import results
from mbrl_jax.algorithms import find
from mbrl_jax.runner import loop, program
from mbrl_jax.runner.pure import make_train
from mbrl_jax.testing import rules

SEEDS = tuple(range(8))
RATES = (1e-4, 3e-4, 1e-3)
SWEPT = tiny.run(seeds=SEEDS, sweep=(("agent.critic_lr", RATES),))
"""60 iterations of a tiny SAC in 24 lanes, evaluated seven times on two episodes."""
KEYS = jax.vmap(jax.random.key)(jnp.asarray([lane.seed for lane in SWEPT.lanes()], jnp.uint32))
VALUES = {"agent.critic_lr": jnp.asarray([lane.values["agent.critic_lr"] for lane in SWEPT.lanes()])}


@pytest.fixture(scope="module")
def train():
    return make_train("sac", "probe-match", tiny.CONFIG, eval_every=40, eval_episodes=2)


@pytest.fixture(scope="module")
def lanes(train):
    """The state and the metrics of all 24 lanes, and how often `train` was traced for them."""
    compiled, traces = rules.counted(train)
    found = jax.vmap(compiled)(KEYS, VALUES)
    jax.vmap(compiled)(KEYS[::-1], VALUES)
    return *found, len(traces)


def stored(run, root, metric, place):
    lane = run.lanes()[place]
    frame = results.load_run(root, run.run_id(run.environment()))
    mine = frame[(frame["metric"] == metric) & (frame["seed"] == lane.seed) & (frame["algorithm"] == lane.label)]
    return mine.sort_values("env_step")


EPS = np.finfo(np.float32).eps


def check_stored(metrics, run, root, place, rounding=0.0):
    """The metrics of one lane are those in the store, at the same steps.

    Args:
      rounding: what a return, made of numbers of the size of 1, may be off: under `vmap` XLA may compile a loop on its
        own and the same loop inside another in different ways.
    """
    for name, values in metrics.items():
        if name in ("env_step", "eval/env_step", "diverged"):
            continue
        steps = metrics["eval/env_step" if name.startswith("eval/") else "env_step"]
        there = stored(run, root, name, place)
        known = np.isfinite(values)
        np.testing.assert_array_equal(steps[known], there["env_step"], name)
        # A deviation is the root of a sum: NumPy's and XLA's differ in the last digits.
        allowed = 8 * EPS if name == "eval/return_std" else rounding * name.startswith("eval/return")
        np.testing.assert_allclose(values[known], there["value"], rtol=0.0, atol=allowed, err_msg=name)


def same_bits(state, final):
    kept = loop.without_storage(state)
    pairs = zip(jax.tree.leaves(kept), jax.tree.leaves(final), strict=True)
    return all(rules.numbers(x).tobytes() == rules.numbers(y).tobytes() for x, y in pairs)


def test_one_lane_has_the_bits_of_the_runner(train, finished):
    run, alone = tiny.run(), jax.jit(train)
    final = loop.final_state(run, finished)
    for place, seed in enumerate(run.seeds):
        state, metrics = alone(jax.random.key(seed))
        assert same_bits(state, program.lane(final, place))
        check_stored(metrics, run, finished, place)


def check_lanes(lanes, root, rounding=0.0):
    """Every lane has the final state and the metrics of the run of all of them that is stored there."""
    final = loop.final_state(SWEPT, root)
    for place in range(len(SWEPT.lanes())):
        state, metrics = jax.tree.map(lambda leaf, at=place: leaf[at], lanes)
        assert same_bits(state, program.lane(final, place))
        check_stored(metrics, SWEPT, root, place, rounding)


def test_seeds_and_rates_under_vmap_have_the_bits_of_the_runner_and_compile_once(lanes, tmp_path):
    state, metrics, traces = lanes
    assert traces == 1
    loop.train(SWEPT, tmp_path, loop.Options(devices=jax.devices()[:1], quiet=True))
    check_lanes((state, metrics), tmp_path)
    ends = metrics["eval/return_mean"].reshape(len(RATES), len(SEEDS), 7)
    assert len(np.unique(ends[:, 0, -1])) == len(RATES)  # the rate does something


def test_nested_vmaps_have_the_bits_of_one(train, lanes):
    _, flat, _ = lanes
    rates, keys = jnp.asarray(RATES[:2], jnp.float32), KEYS[:2]

    def metrics(rate, key):
        return train(key, {"agent.critic_lr": rate})[1]

    nested = jax.jit(jax.vmap(jax.vmap(metrics, (None, 0)), (0, None)))(rates, keys)
    for name, values in nested.items():
        expected = flat[name].reshape(len(RATES), len(SEEDS), *flat[name].shape[1:])[:2, :2]
        np.testing.assert_array_equal(values, expected, name)


@pytest.mark.slow
def test_all_lanes_at_once_have_the_numbers_of_the_runner(tmp_path):
    """Training the same bits; evaluations, which do not feed back, to the last digits."""
    train = make_train("sac", "probe-match", tiny.CONFIG, eval_every=40, eval_episodes=2, batching="vmap")
    found = jax.vmap(jax.jit(train))(KEYS, VALUES)
    loop.train(SWEPT, tmp_path, loop.Options(batching="vmap", devices=jax.devices()[:1], quiet=True))
    check_lanes(found, tmp_path, rounding=8 * EPS)


@pytest.mark.slow
def test_a_lane_that_diverges_is_known_up_to_there(tmp_path):
    from test_run import breaking

    broken = find("sac")._replace(name="breaking", make=breaking)
    run = tiny.run(method=broken, options={"seed": 0}, eval_every=80)
    loop.train(run, tmp_path, loop.Options(batching="map", quiet=True))
    alone = jax.jit(make_train(broken, "probe-match", tiny.CONFIG, eval_every=80, eval_episodes=2, options={"seed": 0}))
    for place, seed in enumerate(run.seeds):
        state, metrics = alone(jax.random.key(seed))
        assert metrics["diverged"] == (120 if seed == 0 else -1)
        check_stored(metrics, run, tmp_path, place)
        assert same_bits(state, program.lane(loop.final_state(run, tmp_path), place))


@pytest.mark.parametrize(
    ("key", "hypers", "message"),
    [
        (jax.random.key(0), {"batch": 8}, "swept inside one program must be one of .* got 'batch'"),
        (jax.random.key(0), {"agent.taw": 0.1}, "did you mean 'agent.tau'"),
        (jax.random.key(0), {"agent.tau": jnp.ones(3)}, r"one number; .* got agent.tau of shape \(3,\)"),
        (jax.random.key(0), {"agent.critic_lr": -1.0}, "critic_lr must be a finite number, not negative, got -1.0"),
        (jax.random.split(jax.random.key(0), 3), {}, r"one of jax.random.key\(seed\); .* of shape \(3,\)"),
        (jax.random.PRNGKey(0), {}, r"one of jax.random.key\(seed\); .* got uint32 of shape \(2,\)"),
        (0, {}, r"one of jax.random.key\(seed\); .* got 0"),
    ],
)
def test_what_cannot_be_traced_is_refused(train, key, hypers, message):
    with pytest.raises(ValueError, match=message):
        train(key, hypers)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"algorithm": "sacc"}, "did you mean 'sac'"),
        ({"algorithm": "td3"}, "the configuration of td3 is a Config, got a Config"),
        ({"env": "probe-mach"}, "did you mean 'probe-match'"),
        ({"eval_every": 81}, "eval_every must be a multiple of the 4 environment steps"),
        ({"eval_every": 480}, "at most the run's 240 steps, got 480"),
        ({"eval_episodes": 0}, "eval_episodes must be at least 1, got 0"),
        ({"batching": "pmap"}, "batching must be one of .* got 'pmap'"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_traced(changes, message):
    given = {"algorithm": "sac", "env": "probe-match", "config": tiny.CONFIG, "eval_every": 80, "eval_episodes": 2}
    with pytest.raises(ValueError, match=message):
        make_train(**{**given, **changes})


def test_a_preset_and_the_usual_evaluations_will_do():
    train = make_train("sac", "pendulum")
    _, metrics = jax.eval_shape(train, jax.random.key(0), {"agent.tau": 0.01})
    config = find("sac").preset("pendulum")
    assert metrics["eval/return_mean"].shape == (config.steps // 1000 + 1,)
    assert metrics["sac/critic_loss"].shape == (config.steps // config.steps_per_iteration,)


@pytest.mark.slow
def test_the_script_of_a_sweep_gives_a_row_for_every_lane_and_evaluation(train):
    from experiments.sweeps.learning_rates import Options, sweep

    options = Options(algorithm="sac", env="probe-match", steps=240, seeds=2, rates=(1e-4, 1e-3), eval_every=80)
    fields = {name: getattr(tiny.CONFIG, name) for name in ("warmup_steps", "steps_per_iteration", "batch", "agent")}
    frame = sweep(options, **fields)
    assert list(frame.columns) == ["rate", "seed", "env_step", "return"] and len(frame) == 2 * 2 * 4
    assert sorted(frame["env_step"].unique()) == [0, 80, 160, 240] and np.isfinite(frame["return"]).all()
    ends = frame[frame["env_step"] == 240].pivot(index="rate", columns="seed", values="return")
    assert (ends.loc[1e-4] != ends.loc[1e-3]).all()
