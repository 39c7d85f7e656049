"""What algorithms must keep (`types.Algorithm`): structure, compilation, seeds, marks, interruption, the policy."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mbrl_jax.runner import program
from mbrl_jax.testing import rules
from mbrl_jax.testing.pieces import check_policy
from mbrl_jax.testing.programs import count, has_batched_end, touching, trace
from mbrl_jax.types import Algorithm, Info, Key, PyTree, Spec, Storage

__all__ = ["Ran", "check_algorithm", "over_seeds"]

SEEDS = 3
"""Seeds that programs are traced over."""


class Ran(NamedTuple):
    """Seeds that ran one after the other: their keys, final states, and the infos of all their iterations."""

    keys: Key
    states: list[PyTree]
    infos: list[Info]


def check_algorithm(
    algorithm: Algorithm[Any],
    spec: Spec,
    *,
    iterations: int = 3,
    waiting: int = 0,
    branches: int = 0,
    computed: Collection[tuple[int, ...]] = (),
    tolerance: float = 1e-5,
) -> Ran:
    """Everything that the runner relies on; traces the algorithm, then runs two seeds.

    Args:
      spec: of the environment that the algorithm was made for.
      iterations: how many each seed runs; 0 only traces.
      waiting: loops in `step` that end at different times for different seeds (a fit's early stopping).
      branches: branches in `step` whose condition is the same for all seeds, so that they stay branches.
      computed: shapes of stored arrays of which `step` computes something as large (a mask over the episodes), so
        that arrays of this shape tell nothing of a copy.
      tolerance: relative error of each array of the state between seeds together and alone, optimisers left out.

    Raises:
      AssertionError: says which rule is broken and what was found.
    """
    _check_shapes(algorithm)
    _check_program(algorithm, waiting, branches, computed)
    if iterations == 0:
        return Ran(jax.random.split(jax.random.key(0), 2), [], [])
    ran = _run(algorithm, iterations)
    _check_together(algorithm, ran, iterations, tolerance)
    check_policy(algorithm.policy(ran.states[0]), spec)
    return ran


def _check_shapes(algorithm: Algorithm[Any]) -> None:
    key = jax.random.key(0)
    before = jax.eval_shape(algorithm.init, key)
    after, info = jax.eval_shape(algorithm.step, key, before)
    rules.check_strong(before, "`Algorithm.init`")
    rules.check_structure(before, after, "`Algorithm.step`")
    rules.check_info(info, "`Algorithm.step`'s info")
    assert algorithm.env_steps >= 1, f"env_steps must be at least 1, got {algorithm.env_steps}"
    assert algorithm.warmup_steps >= 0, f"warmup_steps must not be negative, got {algorithm.warmup_steps}"


def over_seeds(algorithm: Algorithm[Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """`init` and `step` over a leading seed axis, which what is `Shared` lacks."""
    shape = jax.eval_shape(algorithm.init, jax.random.key(0))
    axes = jax.tree.map(lambda lane: 0 if lane else None, program.batched(shape))
    init = jax.vmap(algorithm.init, out_axes=axes)
    return init, jax.vmap(algorithm.step, in_axes=(0, axes), out_axes=(axes, 0))


def _stores(tree: PyTree, computed: Collection[tuple[int, ...]]) -> set[tuple[int, ...]]:
    """Shapes of what is stored, over seeds, but for those of `computed`, which have no seed axis."""

    def is_store(node: object) -> bool:
        return isinstance(node, Storage)

    marked = [node for node in jax.tree.leaves(tree, is_leaf=is_store) if is_store(node)]
    found = {leaf.shape for leaf in jax.tree.leaves(marked)}
    return {shape for shape in found if shape[1:] not in set(computed)}


COPIES = ("select_n", "copy", "concatenate", "sort", "gather")
"""Primitives that, giving an array as large as what is stored, copy it."""


def _check_program(
    algorithm: Algorithm[Any], waiting: int, branches: int, computed: Collection[tuple[int, ...]]
) -> None:
    """What the loop over seeds is made of."""
    init, step = over_seeds(algorithm)
    keys = jax.random.split(jax.random.key(0), SEEDS)
    try:
        shapes = jax.eval_shape(init, keys)
        eqns = trace(step, keys, shapes)
    except ValueError as error:
        if "out_axes" not in str(error):
            raise
        raise AssertionError(f"what is `Shared` must not depend on a seed: {error}") from error
    alone = trace(algorithm.step, keys[0], jax.eval_shape(algorithm.init, keys[0]))
    kept, made = count(eqns, "cond"), count(alone, "cond")
    assert kept == made, (
        f"a branch must not depend on a seed, or all seeds run both its sides: {made - kept} of {made} do "
        "(count in a `Shared`, or nest scans)"
    )
    assert kept == branches, f"expected {branches} branches in the loop over seeds, found {kept}"
    stores = _stores(shapes, computed)
    # What is not looked at by the wrong shape: the writes are found.
    assert not stores or touching(eqns, {"scatter"}, stores), "found no write into what is marked `Storage`"
    copies = touching(eqns, COPIES, stores)
    assert not copies, f"the loop over seeds must write into a `Storage` in place, but {sorted(copies)} copy it"
    loops = [e for e in eqns if e.primitive.name == "while"]
    per_seed = [e for e in loops if has_batched_end(e)]
    assert len(per_seed) == waiting, (
        f"expected {waiting} loops that end at different times for different seeds, found {len(per_seed)}"
    )
    # A loop whose end differs between seeds selects its whole carry.
    held = touching(per_seed, {"while"}, stores)
    assert not held, "a loop that ends at different times for different seeds must not carry a `Storage`"


def key_at(key: Key, t: int | jax.Array) -> Key:
    """The key of iteration `t []`."""
    return jax.random.fold_in(jax.random.fold_in(key, 1), t)


def _run(algorithm: Algorithm[Any], iterations: int) -> Ran:
    """Two seeds in turn; the first one again from its middle, through a checkpoint."""
    init, (step, traces) = jax.jit(algorithm.init), rules.counted(algorithm.step)
    ran = Ran(jax.random.split(jax.random.key(0), 2), [], [])
    middle, kept = iterations // 2, None
    for key in ran.keys:
        state = init(key)
        for t in range(iterations):
            if t == middle and kept is None:
                kept = rules.saved(state)
            state, info = step(key_at(key, t), state)
            ran.infos.append(info)
        ran.states.append(state)
    for t in range(middle, iterations):
        kept, _ = step(key_at(ran.keys[0], t), kept)
    assert len(traces) == 1, f"`step` must be traced once for all iterations, was traced {len(traces)} times"
    rules.check_same(kept, ran.states[0], "a run that was saved and resumed must end with the bits of one in one piece")
    for info in ran.infos:
        # Statistics of the episodes that ended are NaN where none did.
        rules.check_finite(info, "`Algorithm.step`'s info", but=lambda path: path.startswith("['train/"))
    return ran


def _check_together(algorithm: Algorithm[Any], ran: Ran, iterations: int, tolerance: float) -> None:
    init, step = over_seeds(algorithm)
    state, step = jax.jit(init)(ran.keys), jax.jit(step)
    for t in range(iterations):
        state, _ = step(jax.vmap(key_at, (0, None))(ran.keys, jnp.int32(t)), state)
    for place, alone in enumerate(ran.states):
        rules.check_near(
            program.lane(state, place),
            alone,
            tolerance,
            "seeds together must end as seeds alone",
            # Adam's first moments are gradients that cancel; what they make of the parameters is compared.
            but=lambda path: ".opt" in path,
        )
