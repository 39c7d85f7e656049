"""A whole run as one pure function of a key and of hyper-parameter values: for notebooks, under `jit` and `vmap`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.custom_batching import sequential_vmap
from jax.typing import ArrayLike
from jaxtyping import Array

from mbrl_jax import envs
from mbrl_jax.algorithms import Entry, check_config, entry_of, preset
from mbrl_jax.checks import shown
from mbrl_jax.runner import program, record
from mbrl_jax.runner.precision import STANDARD, Precision
from mbrl_jax.runner.run import check_sweepable, override
from mbrl_jax.types import Algorithm, Config, Env, Info, Key, PyTree

__all__ = ["Train", "make_train"]

Hypers = Mapping[str, ArrayLike]
Train = Callable[..., tuple[PyTree, Info]]
"""`train(key, hypers) -> (state, metrics)`."""


def make_train(
    algorithm: str | Entry,
    env: str | Env,
    config: Config | None = None,
    *,
    eval_every: int | None = None,
    eval_episodes: int = 10,
    options: Mapping[str, object] | None = None,
    precision: Precision = STANDARD,
    batching: Literal["vmap", "map"] | None = None,
) -> Train:
    """A pure function that trains one lane from its key to its end: `train(key, hypers) -> (state, metrics)`.

    Under `jax.vmap` its keys and values are lanes of one program, as those of a `Run` are:

        >>> sizes = {"steps": 40, "warmup_steps": 8, "steps_per_iteration": 20, "batch": 4}
        >>> config = replace(mb.preset("sac", "probe-action"), **sizes)
        >>> train = mb.make_train("sac", "probe-action", config, eval_every=20, eval_episodes=2)
        >>> keys = jax.random.split(jax.random.key(0), 3)
        >>> hypers = {"agent.critic_lr": jnp.array([1e-4, 3e-4, 1e-3])}
        >>> state, metrics = jax.vmap(jax.jit(train))(keys, hypers)
        >>> metrics["eval/return_mean"].shape  # before training, and after 20 and 40 steps
        (3, 3)

    With `jax.random.key(seed)` it gives the numbers of the `Run` with that seed. On a CPU these are the same bits,
    alone and under `jax.vmap`, which there runs lanes one after the other, as a `Run` does. Nothing is stored, and
    nothing can be resumed: runs of hours are a `Run`'s. The final state holds the replay; a function that returns the
    metrics alone keeps it from being copied out.

    Args:
      algorithm: a name in `REGISTRY`, the path of a module of your own, or an `Entry`.
      env: an environment, or its name.
      config: the algorithm's configuration, with a field `steps`; the preset for the environment if None.
      eval_every: environment steps between evaluations; about 1,000 if None.
      eval_episodes: episodes per evaluation: deterministic policy, true environment.
      options: arguments of the algorithm's `make` beside configuration and environment.
      precision: of products: `float32`, `tensorfloat32` (NVIDIA GPUs) or `bfloat16` (TPUs); a device without the last
        two takes them for others.
      batching: what `jax.vmap` of it means: `map` runs its lanes one after the other, `vmap` all operations on all of
        them at once; None is `map` on a CPU and `vmap` elsewhere, as of a `Run`. The bits of evaluations depend on it.

    Returns:
      `train`. Its `hypers` are values of continuous fields of the configuration by their dotted names, each one number,
      which may be traced; those that are left out are the configuration's. Its metrics have the store's names:
      `eval/...` are `[evaluations]`, at the environment steps `eval/env_step`; the others `[iterations]`, at
      `env_step`. `diverged` is the environment step at which the state became non-finite and was frozen, or -1; from
      there on metrics are NaN, as the store leaves them out.

    Raises:
      ValueError: a name is not known, the configuration is another algorithm's, or step counts do not divide. `train`:
        a hyper-parameter is none that can be traced, breaks its rule, or is more than one number; or the key is not one
        key of `jax.random.key`.
    """
    env = envs.make(env) if isinstance(env, str) else env
    entry = entry_of(algorithm)
    chosen = preset(entry, env.spec.name) if config is None else config
    check_config(entry, chosen)
    if eval_episodes < 1:
        raise ValueError(f"eval_episodes must be at least 1, got {eval_episodes}")
    under_vmap = batching or program.default_batching()
    if under_vmap not in program.BATCHINGS:
        raise ValueError(f"batching must be one of {program.BATCHINGS}, got {under_vmap!r}")

    def build(values: Mapping[str, Array]) -> Algorithm[PyTree]:
        return entry.make(override(chosen, values), env, **(options or {}))

    schedule = record.scheduled(chosen.steps, build({}).env_steps, eval_every)
    lane = program.one_lane(build, env, eval_episodes, schedule.eval_iterations, precision)

    def whole(lanes: program.Lanes) -> tuple[PyTree, Info]:
        return _train(lane, schedule, lanes)

    of_lane = sequential_vmap(whole) if under_vmap == "map" else whole

    def train(key: Key, hypers: Hypers | None = None) -> tuple[PyTree, Info]:
        return of_lane(program.Lanes(_one_key(key), _values(chosen, hypers or {})))

    return train


def _one_key(key: Key) -> Key:
    typed = isinstance(key, jax.Array) and jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key)
    if not typed or key.shape != ():
        given = f"{key.dtype} of shape {key.shape}" if isinstance(key, jax.Array) else shown(key)
        raise ValueError(
            f"the key must be one of jax.random.key(seed); jax.vmap(train)(keys, hypers) takes many; got {given}"
        )
    return key


def _values(config: Config, hypers: Hypers) -> dict[str, Array]:
    """The values in single precision, as lanes hold them. Those that are known are held to their fields' rules."""
    for name, value in hypers.items():
        check_sweepable(config, name)
        if jnp.shape(value) != ():
            raise ValueError(
                f"a hyper-parameter must be one number; jax.vmap(train)(keys, hypers) takes many; got {name} of shape "
                f"{jnp.shape(value)}"
            )
        if not isinstance(value, Tracer):
            override(config, {name: float(np.asarray(value))})
    return {name: jnp.asarray(value, jnp.float32) for name, value in hypers.items()}


def _train(
    functions: tuple[Callable, Callable, Callable], schedule: record.Schedule, lane: program.Lanes
) -> tuple[PyTree, Info]:
    """Start, then from one evaluation to the next."""
    init, advance, evaluate = functions
    stops = jnp.asarray(schedule.eval_at, jnp.int32)
    # The first stretch has no iteration: so the first evaluation is in the same loop, and is compiled once.
    starts = jnp.concatenate([stops[:1], stops[:-1]])

    def stretch(carry: program.Carry, span: tuple[Array, Array]) -> tuple[program.Carry, tuple[Info, Info]]:
        start, stop = span
        carry, info = advance(lane, carry, start, stop)
        return carry, (info, evaluate(lane, carry, stop))

    carry, (infos, scores) = lax.scan(stretch, init(lane), (starts, stops))
    return carry.state, _metrics(schedule, carry.diverged, infos, scores)


def _metrics(schedule: record.Schedule, diverged: Array, infos: Info, scores: Info) -> Info:
    """The metrics, of infos `[evaluations, longest stretch]` and scores `[evaluations, episodes]`."""
    evaluated = jnp.asarray(schedule.eval_at, jnp.int32)
    passed = jnp.arange(1, schedule.iterations + 1)

    def known(at: Array, values: Array) -> Array:
        return jnp.where((diverged < 0) | (at <= diverged), values, jnp.nan)

    rows = {name: info[1:].reshape(-1)[: schedule.iterations] for name, info in infos.items()}
    return {
        **{name: known(passed, row) for name, row in rows.items()},
        **{name: known(evaluated, row) for name, row in record.summary(scores).items()},
        "env_step": passed * schedule.env_steps,
        "eval/env_step": evaluated * schedule.env_steps,
        "diverged": jnp.where(diverged < 0, -1, diverged * schedule.env_steps),
    }
