"""The pieces of training that are timed, each as an `Algorithm`, so that the runner batches them as it does a run."""

from __future__ import annotations

import functools
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from mbrl_jax import envs, planners, rollouts
from mbrl_jax.agents import sac
from mbrl_jax.algorithms import mbpo, mnm, pets, ppo, preset
from mbrl_jax.data import replay
from mbrl_jax.data.rows import pack
from mbrl_jax.data.slabs import SlabsState, make_slabs
from mbrl_jax.models import adversarial, bootstrap, ensemble, particles
from mbrl_jax.runner import program
from mbrl_jax.types import Algorithm, Key, Shared, Spec, Storage, Transition

HELD = 10_000  # transitions in the replay


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of everything that is timed; the defaults are MBPO's on Hopper.

    Attributes:
      obs_dim: observation entries.
      action_dim: action entries.
      hidden: widths of actor and critics.
      model_hidden: widths of a member's hidden layers.
      members: members of the ensemble.
      batch: transitions per SAC update, and per member and gradient step.
      rollout_batch: start states of the model roll-out.
      interval: environment steps between the fits of the end-to-end run.
    """

    obs_dim: int = 11
    action_dim: int = 3
    hidden: tuple[int, ...] = (256, 256)
    model_hidden: tuple[int, ...] = (200, 200, 200, 200)
    members: int = 7
    batch: int = 256
    rollout_batch: int = 100_000
    interval: int = 25

    @property
    def spec(self) -> Spec:
        """An environment of these sizes."""
        return Spec(
            name="benchmark-v0",
            engine="jax",
            obs_dim=self.obs_dim,
            action_dim=self.action_dim,
            action_low=(-1.0,) * self.action_dim,
            action_high=(1.0,) * self.action_dim,
            time_limit=1000,
        )

    @property
    def agent(self) -> sac.Config:
        """The policy learner's configuration."""
        return sac.Config(hidden=self.hidden)

    @property
    def model(self) -> ensemble.Config:
        """The ensemble's configuration."""
        decay = (5e-5,) * (len(self.model_hidden) + 1)
        elites = min(5, self.members)
        return ensemble.Config(members=self.members, elites=elites, hidden=self.model_hidden, weight_decay=decay)


class Workload(NamedTuple):
    """Something to time: an algorithm, what one of its iterations does, and how many times.

    Attributes:
      algorithm: one iteration is one timed block per seed.
      unit: what is counted.
      units: how many of them one iteration does.
      flops: floating-point operations per unit by XLA's cost analysis; None where it has none to give.
      env: what its policy can be evaluated in, which is compiled for and never done.
    """

    algorithm: Algorithm
    unit: str
    units: int
    flops: float | None
    env: str = "pendulum-v1"


def transitions(key: Key, spec: Spec, count: int) -> Transition:
    """Random transitions of a smooth system, none of them an end."""
    k_obs, k_action, k_noise = jax.random.split(key, 3)
    obs = jax.random.normal(k_obs, (count, spec.obs_dim))
    action = jax.random.uniform(k_action, (count, spec.action_dim), minval=-1.0, maxval=1.0)
    next_obs = obs + 0.1 * jnp.sin(obs) + 0.05 * jax.random.normal(k_noise, obs.shape)
    zeros = jnp.zeros(count)
    return Transition(obs, action, action.sum(axis=-1) - obs[:, 0], zeros + 1.0, next_obs, zeros > 0)


def filled(key: Key, spec: Spec, count: int = HELD) -> replay.ReplayState:
    """A full replay of random transitions."""
    rows = pack(transitions(key, spec, count))
    return replay.ReplayState(Storage(rows), Shared(jnp.zeros((), jnp.int32)), Shared(jnp.full((), count, jnp.int32)))


def as_algorithm(init: Callable[[Key], Any], step: Callable[[Key, Any], tuple[Any, dict[str, Array]]]) -> Algorithm:
    return Algorithm(init, step, lambda _: rollouts.stateless(lambda _key, obs: obs[..., :1]), 1)


def cost(fn: Callable[..., Any], *args: Any) -> float | None:
    """Operations of a program by XLA's cost analysis, in which the body of a loop counts once."""
    analysis = jax.jit(fn).lower(*args).compile().cost_analysis()
    return analysis.get("flops") if analysis else None


_SHAPE = re.compile(r"%?([\w.\-]+) = \w+\[([\d,]*)\]")
_DOT = re.compile(_SHAPE.pattern + r"\S* dot\((?:\w+\[[\d,]*\]\S* )?%?([\w.\-]+),.*lhs_contracting_dims=\{([\d,]*)\}")


def product_cost(text: str) -> float:
    """Operations of the matrix products in a compiled program's text, two per multiply-add; a loop's body counts once.

    Products over a single term, which XLA writes as multiplications, are not among them.
    """

    def numbers(listed: str) -> list[int]:
        return [int(n) for n in listed.split(",") if n]

    shapes = {name: numbers(dims) for name, dims in _SHAPE.findall(text)}
    found = _DOT.findall(text)
    return sum(2.0 * math.prod([*numbers(out), *(shapes[of][i] for i in numbers(over))]) for _, out, of, over in found)


@functools.cache
def sac_flops(sizes: Sizes) -> float | None:
    """Operations of one SAC update."""
    learner, key = sac.make(sizes.agent, sizes.spec), jax.random.key(0)
    batches = jax.tree.map(lambda x: x[None], transitions(key, sizes.spec, sizes.batch))
    return cost(learner.update, key, learner.init(key), batches)


@functools.cache
def ensemble_flops(sizes: Sizes) -> float | None:
    """Operations of one gradient step of the ensemble.

    Those of a fit with a single held-out row, so that little but the gradient step, a loop's body, is in the program.
    """
    learner = ensemble.make(replace(sizes.model, batch=sizes.batch, max_holdout=1), sizes.spec)
    key, count = jax.random.key(0), 2 * sizes.batch
    data = ensemble.Data(transitions(key, sizes.spec, count), jnp.full((), count, jnp.int32))
    return cost(learner.fit, key, learner.init(key), data)


def sac_update(sizes: Sizes, updates: int) -> Workload:
    """SAC updates on batches drawn from the replay in one gather, as the algorithms do."""
    learner, memory = sac.make(sizes.agent, sizes.spec), replay.make(sizes.spec, HELD)

    def init(key: Key) -> tuple[sac.State, replay.ReplayState]:
        k_agent, k_data = jax.random.split(key)
        return learner.init(k_agent), filled(k_data, sizes.spec)

    def step(key: Key, state: tuple[sac.State, replay.ReplayState]) -> Any:
        agent, stored = state
        k_sample, k_update = jax.random.split(key)
        agent, info = learner.update(k_update, agent, memory.sample(k_sample, stored, (updates, sizes.batch)))
        return (agent, stored), jax.tree.map(jnp.mean, info)

    return Workload(as_algorithm(init, step), "SAC update", updates, sac_flops(sizes))


def ensemble_step(sizes: Sizes, steps: int) -> Workload:
    """A fit of `steps` gradient steps in one epoch; a holdout of one batch, scalers and shuffling included."""
    held = sizes.batch
    config = replace(sizes.model, batch=sizes.batch, max_epochs=1, max_holdout=held)
    learner = ensemble.make(config, sizes.spec)

    def init(key: Key) -> Any:
        k_model, k_data = jax.random.split(key)
        count = held * (steps + 1)
        held_data = Storage(transitions(k_data, sizes.spec, count)), Shared(jnp.full((), count, jnp.int32))
        return learner.init(k_model), held_data

    def step(key: Key, state: Any) -> Any:
        fitted, (data, size) = state
        fitted, info = learner.fit(key, fitted, ensemble.Data(data.value, size.value))
        return (fitted, (data, size)), info

    if int(config.holdout_fraction * held * (steps + 1)) < held:
        raise ValueError(f"a holdout of one batch needs at least 4 gradient steps, got {steps}")
    return Workload(as_algorithm(init, step), "ensemble gradient step", steps, ensemble_flops(sizes))


class Rollout(NamedTuple):
    """A roll-out of one step from states of the replay: policy, elites, and the writing down."""

    init: Callable[[Key], Any]
    step: Callable[[Key, Any], tuple[Any, dict[str, Array]]]


def _rollout(sizes: Sizes) -> Rollout:
    spec, batch = sizes.spec, sizes.rollout_batch
    agent, model = sac.make(sizes.agent, spec), ensemble.make(sizes.model, spec)
    memory, slabs = replay.make(spec, HELD), make_slabs(spec, 1, 1, batch)
    zero, once = jnp.zeros((), jnp.int32), jnp.ones((), jnp.int32)

    def init(key: Key) -> Any:
        k_agent, k_model, k_data = jax.random.split(key, 3)
        return agent.init(k_agent), model.init(k_model), filled(k_data, spec), slabs.init()

    def step(key: Key, state: Any) -> Any:
        policy, fitted, stored, into = state
        k_start, k_branch = jax.random.split(key)
        starts = memory.sample(k_start, stored, (batch,)).obs

        def write(into: SlabsState, h: Array, rows: Array, count: Array) -> SlabsState:
            return slabs.write(into, zero, h, rows, count)

        dynamics = model.dynamics(fitted)
        into, _ = rollouts.branch(k_branch, dynamics, agent.act(policy), starts, once, write, into)
        return (policy, fitted, stored, into), {"count": into.filled.sum().astype(jnp.float32)}

    return Rollout(init, step)


@functools.cache
def rollout_flops(sizes: Sizes) -> float | None:
    """Operations per model transition, from a roll-out so small that no network runs in blocks (a loop)."""
    small = _rollout(replace(sizes, rollout_batch=1000))
    key = jax.random.key(0)
    found = cost(small.step, key, jax.eval_shape(small.init, key))
    return found and found / 1000


def model_rollout(sizes: Sizes) -> Workload:
    """One roll-out of one step from `rollout_batch` states: MBPO's at the start of its schedule."""
    once = _rollout(sizes)
    return Workload(as_algorithm(*once), "model transition", sizes.rollout_batch, rollout_flops(sizes))


def whole_mbpo(sizes: Sizes, env: str = "pendulum-v1") -> Workload:
    """MBPO on the pendulum with its preset, the interval between fits and its roll-outs shortened in proportion."""
    like = preset("mbpo", "pendulum")
    config = replace(
        like,
        epoch_length=sizes.interval,
        model_train_freq=sizes.interval,
        steps=1000 * sizes.interval,
        replay_capacity=like.warmup_steps + 100 * sizes.interval,
        rollout_batch=max(1, sizes.rollout_batch * sizes.interval // like.model_train_freq),
        batch=sizes.batch,
        model=replace(sizes.model, batch=sizes.batch),
        agent=replace(like.agent, hidden=sizes.hidden),
    )
    return Workload(mbpo.make(config, envs.make(env)), "environment step", sizes.interval, None, env)


class Timed(NamedTuple):
    """A workload over many seeds, compiled: `block()` runs one iteration of every seed to its end."""

    block: Callable[[], None]
    compile_seconds: float


def prepare(work: Workload, seeds: int, batching: str, devices: list[jax.Device]) -> Timed:
    """Compiles a workload for `seeds` seeds through the runner's own program, the state donated."""
    wanted = program.lanes_of(range(seeds), {}, seeds)
    made = program.make(
        lambda _: work.algorithm,
        envs.make(work.env),
        wanted,
        episodes=1,
        length=1,
        batching=batching,
        devices=devices,
    )
    lanes = program.lanes_of(range(seeds), {}, made.lanes)
    lanes = jax.device_put(lanes, jax.NamedSharding(made.mesh, jax.P("seed")))
    at = [jnp.asarray(i, jnp.int32) for i in range(2)]
    carry = jax.block_until_ready(jax.jit(made.init)(lanes))
    began = time.perf_counter()
    advance = jax.jit(made.advance, donate_argnums=1).lower(lanes, carry, *at).compile()
    seconds = time.perf_counter() - began
    held = [carry]

    def block() -> None:
        held[0], _ = advance(lanes, held[0], *at)
        jax.block_until_ready(held[0])

    return Timed(block, seconds)


PLANS, PARTICLES = 100, 20
"""Sequences of a planner's evaluation, and draws of the model for each."""


def planner() -> Workload:
    """Values of candidate plans in PETS's networks for its cartpole (five of 3 x 500), each by particles of TS∞.

    The unit is a step of the model: one row through one network. A search of the released code's takes 400 sequences
    five times.
    """
    env = rollouts.normalised(envs.make("pets_cartpole"))
    assert env.reward is not None
    config = pets.Config()
    form, horizon = pets.FORMS[env.spec.name], config.planning.horizon
    given = (config.model, env.spec, form, PARTICLES, env.reward, env.terminal)
    model = bootstrap.make(config.model, env.spec, form, functools.partial(particles.whole_rollout, *given))

    def init(key: Key) -> Any:
        shape = (PLANS, horizon, env.spec.action_dim)
        return model.init(key), jax.random.uniform(key, shape, minval=-1.0)

    def step(key: Key, state: Any) -> Any:
        fitted, plans = state
        obs = jnp.zeros(env.spec.obs_dim)
        scored = planners.estimate(key, model.dynamics(fitted), obs, plans, particles=PARTICLES)
        return state, {"value": scored.value.mean()}

    weights = sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(model.init, jax.random.key(0)).params["net"]))
    algorithm = as_algorithm(init, step)
    return Workload(algorithm, "model step", PLANS * horizon * PARTICLES, 2.0 * weights / config.model.members)


def ppo_iteration() -> Workload:
    """An iteration of PPO on the inverted pendulum: 2,048 steps of one environment, ten passes in batches of 64."""
    config = ppo.Config()
    task = "inverted_pendulum-v4"
    return Workload(ppo.make(config, envs.make(task)), "environment step", config.fragment, None, task)


MNM_TASK = "hopper-v4"


@functools.cache
def mnm_flops(config: mnm.Config) -> float | None:
    """Operations of one update of MnM on `MNM_TASK`: model, classifier, reward network, roll-out, rewards, and SAC."""
    env = rollouts.normalised(envs.make(MNM_TASK))
    spec, config = env.spec, mnm.settled(config, env.spec)
    model, agent = (
        adversarial.make(config.model, spec, adversarial.objective.APPROXIMATE, env.terminal),
        sac.make(config.agent, spec),
    )
    keys = jax.random.split(jax.random.key(0), 5)
    weight = adversarial.Weight(jnp.ones(()), jnp.ones(()))

    def update(fitted: adversarial.State, policy: sac.State, real: Transition, imagined: Transition) -> Any:
        judges, starts = mnm.critics_of(config, spec, policy), imagined.next_obs
        learned = model.update(keys[0], fitted, judges, real, weight)
        begun = rollouts.begin(keys[1], model.dynamics(fitted), agent.act(policy), starts)
        dreamt = rollouts.advance(keys[2], model.dynamics(fitted), agent.act(policy), begun)
        paid = imagined._replace(reward=model.paid(fitted, judges, imagined))
        values = judges.drawn(keys[3], imagined.next_obs)  # whose range is followed
        return learned, dreamt, values, agent.update(keys[4], policy, jax.tree.map(lambda x: x[None], paid))

    real, imagined = (transitions(k, spec, config.batch) for k in keys[:2])
    return cost(update, jax.eval_shape(model.init, keys[2]), jax.eval_shape(agent.init, keys[3]), real, imagined)


def mnm_update(config: mnm.Config, updates: int) -> Workload:
    """Updates of MnM after one step of `MNM_TASK`, with values in the model's loss, and its slope measured once."""
    config = replace(
        config,
        warmup_steps=2 * config.batch,
        steps=HELD,
        steps_per_iteration=1,
        updates_per_step=updates,
        pretraining=0,
        value_after=0,
        replay_capacity=HELD,
    )
    made = mnm.make(config, envs.make(MNM_TASK))
    return Workload(made, "MnM update", updates, mnm_flops(config), MNM_TASK)
