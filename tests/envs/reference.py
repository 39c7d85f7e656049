"""Trajectories of the real Gymnasium environments, from states that random roll-outs reach, to compare ours with."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import jax.numpy as jnp
import mujoco
import numpy as np

from mbrl_jax.envs import EnvState, bits
from mbrl_jax.envs.base import float_dtype
from mbrl_jax.envs.mujoco_envs import GYM_BODIES
from mbrl_jax.envs.mujoco_table import TASKS
from mbrl_jax.envs.mujoco_tasks import MEMORY, locate


class Reference(NamedTuple):
    """`states` start states, each followed for `steps` steps with random actions.

    Attributes:
      rows: MuJoCo's integration state at the start, `[states, n]`.
      derived: the derived fields Gymnasium had computed by then, each `[states, ...]`.
      obs: observations at the start, `[states, O]`.
      actions: `[states, steps, A]`.
      next_obs, reward, terminated: outcomes, `[states, steps, ...]`.
      qpos, qvel: positions and velocities after each step.
    """

    rows: np.ndarray
    derived: dict[str, np.ndarray]
    obs: np.ndarray
    actions: np.ndarray
    next_obs: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    qpos: np.ndarray
    qvel: np.ndarray


def make_gym(gym_id: str, **options: Any) -> Any:
    import gymnasium

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return gymnasium.make(gym_id, **options).unwrapped


def body_of(name: str) -> Any:
    """Gymnasium's environment of a task; where it has none, one with the same body (its first in our table)."""
    task = GYM_BODIES[name]
    gym = task.gym or next(other.gym for other in TASKS.values() if other.gym and other.model == task.model)
    return make_gym(gym[0], **dict(gym[1:]))


def record(env: Any, derived: tuple[str, ...], *, states: int = 20, steps: int = 10, seed: int = 0) -> Reference:
    """Random roll-outs of `env`; the start states lie 1 to 40 steps into them."""
    rng = np.random.default_rng(seed)
    env.reset(seed=seed)
    starts, paths = [], []
    for _ in range(states):
        obs = _wander(env, rng, int(rng.integers(1, 40)))
        start = (_row(env), {spec: field_of(env.model, env.data, spec) for spec in derived}, obs)
        actions = [_action(env, rng) for _ in range(steps)]
        paths.append([(action, *env.step(action)[:3], *_posture(env)) for action in actions])
        starts.append(start)
        env.reset()
    columns = [np.array([[np.asarray(step[i]) for step in path] for path in paths]) for i in range(6)]
    rows, fields, obs = zip(*starts, strict=True)
    return Reference(
        np.array(rows), {name: np.array([f[name] for f in fields]) for name in derived}, np.array(obs), *columns
    )


def contact_cost(name: str, forces: np.ndarray) -> np.ndarray:
    """Gym's -v2 costs: Ant 5e-4 of the squared forces clipped to ±1, Humanoid 5e-7 of the squares, at most 10."""
    if name.startswith("ant"):
        return 5e-4 * np.square(np.clip(forces, -1, 1)).sum(axis=(-1, -2))
    return np.minimum(5e-7 * np.square(forces).sum(axis=(-1, -2)), 10)


def state_of(reference: Reference, engine: str, obs_dim: int) -> EnvState:
    """The start states as a batch of states of our environment; a task of other observations starts with zeros."""
    count = len(reference.rows)
    known = reference.obs.shape[-1] == obs_dim
    obs = jnp.asarray(reference.obs if known else np.zeros((count, obs_dim)), float_dtype())
    zeros = jnp.zeros(count, jnp.int32)
    if engine == "mujoco":
        extra = [values.reshape(count, -1) for values in reference.derived.values()]
        words = bits.to_words(np.concatenate([reference.rows, *extra], axis=-1))
        return EnvState(obs, jnp.asarray(words), zeros, zeros)
    from mbrl_jax.envs.engine_mjx import Bodies

    nq, nv = reference.qpos.shape[-1], reference.qvel.shape[-1]
    parts = [reference.rows[:, at : at + n] for at, n in ((1, nq), (1 + nq, nv), (1 + nq + nv, nv))]
    derived = {name: jnp.asarray(values, float_dtype()) for name, values in reference.derived.items()}
    return EnvState(obs, Bodies(*(jnp.asarray(part, float_dtype()) for part in parts), derived), zeros, zeros)


def _wander(env: Any, rng: np.random.Generator, steps: int) -> np.ndarray:
    obs = None
    while obs is None:
        for _ in range(steps):
            obs, _, terminated, *_ = env.step(_action(env, rng))
            if terminated:
                env.reset()
                obs = None
    return obs


def _action(env: Any, rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(env.action_space.low, env.action_space.high).astype(np.float32).astype(np.float64)


def field_of(model: Any, data: Any, spec: str) -> np.ndarray:
    """A copy of a field named as in `Task.derived`; nothing has been sensed where Gymnasium has no sensor."""
    if spec == MEMORY:
        return np.zeros(1)
    field, row = locate(model, spec)
    values = getattr(data, field)
    return np.copy(values if row is None else values[row])


def _posture(env: Any) -> tuple[np.ndarray, np.ndarray]:
    return env.data.qpos.copy(), env.data.qvel.copy()


def _row(env: Any) -> np.ndarray:
    spec = mujoco.mjtState.mjSTATE_INTEGRATION
    row = np.empty(mujoco.mj_stateSize(env.model, spec))
    mujoco.mj_getState(env.model, env.data, row, spec)
    return row
