"""Our environments for Gymnasium: importing this module registers them as `mbrl_jax/Hopper-v4` and so on.

`gymnasium.make("mbrl_jax.envs.gymnasium_envs:mbrl_jax/Hopper-v4")` imports it by itself. `make_vec` gives a vector
environment that steps all copies in one compiled call.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from jaxtyping import Array

from mbrl_jax.envs import pictures, registry
from mbrl_jax.envs.base import restart
from mbrl_jax.types import Env, Key, PyTree, Spec

__all__ = ["GymnasiumEnv", "GymnasiumVectorEnv", "gym_id", "register_all"]

_SEEDS = 2**31 - 1


def _spaces(spec: Spec) -> tuple[spaces.Box, spaces.Box]:
    observation = spaces.Box(-np.inf, np.inf, (spec.obs_dim,), np.float32)
    low, high = np.asarray(spec.action_low, np.float32), np.asarray(spec.action_high, np.float32)
    return observation, spaces.Box(low, high, dtype=np.float32)


def _made(env: str | Env, options: dict[str, Any]) -> Env:
    return registry.make(env, **options) if isinstance(env, str) else env


class GymnasiumEnv(gymnasium.Env):
    """One environment, given by name or as an `Env`; its time limit is its own, so no wrapper is needed."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 25}  # noqa: RUF012 (Gymnasium's own convention)

    def __init__(self, env: str | Env, render_mode: str | None = None, **options: Any):
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode must be None or 'rgb_array', got {render_mode!r}")
        self._env, self.render_mode = _made(env, options), render_mode
        if self._env.spec.dt:
            self.metadata = {**self.metadata, "render_fps": round(1 / self._env.spec.dt)}
        self.observation_space, self.action_space = _spaces(self._env.spec)
        self._reset, self._step = jax.jit(self._env.reset), jax.jit(self._env.step)
        self._state: PyTree = None
        self._key = jax.random.key(0)

    def reset(self, *, seed: int | None = None, options: dict[str, object] | None = None) -> tuple[np.ndarray, dict]:
        """Starts an episode; the same seed starts the same run."""
        super().reset(seed=seed)
        self._key, key = jax.random.split(jax.random.key(int(self.np_random.integers(_SEEDS))))
        self._state = self._reset(key)
        return np.asarray(self._state.obs, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Raises RuntimeError before the first reset."""
        if self._state is None:
            raise RuntimeError("reset must be called before the first step")
        self._key, key = jax.random.split(self._key)
        self._state, transition = self._step(key, self._state, np.asarray(action, np.float32))
        obs, reward, discount, truncated, failures = jax.device_get(
            (transition.next_obs, transition.reward, transition.discount, transition.truncated, self._state.failures)
        )
        info = {"failures": int(failures)}
        return np.asarray(obs, np.float32), float(reward), bool(discount == 0), bool(truncated), info

    def render(self) -> np.ndarray | None:
        """The current frame in render mode `rgb_array`."""
        if self.render_mode is None:
            return None
        return pictures.render(self._env, jax.tree.map(lambda leaf: leaf[None], self._state))[0]


class GymnasiumVectorEnv(gymnasium.vector.VectorEnv):
    """`num_envs` copies in one compiled call; a finished copy resets in the next step (`AutoresetMode.NEXT_STEP`)."""

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP, "render_modes": []}  # noqa: RUF012

    def __init__(self, env: str | Env, num_envs: int = 1, render_mode: str | None = None, **options: Any):
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {num_envs}")
        self._env, self.num_envs, self.render_mode = _made(env, options), num_envs, render_mode
        self.single_observation_space, self.single_action_space = _spaces(self._env.spec)
        self.observation_space = gymnasium.vector.utils.batch_space(self.single_observation_space, num_envs)
        self.action_space = gymnasium.vector.utils.batch_space(self.single_action_space, num_envs)
        self._reset, self._step = jax.jit(self._reset_all), jax.jit(self._step_all)
        self._state: PyTree = None
        self._key = jax.random.key(0)

    def reset(self, *, seed: int | None = None, options: dict[str, object] | None = None) -> tuple[np.ndarray, dict]:
        """Starts an episode in every copy; the same seed starts the same run."""
        super().reset(seed=seed)
        self._key, key = jax.random.split(jax.random.key(int(self.np_random.integers(_SEEDS))))
        self._state = (self._reset(key), jnp.zeros(self.num_envs, bool))
        return np.array(self._state[0].obs, np.float32), {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict]:
        """Raises RuntimeError before the first reset."""
        if self._state is None:
            raise RuntimeError("reset must be called before the first step")
        self._key, key = jax.random.split(self._key)
        self._state, outcome = self._step(key, *self._state, np.asarray(actions, np.float32))
        obs, reward, terminated, truncated, failures = (np.array(value) for value in outcome)
        return obs.astype(np.float32), reward.astype(np.float64), terminated, truncated, {"failures": failures}

    def _reset_all(self, key: Key) -> PyTree:
        return jax.vmap(self._env.reset)(jax.random.split(key, self.num_envs))

    def _step_all(self, key: Key, states: PyTree, done: Array, actions: Array) -> tuple[PyTree, tuple[Array, ...]]:
        k_reset, k_step = jax.random.split(key)
        after, steps = jax.vmap(self._env.step)(jax.random.split(k_step, self.num_envs), states, actions)

        def reset() -> PyTree:
            keys = jax.random.split(k_reset, self.num_envs)
            return jax.vmap(lambda k, ended, state: restart(k, self._env, ended, state))(keys, done, after)

        # Most steps end no episode, and a reset of all copies would cost a good part of a step.
        states = jax.lax.cond(done.any(), reset, lambda: after)
        terminated, truncated = (steps.discount == 0) & ~done, steps.truncated & ~done
        reward = jnp.where(done, 0.0, steps.reward)
        return (states, terminated | truncated), (states.obs, reward, terminated, truncated, states.failures)


def gym_id(name: str) -> str:
    """Gymnasium's id of one of our names: `half_cheetah-v4` is `mbrl_jax/HalfCheetah-v4`."""
    words, _, version = registry.resolve(name).rpartition("-")
    camel = "".join(word[:1].upper() + word[1:] for word in words.replace("-", "_").split("_"))
    return f"mbrl_jax/{camel}-{version}"


def register_all() -> None:
    """Registers every environment with Gymnasium; those already registered are left alone."""
    for name in registry.names():
        if gym_id(name) not in gymnasium.registry:
            gymnasium.register(gym_id(name), GymnasiumEnv, vector_entry_point=GymnasiumVectorEnv, kwargs={"env": name})


register_all()
