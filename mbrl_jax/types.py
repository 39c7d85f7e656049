"""The contracts of the package: records and pairs of pure functions that everything else is made of.

Static choices are captured when a function is made (`make(config, env)`); arrays flow only through arguments.
Structures and shapes never change, so `jit`, `vmap` and `scan` need no adapters, a seed sweep is a `vmap` of keys, and
a checkpoint is the state pytree, the iteration number and the configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import numpy as np
from jaxtyping import Array, Float

from mbrl_jax.shapes import along, checked

__all__ = [
    "Act",
    "Agent",
    "Algorithm",
    "Config",
    "Dynamics",
    "Env",
    "Facts",
    "Imagined",
    "Info",
    "Key",
    "Learner",
    "Method",
    "Model",
    "Policy",
    "PyTree",
    "Scalar",
    "Shared",
    "Spec",
    "Storage",
    "Transition",
    "Values",
    "along",
    "checked",
]

Key = Array
PyTree = Any
Info = dict[str, Array]
"""Metrics by name, flat; what leaves a program has scalars only."""
Facts = dict[str, Any]
"""What is written of a run: plain data by name, as in JSON."""
Config = Any
"""A configuration: a frozen dataclass whose fields are hyper-parameters, groups of them being dataclasses again."""
Act = Callable[[Key, Array], Array]
"""`act(key, obs[B, O]) -> action[B, A]`: a policy without memory; `rollouts.stateless` makes a `Policy` of it."""
S = TypeVar("S")
"""State of something that learns: parameters, optimisers, counters."""
M = TypeVar("M")
"""Memory of something that is rolled out; its leaves are `[B, ...]`."""
D = TypeVar("D")
"""What something learns from."""

Scalar = float | int | Float[Array, ""]
"""A number: of Python, or an array without axes, which may be traced."""
Values = Array | np.ndarray
"""Numbers of JAX, or of NumPy where they are facts of a task or an engine computes on the host."""


class Transition(NamedTuple):
    """One step of interaction, or a batch of them with any leading axes.

        >>> env, key = mb.make_env("pendulum"), jax.random.key(0)
        >>> _, transition = env.step(key, env.reset(key), jnp.zeros(1))
        >>> transition.next_obs.shape, transition.discount.item(), transition.truncated.item()
        ((3,), 1.0, False)

    Attributes:
      obs: `[..., obs_dim]`, in the task's units.
      action: `[..., action_dim]`, in the environment's units.
      reward: `[...]`, in the task's units of reward.
      discount: `[...]`, 0 only where the task itself ended (a true termination), else 1; the learner's multiplies it.
      next_obs: `[..., obs_dim]`, always the true successor, never the first observation of the next episode.
      truncated: bool `[...]`, set by a time limit, which leaves `discount` at 1.
      extras: what the policy gave beside its action (a log-probability), or what a model's objective wants of a row.
    """

    obs: Array
    action: Array
    reward: Array
    discount: Array
    next_obs: Array
    truncated: Array
    extras: PyTree = ()


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What an environment is, as static facts: everything in it is hashable and enters a run's identity.

    Attributes:
      name: registry id with its version, for example `hopper-v4`.
      engine: what computes the physics: `jax`, `mjx` or `mujoco`.
      obs_dim: number of observation entries.
      action_dim: number of action entries.
      action_low: lower bounds of the action, one per entry, in the environment's units.
      action_high: upper bounds of the action.
      time_limit: steps after which an episode is truncated.
      dt: simulated seconds per environment step; 0 where time has no unit.
      choices: whether an action is one score per choice, of which the largest is taken.
    """

    name: str
    engine: str
    obs_dim: int
    action_dim: int
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    time_limit: int
    dt: float = 0.0
    choices: bool = False


class Env(NamedTuple):
    """An environment: `reset(key) -> state` and `step(key, state, action) -> (state, transition)`.

    A state is a pytree with a field `obs`. `step` never resets: the caller does after an episode's end (`rollouts`).
    `reward(obs, action, next_obs) -> [...]` and `terminal(next_obs) -> bool [...]` are the task's own definitions, or
    None. `path_reward(obs [time, ...], action [time, ...]) -> [time, ...]` is set where rewards depend on the path.
    `restart(key, ended, state) -> state` is set where a reset costs much: the same as `envs.restart` makes of `reset`,
    but under vmap only ended episodes are paid for. `scores(next_obs) -> {name: [...]}` say how well a task is done.

        >>> env = mb.make_env("pendulum")
        >>> env.spec.time_limit, env.reward(jnp.zeros((5, 3)), jnp.zeros((5, 1)), jnp.zeros((5, 3))).shape
        (200, (5,))
    """

    reset: Callable[[Key], PyTree]
    step: Callable[[Key, PyTree, Array], tuple[PyTree, Transition]]
    spec: Spec
    reward: Callable[[Array, Array, Array], Array] | None = None
    terminal: Callable[[Array], Array] | None = None
    path_reward: Callable[[Array, Array], Array] | None = None
    restart: Callable[[Key, Array, PyTree], PyTree] | None = None
    scores: Callable[[Array], Mapping[str, Array]] | None = None


class Policy(NamedTuple, Generic[M]):
    """Something that acts on many observations at once, possibly with a memory: a plan, a recurrent state, or `()`.

        >>> idle = mb.Policy(lambda obs: (), lambda key, memory, obs: (memory, jnp.zeros((len(obs), 1)), ()))
        >>> idle.act(jax.random.key(0), idle.start(jnp.zeros((4, 3))), jnp.zeros((4, 3)))[1].shape
        (4, 1)

    Attributes:
      start: `start(obs[B, O]) -> memory` at the first observation of an episode, each leaf `[B, ...]`.
      act: `act(key, memory, obs[B, O]) -> (memory, action[B, A], extras)`; extras are `()`, or what else the policy
        knows of the action, each leaf `[B, ...]` (a log-probability).
    """

    start: Callable[[Array], M]
    act: Callable[[Key, M, Array], tuple[M, Array, PyTree]]


class Imagined(NamedTuple):
    """What a step of a model gives: `next_obs[B, O]`, `reward[B]` and `discount[B]`, which is 0 where the task ends."""

    next_obs: Array
    reward: Array
    discount: Array


class Dynamics(NamedTuple, Generic[M]):
    """A model to roll out. Its memory is what it needs of the past: `()`, a member per row (TS∞), a recurrent state.

    Attributes:
      start: `start(key, obs[B, O]) -> memory` at the first observation of a roll-out, each leaf `[B, ...]`.
      step: `step(key, memory, obs[B, O], action[B, A]) -> (memory, Imagined)`, differentiable.
    """

    start: Callable[[Key, Array], M]
    step: Callable[[Key, M, Array, Array], tuple[M, Imagined]]


class Agent(NamedTuple, Generic[S]):
    """Something that learns to act: SAC, TD3, REDQ, …, with its configuration and the environment's spec bound once.

        >>> from mbrl_jax.agents import sac
        >>> agent = sac.make(sac.Config(hidden=(8,)), mb.make_env("pendulum").spec)
        >>> agent.mode(agent.init(jax.random.key(0))).act(jax.random.key(1), (), jnp.zeros((2, 3)))[1].shape
        (2, 1)

    Attributes:
      init: `init(key) -> state`.
      update: `update(key, state, batches[updates, batch, ...]) -> (state, info)`, one step on each batch in turn.
      act: `act(state) -> Policy`, which explores; actions lie in [-1, 1].
      mode: `mode(state) -> Policy`, which is evaluated.
    """

    init: Callable[[Key], S]
    update: Callable[[Key, S, PyTree], tuple[S, Info]]
    act: Callable[[S], Policy[PyTree]]
    mode: Callable[[S], Policy[PyTree]]


class Learner(NamedTuple, Generic[S, D]):
    """Something that is fitted as a whole: `init(key) -> state`, `fit(key, state, data) -> (state, info)`."""

    init: Callable[[Key], S]
    fit: Callable[[Key, S, D], tuple[S, Info]]


class Model(NamedTuple, Generic[S, D]):
    """Something fitted to transitions that yields `Dynamics`; what it minimises is an argument of its `make`.

        >>> from mbrl_jax.models import deterministic
        >>> config = deterministic.Config(hidden=(8,), head_hidden=(8,))
        >>> model = deterministic.make(config, mb.make_env("pendulum").spec)
        >>> dynamics, obs = model.dynamics(model.init(jax.random.key(0))), jnp.zeros((2, 3))
        >>> memory = dynamics.start(jax.random.key(1), obs)
        >>> dynamics.step(jax.random.key(2), memory, obs, obs[:, :1])[1].next_obs.shape
        (2, 3)

    Attributes:
      init: `init(key) -> state`.
      fit: `fit(key, state, data) -> (state, info)`, a whole fit, warm-started.
      update: `update(key, state, batches[updates, ...]) -> (state, info)`, one gradient step on each batch in turn.
      dynamics: `dynamics(state) -> Dynamics`.
    """

    init: Callable[[Key], S]
    fit: Callable[[Key, S, D], tuple[S, Info]]
    update: Callable[[Key, S, PyTree], tuple[S, Info]]
    dynamics: Callable[[S], Dynamics[PyTree]]


class Method(NamedTuple, Generic[S, D]):
    """What an algorithm brings to a loop, as pure functions of its own state; its actions lie in [-1, 1].

    Attributes:
      init: `init(key) -> state`.
      explore: `explore(state) -> Policy`, which collects data.
      mode: `mode(state) -> Policy`, which is evaluated.
      improve: `improve(key, state, data) -> (state, info)`, after the environment's steps, on what the loop has stored.
      prepare: `prepare(key, state, data) -> (state, info)`, at the start of every iteration: fit, dream, rescale.
    """

    init: Callable[[Key], S]
    explore: Callable[[S], Policy[PyTree]]
    mode: Callable[[S], Policy[PyTree]]
    improve: Callable[[Key, S, D], tuple[S, Info]]
    prepare: Callable[[Key, S, D], tuple[S, Info]]


class Algorithm(NamedTuple, Generic[S]):
    """A whole agent–environment loop as pure functions.

        >>> algorithm = mb.make("sac", mb.make_env("pendulum"))
        >>> algorithm.env_steps, algorithm.warmup_steps == mb.preset("sac", "pendulum").warmup_steps
        (250, True)

    Attributes:
      init: `init(key) -> state`; the state is one pytree holding environment, replay, parameters and optimisers.
      step: `step(key, state) -> (state, info)`, ONE outer iteration; `info` is a flat dict of scalars.
      policy: `policy(state) -> Policy`, which is evaluated, in the environment's units.
      env_steps: environment steps that one call of `step` takes.
      warmup_steps: environment steps that `init` takes (they count on the step axis only if a paper says so).
    """

    init: Callable[[Key], S]
    step: Callable[[Key, S], tuple[S, Info]]
    policy: Callable[[S], Policy[PyTree]]
    env_steps: int
    warmup_steps: int = 0


class Shared(NamedTuple):
    """Marks a part of a state that is the same for all seeds, because the seeds run in lock-step.

    Counters and write pointers are such parts. The runner keeps them unbatched under `vmap`: a ring write stays an
    in-place slice update, a loop bound or predicate a branch. JAX refuses to compile if a seed's value flows into one.
    """

    value: PyTree


class Storage(NamedTuple):
    """Marks bulk data (a replay's contents), not frozen with a diverged seed: it would copy gigabytes per iteration."""

    value: PyTree


def is_marked(kind: type) -> Callable[[object], bool]:
    """A predicate for `is_leaf`: true on nodes of the marker class `kind`."""
    return lambda node: isinstance(node, kind)


def key_of(seed: int) -> Key:
    """The run key of a seed. A seed is an index in the results, never a list position."""
    return jax.random.key(seed)
