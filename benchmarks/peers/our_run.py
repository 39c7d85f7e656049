"""The run of `mbrl_lib_run.py` with ours: `python -m benchmarks.peers.our_run STEPS UPDATES SEEDS`.

The same environment, sizes and counts: 5,000 random steps, a fit and a roll-out of 400 states per step every 250
steps, `UPDATES` updates per step, an evaluation of one episode every 250 steps. Prints one line of JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import replace

from mbrl_jax import results
from mbrl_jax.algorithms import preset
from mbrl_jax.runner import loop, setup
from mbrl_jax.runner.run import Run


def main() -> None:
    """Trains and times; compiling is reported apart, not left out of `seconds`."""
    steps, updates, seeds = map(int, sys.argv[1:])
    setup.configure()
    config = replace(preset("mbpo", "inverted_pendulum"), steps=steps, warmup_steps=5000, updates_per_step=updates)
    run = Run(
        experiment="benchmark",
        algorithm="mbpo",
        method="mbpo",
        config=config,
        env="inverted_pendulum-v4",
        seeds=tuple(range(seeds)),
        eval_every=250,
        eval_episodes=1,
    )
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        identity = loop.train(run, folder, loop.Options(quiet=True))
        seconds = time.perf_counter() - began
        facts = results.manifest(folder, identity)
        table = results.load_run(folder, identity)
    names = ("compile_seconds", "train_seconds", "evaluate_seconds")
    best = max(v for m, v in zip(table["metric"], table["value"], strict=True) if m == "eval/return_mean")
    counts = {"seconds": seconds, "steps": steps, "updates": updates, "seeds": seeds, "best": best}
    print(json.dumps({**counts, **{name: facts.get(name) for name in names}}))


if __name__ == "__main__":
    main()
