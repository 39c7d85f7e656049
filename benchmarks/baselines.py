"""What an update of each model-free learner costs beside SAC's: `python -m benchmarks.baselines [--quick]`.

One learner after the other in one process, because only ratios within one run mean anything. Sizes are the papers': for
all but SAC-SVG those of `workloads.Sizes`; SAC-SVG has networks and batches of its own.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax

from benchmarks import common, workloads
from benchmarks.workloads import Sizes
from mbrl_jax.agents import critics, redq, sac, sac_svg, td3
from mbrl_jax.data import replay
from mbrl_jax.models import recurrent
from mbrl_jax.runner import setup
from mbrl_jax.types import Agent, Key, Transition

QUICK = Sizes(hidden=(32, 32), batch=32)


class Case(NamedTuple):
    """A learner to time.

    Attributes:
      learner: what is updated.
      batches: `batches(key, memory, stored) -> data` of one call of its `update`.
      updates: updates of the critics in one call.
      calls: calls in one timed block.
    """

    learner: Agent[Any]
    batches: Callable[[Key, replay.Replay, replay.ReplayState], Any]
    updates: int
    calls: int


def _drawn(*shape: int) -> Callable[[Key, replay.Replay, replay.ReplayState], Transition]:
    return lambda key, memory, stored: memory.sample(key, stored, shape)


def _svg(sizes: Sizes, quick: bool) -> Case:
    config, rows, windows = sac_svg.Config(), 1024, 512
    if quick:
        rows, windows = sizes.batch, sizes.batch
        model = recurrent.Config(encoder=sizes.hidden, width=32)
        agent = replace(config.agent, hidden=sizes.hidden)
        config = replace(config, head_hidden=sizes.hidden, model=model, agent=agent)

    def batches(key: Key, memory: replay.Replay, stored: replay.ReplayState) -> sac_svg.Batch:
        k_real, k_windows = jax.random.split(key)
        found = memory.sample_sequences(k_windows, stored, 4 * windows, config.horizon - 1)
        found = jax.tree.map(lambda x: x.reshape(4, windows, *x.shape[1:]), found)
        return sac_svg.Batch(memory.sample(k_real, stored, (1, rows)), jax.tree.map(lambda x: x[None], found))

    return Case(sac_svg.make(config, sizes.spec, updates=1_000_000), batches, 1, 1)


def cases(sizes: Sizes, quick: bool) -> dict[str, Case]:
    """Everything that is timed, by name; blocks of about equal length."""
    ten = replace(sizes.agent, critics=10)
    twins = td3.Config(hidden=sizes.hidden)
    found = {
        "sac": Case(sac.make(sizes.agent, sizes.spec), _drawn(1, sizes.batch), 1, 40),
        "td3": Case(td3.make(twins, sizes.spec), _drawn(2, sizes.batch), 2, 20),
        "redq": Case(redq.make(ten, sizes.spec), _drawn(20, sizes.batch), 20, 1),
        "sac, 10 critics": Case(sac.make(ten, sizes.spec), _drawn(1, sizes.batch), 1, 20),
        "sac_svg": _svg(sizes, quick),
    }
    return {name: case._replace(calls=1) for name, case in found.items()} if quick else found


def calls(case: Case, sizes: Sizes) -> Callable[[Key, Any, replay.ReplayState], Any]:
    """All calls of one block as a function of key, learner's state and replay, which is to be compiled."""
    memory = replay.make(sizes.spec, workloads.HELD)

    def run(key: Key, state: Any, stored: replay.ReplayState) -> Any:
        k_data, k_update = jax.random.split(key)
        data = jax.vmap(lambda k: case.batches(k, memory, stored))(jax.random.split(k_data, case.calls))
        return critics.in_turn(case.learner.update, k_update, state, data)

    return run


def block(case: Case, sizes: Sizes) -> tuple[common.Block, float]:
    """A block that runs a case's calls to their end, and the seconds its compilation took."""
    key = jax.random.key(0)
    stored = workloads.filled(key, sizes.spec)
    held = [jax.jit(case.learner.init)(key)]
    began = time.perf_counter()
    compiled = jax.jit(calls(case, sizes), donate_argnums=1).lower(key, held[0], stored).compile()
    seconds = time.perf_counter() - began

    def once() -> None:
        held[0], _ = jax.block_until_ready(compiled(key, held[0], stored))

    return once, seconds


def measure(sizes: Sizes, quick: bool, rounds: int) -> dict[str, dict[str, Any]]:
    """Seconds per update of the critics, with their spread, and the ratio to SAC's of the same rounds."""
    chosen = cases(sizes, quick)
    made = {name: block(case, sizes) for name, case in chosen.items()}
    samples = common.in_turn({name: once for name, (once, _) in made.items()}, rounds)
    each = {name: [s / (chosen[name].updates * chosen[name].calls) for s in samples[name]] for name in chosen}
    return {
        name: {
            "seconds_per_update": common.spread(each[name]),
            "of_sac": statistics.median(own / other for own, other in zip(each[name], each["sac"], strict=True)),
            "compile_seconds": made[name][1],
        }
        for name in chosen
    }


def main(arguments: Sequence[str] | None = None) -> Path | None:
    """Measures, prints, and writes `benchmarks/results/baselines-<machine>.json` (`--quick` alone writes nothing)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it runs")
    parser.add_argument("--rounds", type=int, default=7, help="how often each block is measured")
    parser.add_argument("--out", type=Path, help="folder for the JSON file")
    options = parser.parse_args(arguments)
    setup.configure()
    facts, sizes = common.machine(), QUICK if options.quick else Sizes()
    found = measure(sizes, options.quick, options.rounds)
    for name, row in found.items():
        per = row["seconds_per_update"]
        quartiles = f"{1e3 * per['low']:.2f} to {1e3 * per['high']:.2f}"
        print(
            f"{name:16s} {1e3 * per['median']:8.2f} ms per update ({quartiles}), {row['of_sac']:6.2f} x SAC, "
            f"compiled in {row['compile_seconds']:.1f} s"
        )
    facts["load_after"] = os.getloadavg()[0]
    if options.quick and options.out is None:
        return None
    content = {"machine": facts, "sizes": vars(sizes), "quick": options.quick, "measured": found}
    return common.write(f"baselines-{common.slug(facts)}", content, options.out or common.FOLDER)


if __name__ == "__main__":
    main()
