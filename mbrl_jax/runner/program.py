"""Seeds as one program: any `Algorithm` over a whole seed axis, on all local devices, in compiled chunks.

A lane is one seed with its values of the continuous hyper-parameters. Lanes are spread over the devices by a mesh axis
`seed`; on one device they run under `vmap` (accelerators: one seed alone leaves them idle) or one after the other
(CPU: one seed already fills a core, and `vmap` would lose cache locality and real branches). Nothing in an algorithm
knows which.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array

from mbrl_jax import rollouts
from mbrl_jax.runner import record
from mbrl_jax.runner.memory import largest
from mbrl_jax.runner.operations import Work, count
from mbrl_jax.runner.precision import STANDARD, Precision, at_precision
from mbrl_jax.types import Algorithm, Env, Key, PyTree, Shared, Storage

__all__ = [
    "BATCHINGS",
    "Carry",
    "Lanes",
    "Program",
    "batched",
    "default_batching",
    "lane",
    "lanes_of",
    "make",
    "one_lane",
    "resized",
    "shapes_of",
]

BATCHINGS = ("vmap", "map")
MANY_EPISODES = 10_000
"""More than these in an evaluation are weighed; fewer are small beside what training writes, and tracing takes time."""
Build = Callable[[Mapping[str, Array]], Algorithm]


class Lanes(NamedTuple):
    """Run keys `[lanes]` and the values of each swept hyper-parameter `[lanes]`."""

    keys: Key
    hypers: dict[str, Array]


class Carry(NamedTuple):
    """States of all lanes, and the iteration at which each `diverged [lanes]` (−1: healthy)."""

    state: PyTree
    diverged: Array


class Program(NamedTuple):
    """An algorithm over all lanes, as functions to be compiled.

    Attributes:
      init: `init(lanes) -> Carry`.
      advance: `advance(lanes, carry, start, stop) -> (carry, info)`: iterations start to stop − 1, at most `length`;
        `info` leaves are `[lanes, length]`, filled up to stop − start. Start and stop are arrays: one compilation
        serves every chunk, so results cannot depend on how a run is cut.
      evaluate: `evaluate(lanes, carry, iteration) -> {"eval/return": [lanes, episodes], "eval/length": ...}`, and the
        task's own scores, `eval/success` for example.
      lanes: number of lanes the program runs: the ones asked for, filled up to a multiple of the devices.
      mesh: the devices, axis `seed`.
      one: shapes of one lane's carry.
      metrics: the names of what is recorded of every iteration.
      scores: the names of what is recorded of every evaluation.
      passing: bytes of the largest array that one lane writes beside its carry.
      work: operations of one lane.
    """

    init: Callable[[Lanes], Carry]
    advance: Callable[[Lanes, Carry, Array, Array], tuple[Carry, dict[str, Array]]]
    evaluate: Callable[[Lanes, Carry, Array], dict[str, Array]]
    lanes: int
    mesh: Mesh
    one: Carry
    metrics: tuple[str, ...]
    scores: tuple[str, ...]
    passing: int
    work: Work

    def place(self, tree: PyTree, flags: PyTree | None = None) -> PyTree:
        """Puts host arrays with a leading lane axis (shared parts without one) onto the devices."""
        flags = batched(tree) if flags is None else flags

        def put(x: np.ndarray, lane: bool) -> Array:
            return jax.device_put(x, NamedSharding(self.mesh, P("seed") if lane else P()))

        return jax.tree.map(put, tree, flags)


def default_batching(devices: Sequence[jax.Device] | None = None) -> str:
    """`map` on a CPU (there `benchmarks/training.py` measured it to be faster), `vmap` elsewhere.

    Args:
      devices: what the program is compiled for; the local ones if None.
    """
    return "map" if (devices or jax.local_devices())[0].platform == "cpu" else "vmap"


def lanes_of(seeds: Sequence[int], hypers: Mapping[str, Sequence[float]], total: int) -> Lanes:
    """Lanes for the given seeds and values (one per seed), filled up to `total` by repeating the last."""
    fill = [*range(len(seeds)), *[len(seeds) - 1] * (total - len(seeds))]
    keys = jax.vmap(jax.random.key)(jnp.asarray([seeds[i] for i in fill], jnp.uint32))
    values = {name: jnp.asarray([column[i] for i in fill], jnp.float32) for name, column in hypers.items()}
    return Lanes(keys, values)


def batched(tree: PyTree) -> PyTree:
    """For every leaf: whether it has a lane axis. Parts marked `Shared` have none."""

    def is_shared(node: object) -> bool:
        return isinstance(node, Shared)

    def mark(node: PyTree) -> PyTree:
        return jax.tree.map(lambda _: not is_shared(node), node)

    return jax.tree.map(mark, tree, is_leaf=is_shared)


def shapes_of(one: PyTree, lanes: int) -> PyTree:
    """Shapes over `lanes` lanes of a tree whose shapes in one lane are `one`."""

    def wide(x: jax.ShapeDtypeStruct, own: bool) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((lanes, *x.shape) if own else x.shape, x.dtype)

    return jax.tree.map(wide, one, batched(one))


def resized(tree: PyTree, lanes: int) -> PyTree:
    """A host tree cut to its first `lanes` lanes, or filled up to them by repeating the last, as `lanes_of` does.

    What is stored holds the lanes asked for and no more, so that it can be taken up on any number of devices.
    """

    def resize(x: np.ndarray, own: bool) -> np.ndarray:
        if not own or len(x) >= lanes:
            return x[:lanes] if own else x
        return np.concatenate([x, np.repeat(x[-1:], lanes - len(x), axis=0)])

    return jax.tree.map(resize, tree, batched(tree))


def lane(tree: PyTree, index: int) -> PyTree:
    """One lane's part of a tree over all lanes."""
    return jax.tree.map(lambda x, own: x[index] if own else x, tree, batched(tree))


def _finite(state: PyTree) -> Array:
    """Whether all floating-point values of a state are finite, bulk storage left out."""
    leaves = jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, Storage))
    checked = [jnp.isfinite(x).all() for x in leaves if not isinstance(x, Storage) and _is_float(x)]
    return jnp.stack(checked).all() if checked else jnp.ones((), bool)


def _is_float(leaf: Array) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.floating)


def _keep_if(healthy: Array, new: PyTree, old: PyTree) -> PyTree:
    """`new` where healthy, else `old`; what is shared or bulk storage moves on regardless."""

    def marked(node: object) -> bool:
        return isinstance(node, Shared | Storage)

    def choose(n: PyTree, o: PyTree) -> PyTree:
        return n if marked(n) else jnp.where(healthy, n, o)

    return jax.tree.map(choose, new, old, is_leaf=marked)


def one_lane(
    build: Build, env: Env, episodes: int, length: int, precision: Precision = STANDARD
) -> tuple[Callable, Callable, Callable]:
    """`init`, `advance` and `evaluate` of a single lane, as `Program` has them of all; arguments as those of `make`."""

    def init(lane: Lanes) -> Carry:
        k_init, _, _ = jax.random.split(lane.keys, 3)
        return Carry(build(lane.hypers).init(k_init), jnp.full((), -1, jnp.int32))

    def advance(lane: Lanes, carry: Carry, start: Array, stop: Array) -> tuple[Carry, dict[str, Array]]:
        _, k_run, _ = jax.random.split(lane.keys, 3)
        algorithm = build(lane.hypers)
        shapes = jax.eval_shape(algorithm.step, k_run, carry.state)[1]
        empty = {name: jnp.zeros(length, jnp.float32) for name in shapes}

        def body(t: Array, loop: tuple[Carry, dict[str, Array]]) -> tuple[Carry, dict[str, Array]]:
            (state, diverged), infos = loop
            new, info = algorithm.step(jax.random.fold_in(k_run, t), state)
            alive, finite = diverged < 0, _finite(new)
            diverged = jnp.where(alive & ~finite, t, diverged).astype(jnp.int32)

            def write(row: Array, value: Array) -> Array:
                return row.at[t - start].set(jnp.where(alive, value, jnp.nan))

            infos = {name: write(infos[name], info[name].astype(jnp.float32)) for name in infos}
            return Carry(_keep_if(alive & finite, new, state), diverged), infos

        return lax.fori_loop(start, stop, body, (carry, empty))

    def evaluate(lane: Lanes, carry: Carry, iteration: Array) -> dict[str, Array]:
        _, _, k_eval = jax.random.split(lane.keys, 3)
        policy = build(lane.hypers).policy(carry.state)
        found = rollouts.graded(jax.random.fold_in(k_eval, iteration), env, policy, episodes)
        more = {f"eval/{name}": score for name, score in found.scores.items()}
        return {"eval/return": found.total, "eval/length": found.length, **more}

    return at_precision(precision, init), at_precision(precision, advance), at_precision(precision, evaluate)


def _over_lanes(fn: Callable, batching: str, flags_in: PyTree, flags_out: PyTree) -> Callable:
    """`fn` of one lane as a function of many; `flags` say which leaves carry a lane axis."""
    axes = partial(jax.tree.map, lambda lane: 0 if lane else None)
    if batching == "vmap":
        return jax.vmap(fn, in_axes=tuple(axes(flags_in)), out_axes=axes(flags_out))

    def mapped(*args: PyTree) -> PyTree:
        leaves, structure = jax.tree.flatten(args)
        flags = jax.tree.leaves(tuple(flags_in))

        def one(own: list[Array]) -> PyTree:
            it = iter(own)
            return fn(*structure.unflatten([next(it) if f else leaf for leaf, f in zip(leaves, flags, strict=True)]))

        out = lax.map(one, [leaf for leaf, f in zip(leaves, flags, strict=True) if f])
        return jax.tree.map(lambda leaf, lane: leaf if lane else leaf[0], out, flags_out)

    return mapped


def make(
    build: Build,
    env: Env,
    lanes: Lanes,
    *,
    episodes: int,
    length: int,
    batching: str | None = None,
    devices: Sequence[jax.Device] | None = None,
    precision: Precision = STANDARD,
) -> Program:
    """The program of an algorithm over at least `len(lanes.keys)` lanes.

    Args:
      build: makes the algorithm from a lane's hyper-parameter values; called while tracing.
      env: the environment that policies are evaluated in.
      lanes: one entry per lane wanted; only its structure is used.
      episodes: episodes per evaluation and lane.
      length: the most iterations one call of `advance` may take.
      batching: `vmap` or `map` over the lanes of a device; `default_batching(devices)` if None.
      devices: all local devices if None; never more than there are lanes.
      precision: of products, see `runner.precision`.

    Raises:
      ValueError: `batching` is neither `vmap` nor `map`.
    """
    if (batching := batching or default_batching(devices)) not in BATCHINGS:
        raise ValueError(f"batching must be one of {BATCHINGS}, got {batching!r}")
    wanted = lanes.keys.shape[0]
    mesh = Mesh(devices := (devices or jax.local_devices())[:wanted], ("seed",))
    init, advance, evaluate = one_lane(build, env, episodes, length, precision)
    one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), lanes)
    time = jax.ShapeDtypeStruct((), jnp.int32)
    start, carry = jax.make_jaxpr(init, return_shape=True)(one)
    going, (_, info) = jax.make_jaxpr(advance, return_shape=True)(one, carry, time, time)
    scored, scores = jax.make_jaxpr(evaluate, return_shape=True)(one, carry, time)
    of_lanes, of_carry, of_info = batched(one), batched(carry), batched(info)

    def spread(fn: Callable, flags_in: tuple, flags_out: PyTree) -> Callable:
        specs = partial(jax.tree.map, lambda lane: P("seed") if lane else P())
        many = _over_lanes(fn, batching, flags_in, flags_out)
        return jax.shard_map(many, mesh=mesh, in_specs=specs(flags_in), out_specs=specs(flags_out), check_vma=False)

    return Program(
        init=spread(init, (of_lanes,), of_carry),
        advance=spread(advance, (of_lanes, of_carry, False, False), (of_carry, of_info)),
        evaluate=spread(evaluate, (of_lanes, of_carry, False), dict.fromkeys(scores, True)),
        lanes=-(-wanted // len(devices)) * len(devices),
        mesh=mesh,
        one=carry,
        metrics=tuple(sorted(info)),
        scores=record.names_of(scores),
        passing=largest([start, going, *([scored] if episodes > MANY_EPISODES else [])], carry),
        work=Work(*(count(each.jaxpr) for each in (start, going, scored))),
    )
