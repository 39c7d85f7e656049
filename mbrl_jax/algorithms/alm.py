"""ALM (Ghugare et al., 2023, Algorithm 1): one objective for representation, latent model and policy.

The defaults follow the authors' released code where it differs from the paper; docs/alm.md lists the differences.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from mbrl_jax import rollouts
from mbrl_jax.agents.latent import learner as latent
from mbrl_jax.agents.latent.variants import VARIANTS, cloning
from mbrl_jax.checks import check_arguments, check_fields, check_positive, nearest
from mbrl_jax.data import replay
from mbrl_jax.loops import off_policy
from mbrl_jax.loops.off_policy import State
from mbrl_jax.types import Algorithm, Env, Info, Key, Method, Policy, PyTree, Shared

__all__ = ["Config", "State", "make", "noise", "offline"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyper-parameters of ALM; defaults are the released code's (`cfgs/`).

    Raises:
      ValueError: a field breaks a rule of `checks.RULES`; `steps` is no positive multiple of `steps_per_iteration`;
        `warmup_steps`, `updates_per_step`, `batch`, `replay_capacity` or `noise_steps` is below 1.
    """

    steps: int = 500_000
    """Environment steps of the run, the random warm-up not counted. The released code's 500,000 include its warm-up:
    its scores end at 495,000 on this axis. Table 1 is at 200,000."""
    warmup_steps: int = 5_000
    """Uniformly random steps before learning (Table 3; the code takes 4,999)."""
    steps_per_iteration: int = 250
    """Environment steps per call of `step`; what happens between calls (evaluation) is a multiple of it."""
    updates_per_step: int = 1
    """Updates of every network per environment step (ALM code; Table 2 prints 3)."""
    batch: int = 512
    """Sequences, and transitions, per update (Table 3)."""
    replay_capacity: int = 100_000
    """Transitions kept; never more than the run can collect (Table 3: a million for Humanoid)."""
    first_noise: float = 1.0
    """Standard deviation of the exploration noise at the first step (Table 3)."""
    last_noise: float = 0.1
    """Standard deviation of the exploration noise at the end of its schedule (Table 3)."""
    noise_steps: int = 100_000
    """Environment steps over which the noise goes linearly from first to last (Table 3)."""
    agent: latent.Config = field(default_factory=latent.Config)
    """The networks' and losses' hyper-parameters."""

    def __post_init__(self) -> None:
        check_fields(self)
        rollouts.check_steps(self.steps, self.steps_per_iteration, self.warmup_steps)
        check_positive(self, "updates_per_step", "batch", "replay_capacity", "noise_steps")


def noise(config: Config, time: Array) -> Array:
    """Standard deviation of the policy's noise after `time []` environment steps of learning, a scalar."""
    share = jnp.minimum(time.astype(jnp.float32) / config.noise_steps, 1.0)
    return config.first_noise + share * (config.last_noise - config.first_noise)


class Agent(NamedTuple):
    """What learns, and how many environment steps it has learnt for."""

    learner: latent.State
    time: Shared


Improve = Callable[[Key, Agent, replay.ReplayState], tuple[Agent, Info]]


def _improver(
    config: Config,
    memory: replay.Replay,
    update: Callable[[Key, latent.State, latent.Data], tuple[latent.State, Info]],
    std: Callable[[Array], Array],
) -> Improve:
    """`updates_per_step` updates, each on sequences of K steps within one episode and on single transitions.

    Args:
      std: standard deviation of the policy's noise after a number of environment steps.
    """
    rounds, batch, length = config.updates_per_step, config.batch, config.agent.horizon

    def improve(key: Key, agent: Agent, stored: replay.ReplayState) -> tuple[Agent, Info]:
        k_sequences, k_batch, k_update = jax.random.split(key, 3)
        time = agent.time.value + 1
        sequences = memory.sample_sequences(k_sequences, stored, rounds * batch, length)
        data = latent.Data(
            sequences=jax.tree.map(lambda x: x.reshape(rounds, batch, *x.shape[1:]), sequences),
            batch=memory.sample(k_batch, stored, (rounds, batch)),
            noise=jnp.broadcast_to(std(time), (rounds,)),
        )
        learner, info = update(k_update, agent.learner, data)
        return Agent(learner, Shared(time)), info

    return improve


@check_arguments
def make(config: Config, env: Env, parts: latent.Parts | str = latent.STANDARD) -> Algorithm[State[Agent]]:
    """ALM on `env`; one iteration is `steps_per_iteration` times (act, store, update `updates_per_step` times).

    Args:
      parts: what a variant replaces, or the variant's name in `agents.latent.variants.VARIANTS`.

    Raises:
      ValueError: there is no variant of that name; says which are near.
    """
    if isinstance(parts, str):
        if parts not in VARIANTS:
            raise ValueError(nearest(parts, VARIANTS, "variant of ALM"))
        parts = VARIANTS[parts]
    _check_cloning(config, parts)
    spec = rollouts.normalised(env).spec
    memory = replay.of_run(config, spec)
    agent = latent.make(config.agent, spec, parts)

    def init(key: Key) -> Agent:
        return Agent(agent.init(key), Shared(jnp.zeros((), jnp.int32)))

    def explore(state: Agent) -> Policy[tuple[()]]:
        return latent.act(config.agent, spec, state.learner, noise(config, state.time.value), parts)

    def mode(state: Agent) -> Policy[PyTree]:
        return agent.mode(state.learner)

    improve = _improver(config, memory, agent.update, partial(noise, config))
    return off_policy.make(
        env,
        memory,
        Method(init, explore, mode, improve, off_policy.unprepared),
        warmup_steps=config.warmup_steps,
        steps_per_iteration=config.steps_per_iteration,
    )


def _check_cloning(config: Config, parts: latent.Parts) -> None:
    """The behaviour-cloning term is divided by the noise."""
    noises = config.first_noise, config.last_noise
    if parts.actor is cloning and any(isinstance(std, int | float) and std <= 0 for std in noises):
        raise ValueError(f"with behaviour cloning, first_noise and last_noise must be positive, got {noises}")


def offline(
    config: Config, env: Env, behaviour: Policy[PyTree], parts: latent.Parts = VARIANTS["cloning"]
) -> Algorithm[State[Agent]]:
    """ALM on a fixed set of data (Appendix A.7): one iteration is `steps_per_iteration` rounds of updates, no acting.

    Nothing is explored, so the policy's noise has no schedule: it is `last_noise` throughout.

    Args:
      behaviour: the policy, actions in [-1, 1], whose first `warmup_steps` transitions are the data.
      parts: by default with the behaviour-cloning term.
    """
    online = make(config, env, parts)
    unit = rollouts.normalised(env)
    memory = replay.make(unit.spec, config.warmup_steps)
    agent = latent.make(config.agent, unit.spec, parts)
    constant = jnp.asarray(config.last_noise, jnp.float32)
    improve = _improver(config, memory, agent.update, lambda time: constant)

    def init(key: Key) -> State[Agent]:
        k_data, k_agent = jax.random.split(key)
        actor, stored = rollouts.collect(k_data, unit, memory, behaviour, config.warmup_steps)
        return State(actor, stored, Agent(agent.init(k_agent), Shared(jnp.zeros((), jnp.int32))))

    def step(key: Key, state: State[Agent]) -> tuple[State[Agent], Info]:
        def body(agent: Agent, k: Key) -> tuple[Agent, Info]:
            return improve(k, agent, state.memory)

        agent, info = lax.scan(body, state.agent, jax.random.split(key, config.steps_per_iteration))
        return State(state.actor, state.memory, agent), jax.tree.map(jnp.mean, info)

    return online._replace(init=init, step=step)


ABOUT = "Aligned latent models (Ghugare et al. 2023)"
VERSION = 1

_SMALL = Config(
    steps=10_000,
    warmup_steps=500,
    updates_per_step=2,
    batch=128,
    noise_steps=3_000,
    agent=latent.Config(
        latent_dim=16,
        hidden=(64, 64),
        model_hidden=(64, 64),
        classifier_hidden=(64, 64),
        world_lr=1e-3,
        heads_lr=1e-3,
        critics_lr=1e-3,
        actor_lr=3e-4,
        tau=0.01,
        std_bounds=(0.02, 10.0),  # the pendulums' observations are small, and 0.1 hides half of the pole's angle
    ),
)

PRESETS: Mapping[str, Config] = {
    **dict.fromkeys(
        ("half_cheetah", "walker2d", "hopper", "ant_truncated", "humanoid_truncated"), Config(steps=200_000)
    ),
    "ant": Config(steps=495_000),
    "humanoid": Config(steps=495_000, replay_capacity=1_000_000),
    "inverted_pendulum": _SMALL,
    "pendulum": _SMALL,
}
"""Presets by environment, versions left out: the lengths of ALM's Table 1, and of its released scores where the table
lacks the task. A million transitions are kept on Humanoid with all observations only (ALM code). The pendulums' are
ours: ALM has none."""


def preset(base: str) -> Config:
    """The length of a task's run, ours for the pendulums; the defaults where there are none."""
    return PRESETS.get(base, Config())
