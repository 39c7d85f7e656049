"""How fast this machine trains: `python -m benchmarks.training [--quick]`; one JSON file per machine.

Compiling and running are timed apart. All ways of batching seeds, and the machine's peak, are measured in turn in one
process, because only ratios within one run mean anything (a core's clock drifts). Nothing here is a test.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax

from benchmarks import common, workloads
from benchmarks.workloads import Sizes, Workload
from mbrl_jax.algorithms import mnm, preset
from mbrl_jax.runner import loop, program, setup
from mbrl_jax.runner.run import Run

Make = Callable[[int], Workload]
COMPILED = (("hopper-v4", "mujoco"), ("hopper-v4", "mjx"), ("pendulum-v1", "jax"))
QUICK = Sizes(hidden=(32, 32), model_hidden=(24, 24, 24, 24), members=3, batch=32, rollout_batch=1000, interval=5)


def ways(seeds: int) -> dict[str, tuple[str, list[jax.Device]]]:
    """Ways to run that many seeds: name -> (batching on a device, devices)."""
    devices = jax.local_devices()
    if seeds == 1:
        return {"alone": (program.default_batching(), devices[:1])}
    found = {name: (name, devices[:1]) for name in program.BATCHINGS}
    if len(devices) > 1:
        found["sharded"] = (program.default_batching(), devices)
    return found


def measure(name: str, seeds: int, make: Make, rounds: int, side: int) -> dict[str, Any]:
    """One workload at one number of seeds: every way of batching and the peak, in turn."""
    began = time.perf_counter()
    work = make(seeds)
    timed = {way: workloads.prepare(work, seeds, *chosen) for way, chosen in ways(seeds).items()}
    probes = common.matmul_probes(side)
    blocks = {way: t.block for way, t in timed.items()} | {f"peak {name}": probe for name, (probe, _) in probes.items()}
    samples = common.in_turn(blocks, rounds)
    peak = common.matmul_peak({name: samples[f"peak {name}"] for name in probes}, probes)
    total = work.units * seeds
    found = {
        "workload": name,
        "unit": work.unit,
        "seeds": seeds,
        "units_per_seed": work.units,
        "mflop_per_unit": work.flops and work.flops / 1e6,
        "peak_gflops": peak,
        "load": os.getloadavg()[0],
        "ways": {way: _row(samples[way], total, work.flops, peak["peak"], t) for way, t in timed.items()},
    }
    for way, row in found["ways"].items():
        share = "" if row["of_peak"] is None else f", {row['of_peak']:.2f} of the peak"
        rate = f"{1e3 * row['seconds_per_unit']['median']:9.4f} ms per {work.unit} and seed"
        print(f"{seeds:3d} seeds {way:8s} {rate}{share}, compiled in {row['compile_seconds']:.1f} s", flush=True)
    print(f"    ({time.perf_counter() - began:.0f} s, peak {peak['peak']:.0f} GFLOP/s)", flush=True)
    return found


def _row(samples: Sequence[float], total: int, flops: float | None, peak: float, timed: workloads.Timed) -> dict:
    """Numbers of one way of batching: seconds per unit and seed, units per second in all, share of the peak."""
    per_unit = common.spread([s / total for s in samples])
    rate = 1.0 / per_unit["median"]
    return {
        "seconds_per_unit": per_unit,
        "units_per_second": rate,
        "of_peak": flops and flops * rate / (peak * 1e9),
        "compile_seconds": timed.compile_seconds,
    }


def plan(sizes: Sizes, quick: bool, only: Sequence[str]) -> list[tuple[str, int, Make, int]]:
    """(name, seeds, workload, rounds) of everything to measure; work per block shrinks as seeds grow."""
    on_cpu = jax.default_backend() == "cpu"
    few = (1,) if quick else (1, 4) if on_cpu else (1, 4, 16, 32)
    many = (1, 2) if quick else (1, 4, 16, 32)
    rounds = 3 if quick else 5
    updates = 4 if quick else 20 if on_cpu else 1000
    updated = mnm.small("hopper") if quick else mnm.preset("hopper")
    everything: list[tuple[str, tuple[int, ...], Make, int]] = [
        ("sac", many, lambda n: workloads.sac_update(sizes, max(updates, 10 * updates // n)), rounds),
        ("ensemble", few if quick else many, lambda n: workloads.ensemble_step(sizes, max(8, 64 // n)), rounds),
        ("rollout", few, lambda _: workloads.model_rollout(sizes), rounds),
        ("mbpo", few, lambda _: workloads.whole_mbpo(sizes), min(rounds, 3)),
        ("mnm", (1, 2) if quick else (1, 8), lambda _: workloads.mnm_update(updated, 2 if quick else 10), rounds),
    ]
    return [(name, n, make, r) for name, seeds, make, r in everything for n in seeds if not only or name in only]


def compile_paper(env: str, engine: str) -> dict[str, Any]:
    """Seconds and number of compilations of everything a run of MBPO at the paper's sizes needs, in this process."""
    counted = common.Compilations()
    run = Run(
        experiment="benchmark",
        algorithm="mbpo",
        method="mbpo",
        config=preset("mbpo", env),
        env=env,
        engine=engine,
        seeds=(0,),
    )
    began = time.perf_counter()
    planned = loop.plan_run(run, run.environment(), loop.MAX_CHUNK, loop.Options(quiet=True))
    traced = time.perf_counter() - began
    loop.compile_run(planned)
    return {
        "seconds": time.perf_counter() - began,
        "planning_seconds": traced,
        "backend_seconds": sum(counted.durations),
        "programs": sum(d > 0.1 for d in counted.durations),
        "small_programs": sum(d <= 0.1 for d in counted.durations),
    }


def compile_cold_and_warm(env: str, engine: str) -> dict[str, Any]:
    """`compile_paper` in a fresh process with an empty compilation cache, then again with the filled one."""
    found: dict[str, Any] = {"env": env, "engine": engine, "load": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": folder}
        for state in ("cold", "warm"):
            command = [sys.executable, "-m", "benchmarks.training", "--compile-only", env, engine]
            out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
            found[state] = json.loads(out.splitlines()[-1])
            print(f"compiling MBPO for {env} on {engine}, {state}: {found[state]['seconds']:.1f} s", flush=True)
    return found


def main(arguments: Sequence[str] | None = None) -> Path | None:
    """Measures, prints, and writes `benchmarks/results/<machine>.json` (or `--out`; `--quick` alone writes nothing)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, seconds in all: shows that it runs")
    parser.add_argument(
        "--only", nargs="*", default=[], help="sac, ensemble, rollout, mbpo, mnm, compile: into a file of their own"
    )
    parser.add_argument("--out", type=Path, help="folder for the JSON file")
    parser.add_argument("--compile-only", nargs=2, metavar=("ENV", "ENGINE"), help="compile MBPO's preset, print JSON")
    options = parser.parse_args(arguments)
    setup.configure()
    if options.compile_only:
        print(json.dumps(compile_paper(*options.compile_only)))
        return None
    facts = common.machine()
    print(json.dumps(facts))
    sizes, side = (QUICK, 256) if options.quick else (Sizes(), common.PEAK_SIZE)
    content: dict[str, Any] = {"machine": facts, "sizes": vars(sizes), "quick": options.quick}
    content |= {"measured": [], "compile": []}
    folder = None if options.quick and options.out is None else options.out or common.FOLDER
    cases: list[tuple[str, Callable[[], dict]]] = [
        ("measured", partial(measure, *case, side)) for case in plan(sizes, options.quick, options.only)
    ]
    if not options.quick and (not options.only or "compile" in options.only):
        cases += [("compile", partial(compile_cold_and_warm, *case)) for case in COMPILED]
    path = None
    for kind, case in cases:  # written after each, so that an interruption loses one only
        content[kind].append(case())
        content["machine"]["load_after"] = os.getloadavg()[0]
        rates = [m["peak_gflops"]["peak"] for m in content["measured"]]
        content["peak_gflops"] = statistics.median(rates) if rates else None
        path = common.write(".".join([common.slug(facts), *options.only]), content, folder) if folder else None
    print(f"written: {path}")
    return path


if __name__ == "__main__":
    main()
