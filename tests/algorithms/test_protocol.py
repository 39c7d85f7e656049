"""What every algorithm must keep: one structure, one compilation, seeds that do not feel each other."""

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jaxprs import has_batched_end, touching, trace

from mbrl_jax import envs, rollouts
from mbrl_jax.agents import latent
from mbrl_jax.agents import sac as soft
from mbrl_jax.agents import sac_svg as svg
from mbrl_jax.agents import td3 as twin
from mbrl_jax.algorithms import alm, mbpo, redq, sac, sac_svg, td3
from mbrl_jax.data.rows import unpack
from mbrl_jax.models import ensemble, recurrent
from mbrl_jax.runner import program
from mbrl_jax.types import Storage

ENV = envs.make("lqr-v0")
AGENT = soft.Config(hidden=(16,))
MODEL = ensemble.Config(members=3, elites=2, hidden=(8,), weight_decay=(1e-5, 1e-5), batch=64, max_epochs=3)
SAC = sac.Config(steps=500, warmup_steps=60, steps_per_iteration=10, updates_per_step=2, batch=32, agent=AGENT)
MBPO = mbpo.Config(
    steps=500,
    warmup_steps=60,
    epoch_length=20,
    model_train_freq=10,
    updates_per_step=4,
    batch=32,
    real_fraction=0.25,
    rollout_batch=20,
    rollout_schedule=(0, 2, 1, 3),
    model=MODEL,
    agent=AGENT,
)
LOOP = {"steps": 500, "warmup_steps": 60, "steps_per_iteration": 10, "batch": 32}
TD3 = td3.Config(**LOOP, agent=twin.Config(hidden=(16,)))
REDQ = redq.Config(**LOOP, updates_per_step=4, policy_delay=4, agent=replace(AGENT, critics=3))
SMALLEST = recurrent.Config(encoder=(), width=8, layers=1)
VALUE_GRADIENTS = svg.Config(horizon=2, model_free_updates=10, head_hidden=(8,), model=SMALLEST, agent=AGENT)
SVG = sac_svg.Config(**LOOP, model_updates=2, model_batch=16, agent=VALUE_GRADIENTS)
ALM = alm.Config(
    steps=500,
    warmup_steps=60,
    steps_per_iteration=10,
    updates_per_step=2,
    batch=32,
    noise_steps=50,
    agent=latent.Config(latent_dim=4, hidden=(16,), model_hidden=(16,), classifier_hidden=(16,), horizon=1),
)
ALGORITHMS = {
    "sac": sac.make(SAC, ENV),
    "td3": td3.make(TD3, ENV),
    "redq": redq.make(REDQ, ENV),
    "sac_svg": sac_svg.make(SVG, ENV),
    "mbpo": mbpo.make(MBPO, ENV),
    "mbpo without roll-outs": mbpo.make(replace(MBPO, real_fraction=1.0), ENV),
    "alm": alm.make(ALM, ENV),
    "mbpo value expansion": mbpo.make(replace(MBPO, real_fraction=1.0), ENV, mbpo.value_expansion(2)),
}
COMPILED = {"sac": 10, "td3": 10, "redq": 5, "sac_svg": 3, "mbpo": 5, "alm": 10}
"""Algorithms that these tests also compile and run, with the number of iterations."""
COUNTS = {
    "sac": lambda agent: {"all": agent.opt[0].count},
    "td3": lambda agent: {name: opt[0].count for name, opt in agent.opt.items()},
    "redq": lambda agent: {"critic": agent.opt[0][0].count, "policy": agent.opt[1][0].count},
    "sac_svg": lambda agent: {
        "policy": agent.policy.opt[0].count,
        "model": agent.model.opt[1][0].count,
        "updates": agent.updates.value,
    },
    "mbpo": lambda agent: {"all": agent.policy.opt[0].count},
    "alm": lambda agent: {i: n for i, (_, n) in enumerate(optax.tree.get_all_with_path(agent.learner.opt, "count"))},
}
"""How often each optimiser has stepped."""
UPDATES = {
    "sac": {"all": 200},
    "td3": {"critic": 100, "actor": 50},
    "redq": {"critic": 200, "policy": 50},
    "sac_svg": {"policy": 30, "model": 60, "updates": 30},
    "mbpo": {"all": 200},
    "alm": dict.fromkeys(range(4), 200),
}
WAITING = {"mbpo": 1, "alm": 2, "sac_svg": 2}
"""Loops that end at different times for different seeds: the model's early stopping, the drawing of windows."""
KEY = jax.random.key(0)


@pytest.fixture(scope="module", params=list(ALGORITHMS))
def algorithm(request):
    return ALGORITHMS[request.param]


def test_one_structure_in_and_out(algorithm):
    before = jax.eval_shape(algorithm.init, KEY)
    after, info = jax.eval_shape(algorithm.step, KEY, before)
    assert jax.tree.structure(before) == jax.tree.structure(after)
    describe = lambda leaf: (leaf.shape, leaf.dtype, getattr(leaf, "weak_type", False))  # noqa: E731
    assert jax.tree.map(describe, before) == jax.tree.map(describe, after)
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(before))
    assert isinstance(info, dict) and all(leaf.shape == () for leaf in info.values())
    assert jax.tree.structure(info).num_leaves == len(info)
    assert algorithm.env_steps == 10 and algorithm.warmup_steps == 60


def test_the_policy_acts_in_the_environments_units(algorithm):
    shape = jax.eval_shape(algorithm.init, KEY)
    act = lambda state, obs: rollouts.first_action(KEY, algorithm.policy(state), obs)  # noqa: E731
    assert jax.eval_shape(act, shape, jax.ShapeDtypeStruct((7, 2), jnp.float32)).shape == (7, 1)


def over_seeds(algorithm):
    """init and step over a leading seed axis; what is `Shared` has none, and JAX refuses if a seed flows into it."""
    shape = jax.eval_shape(algorithm.init, KEY)
    axes = jax.tree.map(lambda lane: 0 if lane else None, program.batched(shape))
    init = jax.vmap(algorithm.init, out_axes=axes)
    return init, jax.vmap(algorithm.step, in_axes=(0, axes), out_axes=(axes, 0))


@pytest.mark.parametrize("name", list(ALGORITHMS))
def test_no_branch_and_no_copy_of_a_replay_in_the_loop_over_seeds(name):
    seeds = 3
    init, step = over_seeds(ALGORITHMS[name])
    keys = jax.random.split(KEY, seeds)
    shapes = jax.eval_shape(init, keys)
    stores = [x for x in jax.tree.leaves(shapes, is_leaf=lambda x: isinstance(x, Storage)) if isinstance(x, Storage)]
    stores = {store.value.shape for store in stores}
    eqns = trace(step, keys, shapes)
    assert not [e for e in eqns if e.primitive.name == "cond"]
    assert touching(eqns, {"scatter"}, stores)  # the writes are found, so the check below looks at the right shapes
    assert not touching(eqns, {"select_n", "copy", "concatenate", "sort", "gather"}, stores)
    loops = [e for e in eqns if e.primitive.name == "while"]
    per_seed = [e for e in loops if has_batched_end(e)]
    # A loop whose end differs between seeds selects its whole carry: no replay may be in it.
    assert len(per_seed) == WAITING.get(name.partition(" ")[0], 0)
    assert not touching(per_seed, {"while"}, stores)


class Runs(NamedTuple):
    """Two seeds, one after the other: final states, infos of every iteration, and how often `step` was traced."""

    name: str
    keys: jax.Array
    states: list
    infos: list
    traces: int


def key_at(key, t):
    return jax.random.fold_in(jax.random.fold_in(key, 1), t)


@pytest.fixture(scope="module", params=list(COMPILED))
def runs(request):
    algorithm, traces = ALGORITHMS[request.param], []

    def counted(key, state):
        traces.append(1)
        return algorithm.step(key, state)

    init, step = jax.jit(algorithm.init), jax.jit(counted)
    states, infos, keys = [], [], jax.random.split(KEY, 2)
    for key in keys:
        state = init(key)
        for t in range(COMPILED[request.param]):
            state, info = step(key_at(key, t), state)
            infos.append(info)
        states.append(state)
    return Runs(request.param, keys, states, infos, len(traces))


def test_step_is_traced_once(runs):
    assert runs.traces == 1


def test_info_is_finite_and_the_counters_count(runs):
    state = runs.states[0]
    assert int(state.memory.size.value) == 60 + 10 * COMPILED[runs.name]
    assert jax.tree.map(int, COUNTS[runs.name](state.agent)) == UPDATES[runs.name]
    always = {name for name in runs.infos[0] if not name.startswith("train/")}
    assert all(np.isfinite(info[name]) for info in runs.infos for name in always)
    own = {"td3": {"td3/critic_loss", "td3/actor_loss"}, "alm": {"alm/critic_loss", "alm/divergence"}}
    assert own.get(runs.name, {"sac/critic_loss", "sac/entropy"}) | {"train/return"} <= set(runs.infos[0])


def test_seeds_differ(runs):
    agents = [getattr(s.agent, "policy", getattr(s.agent, "learner", s.agent)) for s in runs.states]
    kernels = [agent.params["actor"]["params"]["Dense_0"]["kernel"] for agent in agents]
    assert not np.allclose(*kernels)


def relative_errors(a, b):
    """Norm of the difference of each array over its norm: an entry that cancels to nothing has no relative error."""
    pairs = zip(jax.tree.leaves_with_path(a), jax.tree.leaves(b), strict=True)
    for (path, x), y in pairs:
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        yield jax.tree_util.keystr(path), np.linalg.norm(x - y) / max(np.linalg.norm(y), 1e-30)


def test_seeds_in_parallel_equal_seeds_in_turn(runs):
    init, step = over_seeds(ALGORITHMS[runs.name])
    state, step = jax.jit(init)(runs.keys), jax.jit(step)
    for t in range(COMPILED[runs.name]):
        state, _ = step(jax.vmap(key_at, (0, None))(runs.keys, t), state)
    flags = program.batched(state)
    for seed in (0, 1):
        parallel = jax.tree.map(lambda x, lane: x[seed] if lane else x, state, flags)  # noqa: B023
        for path, error in relative_errors(parallel, runs.states[seed]):
            # Adam's first moments are gradients that cancel; what they make of the parameters is compared.
            assert error < 1e-5 or ".opt" in path, path


def test_replay_rows_are_what_happened(runs):
    spec = replace(ENV.spec, action_low=(-1.0,), action_high=(1.0,))
    state = runs.states[0]
    held = unpack(state.memory.rows.value[: int(state.memory.size.value)], spec)
    assert np.abs(held.action).max() <= 1
    np.testing.assert_allclose(held.reward, ENV.reward(held.obs, 10 * held.action, held.next_obs), rtol=1e-5)
    following = ~held.truncated[:-1]
    np.testing.assert_array_equal(held.next_obs[:-1][following], held.obs[1:][following])
    assert int(held.truncated.sum()) == len(held.truncated) // ENV.spec.time_limit


CONFIGS = {"sac": SAC, "td3": TD3, "redq": REDQ, "sac_svg": SVG, "mbpo": MBPO, "alm": ALM}


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"steps": 0}, "positive multiple"),
        ({"steps": 15}, "positive multiple .* got 15 and 10"),
        ({"warmup_steps": 0}, "warmup_steps must be at least 1, .* got 0"),
        ({"batch": 0}, "batch must be at least 1"),
    ],
)
@pytest.mark.parametrize("name", list(CONFIGS))
def test_impossible_configurations_are_refused(name, changes, rule):
    with pytest.raises(ValueError, match=rule):
        replace(CONFIGS[name], **changes)


@pytest.mark.parametrize(
    ("name", "changes", "rule"),
    [
        *((name, {"updates_per_step": 0}, "updates_per_step must be at least 1, got 0") for name in ("sac", "mbpo")),
        *((name, {"replay_capacity": 0}, "replay_capacity must be at least 1") for name in ("td3", "redq", "sac_svg")),
        ("td3", {"agent": twin.Config(policy_delay=3)}, "multiple of agent.policy_delay, got 10 and 3"),
        ("redq", {"policy_delay": 3}, "policy_delay must divide updates_per_step, got 3 and 4"),
        ("redq", {"subset": 4}, "subset must be at most agent.critics, got 4 and 3"),
        ("redq", {"subset": 0}, "subset must be at least 1"),
        ("sac_svg", {"model_updates": 0}, "model_updates must be at least 1"),
        ("sac_svg", {"model_batch": 0}, "model_batch must be at least 1"),
    ],
)
def test_impossible_configurations_of_one_algorithm_are_refused(name, changes, rule):
    with pytest.raises(ValueError, match=rule):
        replace(CONFIGS[name], **changes)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"epoch_length": 15}, "multiple of model_train_freq, got 15 and 10"),
        ({"rollout_schedule": (5, 5, 1, 2)}, "0 <= a < b"),
        ({"rollout_schedule": (0, 5, 0, 2)}, "lengths >= 1"),
        ({"real_fraction": 1.5}, r"\[0, 1\], got 1.5"),
        ({"rollout_batch": 0}, "rollout_batch must be at least 1"),
        ({"retain_epochs": 0}, "retain_epochs must be at least 1"),
        ({"epoch_length": 0}, "epoch_length must be at least 1"),
    ],
)
def test_impossible_configurations_of_mbpo_are_refused(changes, rule):
    with pytest.raises(ValueError, match=rule):
        replace(MBPO, **changes)
