"""Our environments for Gymnasium: importing this module registers them as `mbrl_jax/Hopper-v4` and so on.

`gymnasium.make("mbrl_jax.envs.gymnasium_envs:mbrl_jax/Hopper-v4")` imports it by itself. `make_vec` gives a vector
environment that steps all copies in one compiled call, `async_vector` one with a process for each.
"""

from __future__ import annotations

import functools
import reprlib
from collections.abc import Sequence
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode
from jaxtyping import Array

from mbrl_jax.envs import pictures, registry
from mbrl_jax.envs.base import restart
from mbrl_jax.envs.gymnasium_shared import Copied, Given, actions_of, check_process, spaces_of, started
from mbrl_jax.envs.mujoco_table import ALIASES
from mbrl_jax.types import Env, Key, PyTree

__all__ = ["GymnasiumEnv", "GymnasiumVectorEnv", "async_vector", "gym_id", "register_all"]


class GymnasiumEnv(Copied, gymnasium.Env):
    """One environment, given by name or as an `Env`; its time limit is its own, so no wrapper is needed.

    Raises:
      ValueError: `render_mode` is neither None nor `rgb_array`.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 25}  # noqa: RUF012 (Gymnasium's own convention)

    def __init__(self, env: str | Env, render_mode: str | None = None, **options: Any):
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode must be None or 'rgb_array', got {render_mode!r}")
        self._given, self.render_mode = Given(env, options), render_mode
        self._bind()
        if self._env.spec.dt:
            self.metadata = {**self.metadata, "render_fps": round(1 / self._env.spec.dt)}
        self.observation_space, self.action_space = spaces_of(self._env.spec)
        self._state: PyTree = None
        self._key: PyTree = None  # no array is made before the first reset, so that a process can be told not to fork

    def _bind(self) -> None:
        self._env = self._given.made()
        self._reset, self._step = jax.jit(self._env.reset), jax.jit(self._env.step)

    def reset(self, *, seed: int | None = None, options: dict[str, object] | None = None) -> tuple[np.ndarray, dict]:
        """Starts an episode, with its observation `[obs_dim]` and info; the same seed starts the same run."""
        check_process()
        super().reset(seed=seed)
        self._key, key = started(self.np_random)
        self._state = self._reset(key)
        return np.asarray(self._state.obs, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        """One step of `action [action_dim]`: observation `[obs_dim]`, reward, terminated, truncated, info.

        Raises:
          RuntimeError: before the first reset.
          ValueError: the action is of another shape.
        """
        if self._state is None:
            raise RuntimeError("reset must be called before the first step")
        action = actions_of(self._env.spec, action)
        self._key, key = jax.random.split(self._key)
        self._state, transition = self._step(key, self._state, action)
        obs, reward, discount, truncated, failures = jax.device_get(
            (transition.next_obs, transition.reward, transition.discount, transition.truncated, self._state.failures)
        )
        info = {"failures": int(failures)}
        return np.asarray(obs, np.float32), float(reward), bool(discount == 0), bool(truncated), info

    def render(self) -> np.ndarray | None:
        """The current frame, uint8 `[height, width, 3]`, in render mode `rgb_array`; else None.

        Raises:
          RuntimeError: before the first reset.
        """
        if self.render_mode is None:
            return None
        if self._state is None:
            raise RuntimeError("reset must be called before the first render")
        return pictures.render(self._env, jax.tree.map(lambda leaf: leaf[None], self._state))[0]


class GymnasiumVectorEnv(Copied, gymnasium.vector.VectorEnv):
    """`num_envs` copies in one compiled call; a finished copy resets in the next step (`AutoresetMode.NEXT_STEP`).

    Raises:
      ValueError: `num_envs` is no whole number of at least 1, or `render_mode` is not None.
    """

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP, "render_modes": []}  # noqa: RUF012

    def __init__(self, env: str | Env, num_envs: int = 1, render_mode: str | None = None, **options: Any):
        if not isinstance(num_envs, int | np.integer) or num_envs < 1:
            raise ValueError(f"num_envs must be a whole number of at least 1, got {num_envs!r}")
        if render_mode is not None:
            raise ValueError(f"render_mode of copies in one call must be None, got {render_mode!r}")
        self._given, self.num_envs, self.render_mode = Given(env, options), int(num_envs), render_mode
        self._bind()
        self.single_observation_space, self.single_action_space = spaces_of(self._env.spec)
        self.observation_space = gymnasium.vector.utils.batch_space(self.single_observation_space, num_envs)
        self.action_space = gymnasium.vector.utils.batch_space(self.single_action_space, num_envs)
        self._state: PyTree = None
        self._key: PyTree = None

    def _bind(self) -> None:
        self._env = self._given.made()
        self._reset, self._step = jax.jit(jax.vmap(self._env.reset)), jax.jit(self._step_all)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, object] | None = None
    ) -> tuple[np.ndarray, dict]:
        """Starts an episode in every copy: observations `[num_envs, obs_dim]`, info. The same seed starts the same run.

        With a seed for each copy, each begins as an environment of its own with that seed does.

        Raises:
          ValueError: `seed` is neither a whole number nor one, at least 0 or None, for each copy.
        """
        check_process()
        if seed is None or isinstance(seed, int | np.integer):
            super().reset(seed=None if seed is None else int(seed))
            self._key, key = started(self.np_random)
            keys = jax.random.split(key, self.num_envs)
        else:
            self._key, keys = self._each(self._seeds(seed))
        self._state = (self._reset(keys), jnp.zeros(self.num_envs, bool))
        return np.array(self._state[0].obs, np.float32), {}

    def _seeds(self, seed: Sequence[int | None]) -> list[int | None]:
        seeds = seed.tolist() if isinstance(seed, np.ndarray) else seed
        sound = isinstance(seeds, list | tuple) and len(seeds) == self.num_envs
        if not sound or not all(one is None or (isinstance(one, int | np.integer) and one >= 0) for one in seeds):
            rule = f"seed must be one whole number, or num_envs={self.num_envs} of them, at least 0 or None"
            raise ValueError(f"{rule}, got {reprlib.repr(seed)}")
        return [None if one is None else int(one) for one in seeds]

    def _each(self, seeds: list[int | None]) -> tuple[Key, Key]:
        """A key for what follows, which depends on all seeds, and a copy's own for each."""
        super().reset(seed=next((one for one in seeds if one is not None), None))
        drawn = [started(self.np_random if one is None else seeding.np_random(one)[0]) for one in seeds]
        later = functools.reduce(jax.random.fold_in, [jax.random.bits(key) for key, _ in drawn], jax.random.key(0))
        return later, jnp.stack([first for _, first in drawn])

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict]:
        """One step of every copy: observations `[num_envs, obs_dim]`, rewards and what has ended `[num_envs]`, info.

        Args:
          actions: `[num_envs, action_dim]`.

        Raises:
          RuntimeError: before the first reset.
          ValueError: the actions are of another shape.
        """
        if self._state is None:
            raise RuntimeError("reset must be called before the first step")
        actions = actions_of(self._env.spec, actions, self.num_envs)
        self._key, key = jax.random.split(self._key)
        self._state, outcome = self._step(key, *self._state, actions)
        obs, reward, terminated, truncated, failures = (np.array(value) for value in outcome)
        return obs.astype(np.float32), reward.astype(np.float64), terminated, truncated, {"failures": failures}

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


def async_vector(name: str, num_envs: int, **options: Any) -> gymnasium.vector.AsyncVectorEnv:
    """Copies in processes of their own, which are spawned: JAX has threads, and they would not survive a fork.

    `make_vec` with `vectorization_mode="vector_entry_point"` steps all copies in one call, which is faster.
    """
    one = functools.partial(GymnasiumEnv, name, **options)
    return gymnasium.vector.AsyncVectorEnv([one] * num_envs, context="spawn")


def _camel(name: str) -> str:
    """`half_cheetah-v4` in Gym's manner: `HalfCheetah-v4`."""
    words, _, version = name.rpartition("-")
    return "".join(word[:1].upper() + word[1:] for word in words.replace("-", "_").split("_")) + f"-{version}"


@functools.cache
def _theirs() -> dict[str, str]:
    """Gymnasium's own ids, by what is left of them without capitals and what separates words."""
    return {registry.plain(one): one for one in gymnasium.registry if "/" not in one}


def gym_id(name: str) -> str:
    """Gymnasium's id of one of our names, spelt as Gymnasium spells it: `cartpole-v1` is `mbrl_jax/CartPole-v1`."""
    ours = registry.resolve(name)
    return f"mbrl_jax/{_theirs().get(registry.plain(ours), _camel(ours))}"


def register_all() -> None:
    """Registers every environment with Gymnasium, under Gymnasium's spelling, ours and older versions that are equal.

    Those already registered are left alone.
    """
    ids = {f"mbrl_jax/{_camel(name)}": name for name in (*registry.names(), *ALIASES)}
    for one, name in {**ids, **{gym_id(name): name for name in registry.names()}}.items():
        if one not in gymnasium.registry:
            gymnasium.register(
                one,
                f"{__name__}:{GymnasiumEnv.__name__}",
                vector_entry_point=f"{__name__}:{GymnasiumVectorEnv.__name__}",
                kwargs={"env": registry.resolve(name)},
            )


register_all()
