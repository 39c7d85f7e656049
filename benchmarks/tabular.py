"""Exact MnM value iteration on 1,000 random MDPs in one call, against a NumPy loop over them, measured in turn.

    python -m benchmarks.tabular [--states 10 100] [--rounds 5]

At 10 states the loop is bound by its overhead, at 100 by memory: there the call works through the MDPs in blocks that
stay in the cache. Both sides use float32, the same stopping rule, and their results are compared.
"""

from __future__ import annotations

import argparse
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks import common
from mbrl_jax import tabular
from mbrl_jax.theory import mnm

COUNT, ACTIONS, DISCOUNT, TOLERANCE = 1000, 4, 0.95, 1e-5
BLOCK = {10: COUNT, 100: 50}
REQUIRED = {10: 20.0, 100: 3.0}


class Tasks(NamedTuple):
    """`COUNT` random MDPs as NumPy arrays: transition `[N, S, A, S]` and reward `[N, S, A]`, float32."""

    transition: np.ndarray
    reward: np.ndarray


def draw(states: int) -> Tasks:
    rng = np.random.default_rng(0)
    step = rng.random((COUNT, states, ACTIONS, states), dtype=np.float32)
    step /= step.sum(axis=-1, keepdims=True)
    return Tasks(step, rng.uniform(0.1, 10, (COUNT, states, ACTIONS)).astype(np.float32))


def numpy_loop(tasks: Tasks) -> np.ndarray:
    """Optimal value of Eq. 2 for each MDP, one after the other, by matrix-vector products."""
    return np.stack([_numpy_one(*task) for task in zip(*tasks, strict=True)])


def _numpy_one(transition: np.ndarray, reward: np.ndarray) -> np.ndarray:
    states, actions = reward.shape
    discount = np.float32(DISCOUNT)
    step = transition.reshape(states * actions, states)
    base = ((1 - discount) * (np.log(reward) - np.log1p(-discount))).ravel()
    value = np.zeros(states, np.float32)
    change = np.inf
    while change > TOLERANCE * max(1.0, float(np.abs(value).max())):
        tilt = discount * value
        top = tilt.max()
        updated = (base + top + np.log(step @ np.exp(tilt - top))).reshape(states, actions).max(axis=1)
        change = float(np.abs(updated - value).max())
        value = updated
    return value


def compiled(tasks: Tasks, states: int) -> tuple[Any, float]:
    """The same in one call, and the seconds that compiling it took."""
    start = jnp.full((COUNT, states), 1 / states, jnp.float32)
    mdps = tabular.MDP(jnp.asarray(tasks.transition), jnp.asarray(tasks.reward), start, jnp.full(COUNT, DISCOUNT))

    def all_values(batch: tabular.MDP) -> jax.Array:
        return lax.map(lambda mdp: mnm.optimise(mdp, TOLERANCE).value, batch, batch_size=BLOCK.get(states, 50))

    began = time.perf_counter()
    call = jax.jit(all_values).lower(mdps).compile()
    seconds = time.perf_counter() - began
    return lambda: jax.block_until_ready(call(mdps)), seconds


def measure(states: int, rounds: int) -> dict[str, Any]:
    tasks = draw(states)
    call, compile_seconds = compiled(tasks, states)
    blocks = {"one call": call, "NumPy loop": lambda: numpy_loop(tasks)}
    difference = float(np.abs(np.asarray(call()) - numpy_loop(tasks)).max())
    if difference > 1e-3:
        raise RuntimeError(f"both must find the same values, they differ by {difference:g} at {states} states")
    samples = common.in_turn(blocks, rounds)
    ratios = [slow / fast for slow, fast in zip(samples["NumPy loop"], samples["one call"], strict=True)]
    return {
        "states": states,
        "compile_seconds": compile_seconds,
        "seconds": {name: common.spread(times) for name, times in samples.items()},
        "times_faster": common.spread(ratios),
        "largest_difference": difference,
        "required": REQUIRED.get(states),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--states", nargs="+", type=int, default=[10, 100])
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    facts = common.machine()
    found = [measure(states, given.rounds) for states in given.states]
    for one in found:
        call, loop = (one["seconds"][name]["median"] for name in ("one call", "NumPy loop"))
        print(
            f"{COUNT} MDPs, {one['states']} states: one call {call:.3f} s (compile {one['compile_seconds']:.1f} s), "
            f"NumPy loop {loop:.3f} s, {one['times_faster']['median']:.1f} times faster "
            f"(required: {one['required']})",
            flush=True,
        )
    path = common.write(f"tabular-{common.slug(facts)}", {"machine": facts, "measurements": found})
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
