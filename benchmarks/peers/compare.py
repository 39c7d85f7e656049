"""Peers beside ours, in turn, in one run: `python -m benchmarks.peers.compare [--mbrl-lib P] [--sbx P] [--brax P]`.

Each P is the interpreter of a virtual environment in which that peer is installed (docs/speed.md says how). Any
may be left out. Writes `benchmarks/results/<machine>.peers.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from benchmarks import common

HERE = Path(__file__).parent
SCRIPTS = {
    "mbrl_lib": "mbrl_lib.py",
    "sbx": "sbx_sac.py",
    "brax": "brax_sac.py",
    "sb3": "sb3_ppo.py",
    "brax_ppo": "brax_ppo.py",
}
CASES = ("sac", "ensemble", "rollout", "planner", "ppo")
REST = 0.3  # seconds between blocks, in which the threads of the last one go to sleep


class Worker(NamedTuple):
    """A process that runs named cases on request."""

    name: str
    versions: dict[str, str]
    cases: list[str]
    process: subprocess.Popen

    def ask(self, case: str) -> float:
        """Seconds per unit of one block of a case."""
        asked, answers = cast(IO[str], self.process.stdin), cast(IO[str], self.process.stdout)
        asked.write(f"{case}\n")
        asked.flush()
        line = answers.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended while it ran {case!r}")
        return json.loads(line)["seconds"]


def start(command: Sequence[str], cwd: Path) -> Worker:
    """Starts a worker and waits until it has compiled everything."""
    process = subprocess.Popen(command, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    lines = cast(IO[str], process.stdout)
    line = next((line for line in lines if line.startswith("{")), None)  # imports may print before it
    if line is None:
        raise RuntimeError(f"{' '.join(command)} ended before it was ready, with code {process.wait()}")
    return Worker(**json.loads(line), process=process)


def in_turn(workers: Sequence[Worker], rounds: int, cases: Sequence[str] = CASES) -> dict[str, dict[str, list[float]]]:
    """Seconds per unit, `[case][worker]`: for each case, all workers that have it, one after the other, `rounds` times.

    Cases of ours whose names begin alike ("sac, 4 seeds") are measured with the case they belong to.
    """
    samples: dict[str, dict[str, list[float]]] = {}
    for case in cases:
        able = [(w, name) for w in workers for name in (*w.cases, "matmul") if name.partition(",")[0] == case]
        probe = next((w for w in workers if "matmul" in w.cases), None)
        able += [(probe, "matmul")] if probe else []
        found: dict[str, list[float]] = {}
        for _ in range(rounds):
            for worker, name in able:
                time.sleep(REST)
                label = worker.name + name.removeprefix(case) if name != "matmul" else "matmul"
                found.setdefault(label, []).append(worker.ask(name))
        samples[case] = found
        medians = {name: 1e3 * statistics.median(values) for name, values in found.items()}
        print(case, {name: f"{value:.4g} ms" for name, value in medians.items()}, flush=True)
    return samples


def ratios(found: Mapping[str, list[float]]) -> dict[str, dict[str, float | int]]:
    """Of each peer: its time over ours, round by round, with the spread; above 1 means ours is faster."""
    pairs = [n for n in found if not n.startswith("mbrl_jax") and n != "matmul"]
    own = [n for n in found if n.startswith("mbrl_jax")]
    return {
        f"{peer} / {ours}": common.spread([p / o for p, o in zip(found[peer], found[ours], strict=True)])
        for peer in pairs
        for ours in own
    }


def main(arguments: Sequence[str] | None = None) -> Path:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in SCRIPTS:
        parser.add_argument(f"--{name.replace('_', '-')}", type=Path, help="that environment's Python")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument(
        "--cases", nargs="+", choices=CASES, default=CASES, help="what is measured; all of them if left out"
    )
    parser.add_argument("--name", default="peers", help="second part of the file's name")
    parser.add_argument("--out", type=Path, default=common.FOLDER)
    options = parser.parse_args(arguments)
    facts: dict[str, Any] = common.machine()
    root = HERE.parents[1]
    workers = [start([sys.executable, "-m", "benchmarks.peers.ours"], root)]
    for name, script in SCRIPTS.items():
        if (python := getattr(options, name)) is not None:
            workers.append(start([str(python.absolute()), script], HERE))
    facts["load_before"] = os.getloadavg()[0]
    samples = in_turn(workers, options.rounds, options.cases)
    for worker in workers:
        cast(IO[str], worker.process.stdin).close()
        worker.process.wait()
    facts["load_after"] = os.getloadavg()[0]
    content = {
        "machine": facts,
        "versions": {w.name: w.versions for w in workers},
        "seconds_per_unit": {c: {n: common.spread(v) for n, v in found.items()} for c, found in samples.items()},
        "ratios": {c: ratios(found) for c, found in samples.items()},
    }
    path = common.write(f"{common.slug(facts)}.{options.name}", content, options.out)
    print(json.dumps(content["ratios"], indent=1))
    return path


if __name__ == "__main__":
    main()
