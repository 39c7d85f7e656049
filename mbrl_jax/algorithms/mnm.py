"""MnM on continuous control (Eysenbach et al., 2022, arXiv 2110.02758): the model is fitted to be believed and to pay.

Per update one gradient step each of model, classifier, reward network and SAC, which learns from one-step roll-outs of
the averaged model. No code of it is public: the settings are Appendix D's, and what that leaves open is decided in
docs/mnm.md. The method is an argument of `make` (`models.adversarial`), and each is an algorithm of its own beside this
one, which is MnM-approx: `mnm_full`, `mnm_mbpo` (the paper's own MBPO), `mnm_vaml`, `mnm_iter_vaml`, `mnm_weighted`,
`vmbpo`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from mbrl_jax import rollouts
from mbrl_jax.agents import critics, sac
from mbrl_jax.algorithms.tasks import MISMATCH, task
from mbrl_jax.checks import check_arguments, check_fields, check_not_negative, check_positive, check_share
from mbrl_jax.data import replay
from mbrl_jax.data.rows import unpack
from mbrl_jax.data.slabs import Slabs, SlabsState, make_slabs
from mbrl_jax.loops import off_policy
from mbrl_jax.loops.off_policy import State
from mbrl_jax.models import adversarial
from mbrl_jax.types import Agent, Algorithm, Env, Info, Key, Method, Policy, Shared, Spec, Transition

__all__ = ["Config", "Learning", "State", "critics_of", "make", "robust", "settled", "small"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyper-parameters of MnM; defaults are the paper's, on Hopper where tasks differ (Appendix D.1, Table 2).

    Raises:
      ValueError: a field breaks a rule of `checks.RULES`; a count is below 1, a share outside [0, 1], a weight below 0;
        `steps` is no positive multiple of `steps_per_iteration`; `imagined_capacity` holds no batch of roll-outs.
    """

    steps: int = 125_000
    """Environment steps of the run, the random warm-up not counted; MBPO's: the paper does not say."""
    warmup_steps: int = 10_000
    """Uniformly random steps before learning."""
    steps_per_iteration: int = 250
    """Environment steps per call of `step`, at whose start the model is measured."""
    updates_per_step: int = 20
    """Updates per environment step, and roll-outs; 40 for drawer-open and three of the four D'Claw tasks (Table 2)."""
    rollout_length: int = field(default=1, metadata={"static": True})
    """Steps of a roll-out; Figure 12 has more than one."""
    batch: int = 256
    """Transitions of a batch, real or imagined, and start states of a roll-out."""
    pretraining: int = 100_000
    """Batches that model, classifier and reward network learn from before the policy learns."""
    value_after: int = 200_000
    """Batches after which values count in the model's loss, those of `pretraining` among them."""
    logged_fraction: float = 0.5
    """Share of imagined transitions with the action that was taken in reality; the others' is the policy's."""
    imagined_capacity: int = 256_000
    """Imagined transitions kept: those of the last 1000 updates, if roll-outs have one step."""
    replay_capacity: int = 1_000_000
    """Real transitions kept; never more than the run can collect."""
    reward_scale: float = 0.1
    """The critics' units per unit of reward: that of both example scripts of TF-Agents' SAC, whose defaults the paper
    says to have; its constructor's is 1."""
    value_coefficient: float = 1.0
    """c, the weight of values in the model's loss, in nats per unit of the critics; γ would be Appendix B.6's."""
    range_power: float = 0.0
    """c is divided by this power of the range of the values from their 5 % to their 95 % quantile, where that is above
    1; 0 is the paper, 1 makes the range worth c nats (the form is that of returns in Hafner et al., "Mastering Diverse
    Domains through World Models", 2023)."""
    range_decay: float = 0.99
    """Share of the running mean of that range that stays at an update (Hafner et al., 2023)."""
    model: adversarial.Config = field(default_factory=adversarial.Config)
    """The hyper-parameters of model, classifier and reward network."""
    agent: sac.Config = field(default_factory=sac.Config)
    """The policy learner's hyper-parameters; without a target entropy it is −action_dim / 2 (TF-Agents)."""

    def __post_init__(self) -> None:
        check_fields(self)
        rollouts.check_steps(self.steps, self.steps_per_iteration, self.warmup_steps)
        check_positive(self, "updates_per_step", "batch", "replay_capacity", "rollout_length")
        check_not_negative(self, "pretraining", "value_after", "value_coefficient", "reward_scale")
        check_share(self, "logged_fraction", "range_decay", "range_power")
        if not self.slots:
            raise ValueError(
                "imagined_capacity must be at least batch times rollout_length, "
                f"got {self.imagined_capacity}, {self.batch} and {self.rollout_length}"
            )

    @property
    def slots(self) -> int:
        """Roll-outs whose transitions are kept."""
        return self.imagined_capacity // (self.batch * self.rollout_length)


class Learning(NamedTuple):
    """What learns: model and classifier, imagined transitions, policy; the values' range `[]`, and batches so far."""

    model: adversarial.State
    imagined: SlabsState
    policy: sac.State
    spread: Array
    batches: Shared


def settled(config: Config, spec: Spec) -> Config:
    """The configuration with a target entropy: −action_dim / 2 where it states none."""
    if config.agent.target_entropy is not None:
        return config
    return replace(config, agent=replace(config.agent, target_entropy=-spec.action_dim / 2))


def critics_of(config: Config, spec: Spec, policy: sac.State) -> adversarial.Critics:
    """The agent's target critics and policy, held constant, as the model's objectives see them."""
    agent, held = config.agent, lax.stop_gradient(policy)
    _, critic = sac.architecture(agent, spec)

    def drawn(key: Key, obs: Array) -> Array:
        return sac.soft_value(agent, spec, key, held, obs)[0]

    def best(obs: Array) -> Array:
        return critics.values(critic, held.target, obs, jnp.tanh(sac.gaussian(agent, spec, held, obs)[0]))

    value = partial(critics.values, critic, held.target)
    return adversarial.Critics(value, drawn, best, agent.gamma, config.reward_scale)


class _World(NamedTuple):
    """What updates are made of."""

    config: Config
    spec: Spec
    memory: replay.Replay
    slabs: Slabs
    model: adversarial.Adversarial
    agent: Agent[sac.State]

    def weight(self, now: Learning) -> adversarial.Weight:
        """How much the values count in the model's loss."""
        counts = (now.batches.value >= self.config.value_after).astype(now.spread.dtype)
        scale = jnp.maximum(now.spread, 1.0) ** self.config.range_power
        return adversarial.Weight(counts * self.config.value_coefficient / scale, counts)


def _init(world: _World, key: Key) -> Learning:
    k_model, k_policy = jax.random.split(key)
    zero = jnp.zeros((), jnp.int32)
    return Learning(
        world.model.init(k_model), world.slabs.init(), world.agent.init(k_policy), jnp.ones(()), Shared(zero)
    )


def _prepare(world: _World, key: Key, now: Learning, stored: replay.ReplayState) -> tuple[Learning, Info]:
    """At the first iteration the statistics and the pretraining; at each the value's slope is measured."""
    config, memory = world.config, world.memory
    first = now.batches.value == 0
    k_fit, k_batch, k_slope = jax.random.split(key, 3)
    judges = critics_of(world.config, world.spec, now.policy)
    none = adversarial.Weight(jnp.zeros(()), jnp.zeros(()))

    def standardised(state: adversarial.State) -> adversarial.State:
        held = unpack(stored.rows.value, world.spec)
        return world.model.standardise(state, held, jnp.arange(memory.capacity) < stored.size.value)

    def learn(i: Array, state: adversarial.State) -> adversarial.State:
        k_sample, k_update = jax.random.split(jax.random.fold_in(k_fit, i))
        return world.model.update(k_update, state, judges, memory.sample(k_sample, stored, (config.batch,)), none)[0]

    model = lax.cond(first, standardised, lambda state: state, now.model)
    batches = jnp.where(first, config.pretraining, 0)
    model = lax.fori_loop(0, batches, learn, model)
    now = now._replace(model=model, batches=Shared(now.batches.value + batches))
    real = memory.sample(k_batch, stored, (config.batch,))
    # In the critics' units whether they count yet or not, so that a run's slope is seen before it matters.
    asked = world.weight(now._replace(batches=Shared(jnp.full_like(batches, config.value_after))))
    return now, {"mnm/value_slope": world.model.slope(k_slope, now.model, judges, real, asked)}


def _acting(world: _World, now: Learning, logged: Array, action: Array) -> Policy[tuple[Array, Array]]:
    """The stochastic policy, whose first action is `action[B, A]` where `logged[B]`."""

    def act(key: Key, memory: tuple[Array, Array], obs: Array) -> tuple[tuple[Array, Array], Array, tuple[()]]:
        first, given = memory
        _, drawn, _ = world.agent.act(now.policy).act(key, (), obs)
        return (jnp.zeros_like(first), given), jnp.where(first[:, None], given, drawn), ()

    return Policy(lambda obs: (logged, action), act)


def _dream(world: _World, key: Key, now: Learning, real: Transition) -> tuple[SlabsState, Info]:
    """Roll-outs of the averaged model from real states, in the slot of the oldest ones; rows that ended stop."""
    k_which, k_branch = jax.random.split(key)
    logged = jax.random.bernoulli(k_which, world.config.logged_fraction, real.reward.shape)
    slot, length = now.batches.value % world.config.slots, world.config.rollout_length
    policy, dynamics = _acting(world, now, logged, real.action), world.model.dynamics(now.model)

    def write(into: SlabsState, *given: Array) -> SlabsState:
        return world.slabs.write(into, slot, *given)

    imagined, failures = rollouts.branch(k_branch, dynamics, policy, real.obs, length, write, now.imagined)
    return imagined, {"model/failures": failures.astype(real.reward.dtype)}


def _spread(world: _World, key: Key, now: Learning, judges: adversarial.Critics, batch: Transition) -> Array:
    """The running mean of the range of the values of imagined states."""
    low, high = jnp.quantile(judges.drawn(key, batch.next_obs).min(axis=0), jnp.array([0.05, 0.95]))
    return world.config.range_decay * now.spread + (1.0 - world.config.range_decay) * (high - low)


def _update(world: _World, now: Learning, xs: tuple[Key, Transition, Transition]) -> tuple[Learning, Info]:
    """One gradient step of everything, all from the same parameters.

    Args:
      xs: a key, the real transitions that the model learns from, and those where roll-outs start.
    """
    key, real, starts = xs
    k_model, k_dream, k_sample, k_policy, k_spread = jax.random.split(key, 5)
    judges = critics_of(world.config, world.spec, now.policy)
    model, info = world.model.update(k_model, now.model, judges, real, world.weight(now))
    imagined, failed = _dream(world, k_dream, now, starts)
    batch = world.slabs.sample(k_sample, imagined, (world.config.batch,))
    batch = batch._replace(reward=world.model.paid(now.model, judges, batch))
    policy, learned = world.agent.update(k_policy, now.policy, jax.tree.map(lambda x: x[None], batch))
    spread = _spread(world, k_spread, now, judges, batch)
    more = {"mnm/coefficient": world.weight(now).coefficient, "mnm/value_range": spread}
    info = {**info, **jax.tree.map(jnp.mean, learned), **more, **failed}
    return Learning(model, imagined, policy, spread, Shared(now.batches.value + 1)), info


def _improve(world: _World, key: Key, now: Learning, stored: replay.ReplayState) -> tuple[Learning, Info]:
    """The updates that follow a step, which is first predicted by a model that has not learned from it."""
    config, memory = world.config, world.memory
    k_real, k_start, k_update = jax.random.split(key, 3)
    newest = (stored.head.value - 1) % memory.capacity
    error = world.model.error(now.model, unpack(stored.rows.value[newest[None]], world.spec))
    shape = (config.updates_per_step, config.batch)
    keys = jax.random.split(k_update, config.updates_per_step)
    xs = (keys, memory.sample(k_real, stored, shape), memory.sample(k_start, stored, shape))
    now, info = lax.scan(partial(_update, world), now, xs)
    return now, {**jax.tree.map(jnp.mean, info), "mnm/holdout_mse": error}


@check_arguments
def make(
    config: Config, env: Env, objective: adversarial.Objective = adversarial.objective.APPROXIMATE
) -> Algorithm[State[Learning]]:
    """MnM on `env`; one iteration is `steps_per_iteration` times (act, store, `updates_per_step` updates).

    Args:
      objective: the method: what the model minimises and what the critics are paid (`models.adversarial`).
    """
    spec = rollouts.normalised(env).spec
    config = settled(config, spec)
    memory = replay.of_run(config, spec)
    slabs = make_slabs(spec, config.slots, config.rollout_length, config.batch)
    model = adversarial.make(config.model, spec, objective, env.terminal)
    world = _World(config, spec, memory, slabs, model, sac.make(config.agent, spec))
    method = Method(
        partial(_init, world),
        lambda now: world.agent.act(now.policy),
        lambda now: world.agent.mode(now.policy),
        partial(_improve, world),
        partial(_prepare, world),
    )
    return off_policy.make(
        env, memory, method, warmup_steps=config.warmup_steps, steps_per_iteration=config.steps_per_iteration
    )


ABOUT = "Mismatched no more (Eysenbach et al. 2022): model fitted against a classifier and for values, SAC in it"
VERSION = 2


def preset(base: str) -> Config:
    """The paper's settings with its updates per step and our lengths of runs (`tasks`): the faithful preset."""
    updates = MISMATCH[base].mnm if base in MISMATCH else Config.updates_per_step
    return Config(steps=task(base).steps, updates_per_step=updates)


def robust(base: str) -> Config:
    """`preset` with values divided by their range, which is then worth one nat; ours."""
    return replace(preset(base), range_power=1.0)


def small(base: str) -> Config:
    """`preset` for two cores: small networks and batches, shorter phases, 5 updates per step, higher rates; ours."""
    return replace(
        preset(base),
        steps=5_000,
        warmup_steps=1_000,
        updates_per_step=5,
        batch=128,
        imagined_capacity=128_000,
        pretraining=3_000,
        value_after=6_000,
        model=adversarial.Config(
            members=3, hidden=(64, 64), classifier_hidden=(128, 128), reward_hidden=(64, 64), learning_rate=1e-3
        ),
        agent=sac.Config(hidden=(64, 64), actor_lr=1e-3, critic_lr=1e-3, temperature_lr=1e-3),
    )
