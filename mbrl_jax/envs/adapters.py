"""Environments of other JAX libraries as ours, and ours as Brax's.

`from_brax` also takes MuJoCo Playground's environments: their state has the same fields. None of these libraries is
imported here; only `to_brax` needs brax, when it is called.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from mbrl_jax.envs.base import EnvState, build, checked_action, float_dtype, to_env
from mbrl_jax.types import Env, Key, PyTree, Spec

__all__ = ["brax_training", "from_brax", "from_gymnax", "to_brax"]


def from_brax(env: Any, *, name: str, time_limit: int = 1000) -> Env:
    """A Brax or MuJoCo Playground environment, unwrapped, as one of ours; actions in [-1, 1].

    `done` counts as a true termination, so the environment must not be inside Brax's `EpisodeWrapper` (its time
    limit would be taken for one) nor `AutoResetWrapper` (the true next observation would be lost).

    Raises:
      ValueError: if observations are not plain vectors, or the environment is wrapped in one of these.
    """
    wrapper = env
    while wrapper is not None:
        if type(wrapper).__name__ in ("EpisodeWrapper", "AutoResetWrapper", "BraxAutoResetWrapper"):
            raise ValueError(f"the environment must not be wrapped in EpisodeWrapper or AutoResetWrapper, got {env!r}")
        wrapper = vars(wrapper).get("env")
    if not isinstance(env.observation_size, int):
        raise ValueError(f"observations must be plain vectors, got sizes {env.observation_size}")
    actions = int(env.action_size)
    spec = Spec(
        name=name,
        engine=str(getattr(env, "backend", "brax")),
        obs_dim=env.observation_size,
        action_dim=actions,
        action_low=(-1.0,) * actions,
        action_high=(1.0,) * actions,
        time_limit=time_limit,
        dt=float(getattr(env, "dt", 0.0)),
    )

    def start(key: Key) -> tuple[PyTree, Array]:
        state = env.reset(jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key)
        # Some count their steps from a Python 0, whose weak type would change in a loop.
        return jax.tree.map(lambda leaf: jnp.asarray(leaf).astype(jnp.asarray(leaf).dtype), state), state.obs

    def advance(key: Key, state: PyTree, obs: Array, action: Array) -> tuple[PyTree, Array, Array, Array]:
        del key, obs
        # A step may not change types: Brax starts some counters as int and goes on with float.
        # And it gets containers of its own: Brax's Hopper writes into the dict of metrics that it is given.
        given = jax.tree.map(lambda leaf: leaf, state)
        after = jax.tree.map(lambda new, old: jnp.asarray(new).astype(old.dtype), env.step(given, action), state)
        return after, after.obs, after.reward, after.done > 0.5

    return build(spec, start, advance)


def from_gymnax(env: Any, params: PyTree = None, *, name: str | None = None) -> Env:
    """A gymnax (1.0 or later) environment with its true terminations, time limit and next observations.

    Discrete actions become scores `[num_actions]` in [-1, 1], of which the largest is taken.

    Raises:
      ValueError: if observations are not arrays.
    """
    params = env.default_params if params is None else params
    obs_space, action_space = env.observation_space(params), env.action_space(params)
    if not hasattr(obs_space, "shape"):
        raise ValueError(f"observations must be arrays, got the space {obs_space!r}")
    discrete = hasattr(action_space, "n")
    size = int(action_space.n) if discrete else int(np.prod(action_space.shape))
    low, high = (-1.0, 1.0) if discrete else (action_space.low, action_space.high)
    spec = Spec(
        name=name or env.name,
        engine="gymnax",
        obs_dim=int(np.prod(obs_space.shape)),
        action_dim=size,
        action_low=tuple(np.broadcast_to(np.asarray(low, float), (size,)).tolist()),
        action_high=tuple(np.broadcast_to(np.asarray(high, float), (size,)).tolist()),
        time_limit=int(params.max_steps_in_episode),
        choices=discrete,
    )

    def start(key: Key) -> tuple[PyTree, Array]:
        obs, state = env.reset_env(key, params)
        return jax.tree.map(jnp.asarray, state), obs.reshape(-1)

    def advance(key: Key, state: PyTree, obs: Array, action: Array) -> tuple[PyTree, Array, Array, Array]:
        choice = jnp.argmax(action) if discrete else action.reshape(action_space.shape)
        next_obs, after, reward, terminated, _ = env.step_env(key, state, choice, params)
        after = jax.tree.map(lambda new, old: jnp.asarray(new).astype(old.dtype), after, state)
        return after, next_obs.reshape(-1), reward, terminated

    return build(spec, start, advance)


def to_brax(env: Env) -> Any:
    """Ours as a `brax.envs.Env`, so that brax's agents train on it.

    Actions in [-1, 1] are mapped to the environment's bounds. Give the training function the time limit as
    `episode_length`: Brax keeps time in a wrapper of its own. With a JAX that is newer than Brax, train inside
    `brax_training()`.
    """
    from brax.envs import base as brax_base

    class Adapter(brax_base.Env):
        """Our environment behind Brax's interface."""

        def reset(self, rng: Array) -> brax_base.State:
            k_reset, k_next = jax.random.split(rng)
            state = env.reset(_typed(k_reset))
            zero = jnp.zeros((), float_dtype())
            return brax_base.State(state, state.obs, zero, zero, {}, {"key": k_next})  # pyright: ignore

        def step(self, state: brax_base.State, action: Array) -> brax_base.State:
            k_step, k_next = jax.random.split(state.info["key"])
            scaled = to_env(env.spec, checked_action(env.spec, action))
            before: EnvState = state.pipeline_state  # pyright: ignore
            after, transition = env.step(_typed(k_step), before, scaled)
            info = {**state.info, "key": k_next}
            ended = 1.0 - transition.discount
            return state.replace(  # pyright: ignore
                pipeline_state=after, obs=transition.next_obs, reward=transition.reward, done=ended, info=info
            )

        @property
        def observation_size(self) -> int:
            return env.spec.obs_dim

        @property
        def action_size(self) -> int:
            return env.spec.action_dim

        @property
        def backend(self) -> str:
            return env.spec.engine

    return Adapter()


@contextmanager
def brax_training() -> Iterator[None]:
    """A block in which Brax's own training runs: `with brax_training(): sac.train(to_brax(env), ...)`.

    Brax (0.14.2) calls `jax.device_put_replicated`, which JAX 0.10 no longer has. The block lends JAX one and takes it
    back; where JAX has its own, nothing is done.
    """
    name = "device_put_replicated"
    if hasattr(jax, name):
        yield
        return
    setattr(jax, name, _replicated)
    try:
        yield
    finally:
        delattr(jax, name)


def _replicated(tree: PyTree, devices: Sequence[jax.Device]) -> PyTree:
    """The arrays of a tree once per device, along a new leading axis.

    It bears the name that Brax gives the axis of its devices: JAX takes no meshes of two names into one program.
    """
    mesh = jax.sharding.Mesh(np.asarray(devices), ("i",))
    apart = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("i"))
    return jax.tree.map(lambda leaf: jax.device_put(jnp.stack([leaf] * len(devices)), apart), tree)


def _typed(key: Array) -> Array:
    """Brax hands raw uint32 keys around."""
    return key if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else jax.random.wrap_key_data(key)
