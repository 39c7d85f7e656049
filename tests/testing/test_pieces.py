"""The package's environments, agents and models pass the checks for anybody's; faults are told by their rules."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import pytest

from mbrl_jax import envs, rollouts
from mbrl_jax.agents import a2c, redq, sac, sac_svg, td3, trpo
from mbrl_jax.agents.latent import learner as latent
from mbrl_jax.models import ensemble, multi_step, recurrent
from mbrl_jax.testing import check_agent, check_dynamics, check_env, check_model
from mbrl_jax.types import Agent, Dynamics, Env, Imagined, Model, Transition

LINEAR = envs.make("lqr-v0")
SPEC = rollouts.normalised(LINEAR).spec
SAC = sac.Config(hidden=(8,))
SVG = sac_svg.Config(
    horizon=2, head_hidden=(8,), model=recurrent.Config(encoder=(), width=8, layers=1), agent=SAC, model_free_updates=0
)
TRPO = trpo.Config(policy_hidden=(8,), value_hidden=(8,), value_batch=6)
LATENT = latent.Config(latent_dim=4, hidden=(8,), model_hidden=(8,), classifier_hidden=(8,), horizon=2)


def transitions(*shape):
    """Random transitions `[*shape, ...]` that neither end nor are cut."""
    keys = jax.random.split(jax.random.key(1), 4)
    obs, next_obs = (jax.random.normal(key, (*shape, SPEC.obs_dim)) for key in keys[:2])
    action = jax.random.uniform(keys[2], (*shape, SPEC.action_dim), minval=-1.0)
    reward = jax.random.normal(keys[3], shape)
    return Transition(obs, action, reward, jnp.ones(shape), next_obs, jnp.zeros(shape, bool))


AGENTS = {
    "sac": (sac.make(SAC, SPEC), transitions(3, 16)),
    "td3": (td3.make(td3.Config(hidden=(8,)), SPEC), transitions(2, 16)),
    "redq": (redq.make(sac.Config(hidden=(8,), critics=3), SPEC, 2, 2), transitions(4, 16)),
    "a2c": (a2c.make(a2c.Config(hidden=(8,)), SPEC), transitions(2, 5, 4)),
    "trpo": (trpo.make(TRPO, SPEC), transitions(2, 5, 4)),
    "sac_svg": (sac_svg.make(SVG, SPEC, 100), sac_svg.Batch(transitions(2, 16), transitions(2, 3, 8, 1))),
    "latent": (latent.make(LATENT, SPEC), latent.Data(transitions(2, 8, 2), transitions(2, 8), jnp.full(2, 0.5))),
}
ENSEMBLE = ensemble.Config(members=3, elites=2, hidden=(8,), weight_decay=(1e-5, 1e-5), batch=16, max_epochs=3)
MODELS = {
    "ensemble": (
        ensemble.make(ENSEMBLE, SPEC, terminal=LINEAR.terminal),
        ensemble.Data(transitions(50), jnp.int32(40)),
        transitions(2, 16),
    ),
    "recurrent": (
        recurrent.make(recurrent.Config(encoder=(), width=8, layers=1), SPEC),
        transitions(2, 8, 3),
        transitions(2, 8, 3),
    ),
    "multi_step": (
        multi_step.make(multi_step.Config(hidden=(8,), initial_std=0.3), SPEC, LINEAR.reward, LINEAR.terminal),
        transitions(2, 2, 8),
        transitions(2, 2, 8),
    ),
}


SLOW = [pytest.param("latent", marks=pytest.mark.slow)]
"""`make test` has it inside ALM, in algorithms/test_protocol."""


@pytest.mark.parametrize("name", [*(name for name in AGENTS if name != "latent"), *SLOW])
def test_agents_keep_what_loops_rely_on(name):
    agent, batches = AGENTS[name]
    check_agent(agent, SPEC, batches, bounded=name not in ("a2c", "trpo"))  # whose Gaussians the environment clips


@pytest.mark.parametrize("name", list(MODELS))
def test_models_keep_what_algorithms_rely_on(name):
    model, data, batches = MODELS[name]
    check_model(model, SPEC, data, batches)


@pytest.mark.parametrize("name", ["lqr-v0", "pendulum-v1", "icy_road-v0", "intersection-v0", "probe-termination-v0"])
def test_environments_keep_what_roll_outs_rely_on(name):
    check_env(envs.make(name))


def test_environments_of_a_short_limit_are_cut_where_they_say():
    check_env(envs.make("pendulum", time_limit=5))


class Stand(NamedTuple):
    """A state of a made-up environment."""

    obs: jax.Array
    t: jax.Array


def world(**parts):
    """An environment in which noise is observed and nothing is earned, some of whose steps' parts are replaced."""
    spec = LINEAR.spec

    def reset(key):
        return Stand(jax.random.normal(key, (2,)), jnp.zeros((), jnp.int32))

    def step(key, state, action):
        obs, t = jax.random.normal(key, (2,)), state.t + 1
        made = Transition(state.obs, action, jnp.zeros(()), jnp.ones(()), obs, t >= spec.time_limit)
        return Stand(obs, t), made._replace(**{name: make(state) for name, make in parts.items()})

    return Env(reset, step, spec)


ENVS = {
    "a reset inside a step": (world(next_obs=lambda s: s.obs + 1.0), "must not reset"),
    "a discount of a learner": (world(discount=lambda s: jnp.float32(0.99)), "discount must be 0 .* 1 elsewhere"),
    "a limit that comes early": (world(truncated=lambda s: s.t == 3), "truncated from step time_limit.*wrong at"),
    "an end that is cut too": (
        world(truncated=lambda s: s.t == 3, discount=lambda s: 1.0 - (s.t == 3).astype(jnp.float32)),
        "must not be truncated where the task ended",
    ),
    "a reward of a wrong shape": (world(reward=lambda s: jnp.zeros(1)), r"reward must have shape \(\), got \(1,\)"),
    "a flag that is a number": (world(truncated=lambda s: jnp.zeros(())), "truncated must be bool"),
    "a reward that is infinite": (world(reward=lambda s: jnp.float32(jnp.inf)), "must be finite"),
    "another reward": (world()._replace(reward=lambda o, a, n: o[..., 0]), "`reward` must give"),
    "another end": (world()._replace(terminal=lambda obs: obs[..., 0] > 0), "`terminal` must be true where"),
    "a restart of nothing": (world()._replace(restart=lambda k, ended, s: s), "`restart` of an end must be `reset`"),
    "bounds that cross": (
        world()._replace(spec=LINEAR.spec.__class__(**{**vars(LINEAR.spec), "action_low": (20.0,)})),
        "action_low must be below",
    ),
}


@pytest.mark.parametrize("name", list(ENVS))
def test_an_environments_fault_is_told_by_the_rule_it_breaks(name):
    env, rule = ENVS[name]
    with pytest.raises(AssertionError, match=rule):
        check_env(env)


def test_a_made_up_environment_passes():
    check_env(world())


def held(update=lambda key, x: x, act=lambda x, obs: jnp.tanh(x * obs[:, :1])):
    """An agent that is a number."""

    def updated(key, state, batches):
        return update(key, state), {"loss": batches.reward.mean()}

    def policy(state):
        return rollouts.stateless(lambda key, obs: act(state, obs))

    return Agent(lambda key: jax.random.normal(key), updated, policy, policy)


@pytest.mark.parametrize(
    ("agent", "rule"),
    [
        (held(update=lambda k, x: x[None]), "keep shapes and dtypes"),
        (held(update=lambda k, x: x / 0.0), "state after .* must be finite"),
        (held(act=lambda x, obs: 0.0 * obs[:, :1] + 1.5), "between -1.0 and 1.0"),
        (held(act=lambda x, obs: obs), r"shape \(7, 1\) for 7 rows, got \(7, 2\)"),
    ],
)
def test_an_agents_fault_is_told_by_the_rule_it_breaks(agent, rule):
    with pytest.raises(AssertionError, match=rule):
        check_agent(agent, SPEC, transitions(2, 4))


def test_an_agent_that_is_a_number_passes():
    check_agent(held(), SPEC, transitions(2, 4))


def moved(**parts):
    """Dynamics that stand still, some of whose step's parts are replaced."""

    def step(key, memory, obs, action):
        made = Imagined(obs + action, obs[:, 0], jnp.ones(len(obs)))
        return memory, made._replace(**{name: make(obs) for name, make in parts.items()})

    return Dynamics(lambda key, obs: (), step)


@pytest.mark.parametrize(
    ("dynamics", "rule"),
    [
        (moved(reward=lambda obs: obs), r"reward must have shape \(7,\) for 7 rows, got \(7, 2\)"),
        (moved(discount=lambda obs: obs[:, 0] + 2.0), r"discount must lie in \[0, 1\]"),
        (moved(next_obs=lambda obs: obs / 0.0), "step must be finite"),
        (moved()._replace(start=lambda key, obs: jnp.zeros(3)), r"memory must have leaves \[7, ...\]"),
        (
            moved(next_obs=lambda obs: obs)._replace(
                step=lambda k, m, o, a: (m, Imagined(o + jnp.sqrt(0.0 * a), o[:, 0], jnp.ones(len(o))))
            ),
            "gradient .* must be finite",
        ),
    ],
)
def test_a_models_fault_is_told_by_the_rule_it_breaks(dynamics, rule):
    with pytest.raises(AssertionError, match=rule):
        check_dynamics(dynamics, SPEC)
    still = Model(lambda key: (), lambda key, state, data: ((), {}), lambda *_: ((), {}), lambda state: dynamics)
    with pytest.raises(AssertionError, match=rule):
        check_model(still, SPEC, transitions(3))


def test_dynamics_that_stand_still_pass():
    check_dynamics(moved(), SPEC)
