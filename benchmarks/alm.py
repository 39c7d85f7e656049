"""ALM's update at the paper's sizes: `python -m benchmarks.alm [--torch PYTHON] [--quick]`; one JSON file per machine.

One update of all networks (batch 512, observations 17, actions 6, K = 3) against the machine's matmul peak and, given
the interpreter of an environment with PyTorch, against the same update in PyTorch (`peers/alm_torch.py`), in turn; then
8 seeds in one program against one, in turn. Rows are drawn from a replay as the algorithm draws them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import jax
import jax.numpy as jnp

from benchmarks import common, workloads
from benchmarks.peers import compare
from benchmarks.training import ways
from mbrl_jax.agents.latent import learner as latent
from mbrl_jax.agents.latent.networks import Config
from mbrl_jax.data import replay
from mbrl_jax.runner import program, setup
from mbrl_jax.types import Key, Spec

SIZES = workloads.Sizes(obs_dim=17, action_dim=6, batch=512)
AGENT = Config()
QUICK = Config(latent_dim=4, hidden=(32, 32), model_hidden=(32, 32), classifier_hidden=(32, 32))
MANY = 8
UPDATES = 4  # per block of one seed, and of PyTorch's; 1 per seed where there are many


def products(config: Config, spec: Spec, batch: int) -> dict[str, dict[str, float]]:
    """Floating-point operations of the matrix products of one update by loss and network, counted by hand.

    Two per multiply-add. Per row: a pass forwards costs a network's weights; backwards the same for the inputs (where
    they need a gradient) and again for the weights (where they are trained). The classifier's loss sends half of the
    rows through the model.
    """
    z, a, k = config.latent_dim, spec.action_dim, config.horizon

    def weights(*widths):
        return sum(i * o for i, o in itertools.pairwise(widths))

    def trained(*widths):  # inputs need no gradient
        return 3 * weights(*widths) - widths[0] * widths[1]

    encoder = spec.obs_dim, *config.hidden, 2 * z
    model = weights(z + a, *config.model_hidden, 2 * z)
    actor, head = (z, *config.hidden, a), (z + a, *config.hidden, 1)
    classifier, n = (2 * z + a, *config.classifier_hidden, 2), config.critics
    rows = {
        "target encoder": {"encoder": (2 + k) * weights(*encoder)},
        "encoder and model": {
            "encoder": trained(*encoder),
            "model": 3 * k * model,
            "reward": 2 * k * weights(*head),
            "actor": weights(*actor),
            "critics": 2 * n * weights(*head),
        },
        "reward and classifier": {
            "model": 0.5 * model,
            "reward": trained(*head),
            "classifier": trained(*classifier),
        },
        "critics": {"actor": weights(*actor), "critics": n * (weights(*head) + trained(*head))},
        "actor": {
            "actor": k * trained(*actor) + weights(*actor),
            "model": 2 * k * model,
            "reward": 2 * k * weights(*head),
            "classifier": 2 * k * weights(*classifier),
            "critics": 2 * k * n * weights(*head),
        },
    }
    return {loss: {name: 2.0 * batch * each for name, each in by.items()} for loss, by in rows.items()}


def matmul_flops(config: Config, spec: Spec, batch: int) -> float:
    """Floating-point operations of all matrix products of one update, counted by hand."""
    return sum(sum(by.values()) for by in products(config, spec, batch).values())


def update(config: Config, spec: Spec, batch: int, updates: int) -> workloads.Workload:
    """`updates` updates of every network on sequences and transitions drawn from a replay without ends."""
    learner, memory = latent.make(config, spec), replay.make(spec, workloads.HELD)

    def init(key: Key) -> tuple[latent.State, replay.ReplayState]:
        k_agent, k_data = jax.random.split(key)
        return learner.init(k_agent), workloads.filled(k_data, spec)

    def step(key: Key, state: tuple[latent.State, replay.ReplayState]) -> Any:
        agent, stored = state
        k_sequences, k_batch, k_update = jax.random.split(key, 3)
        sequences = memory.sample_sequences(k_sequences, stored, updates * batch, config.horizon)
        data = latent.Data(
            jax.tree.map(lambda x: x.reshape(updates, batch, *x.shape[1:]), sequences),
            memory.sample(k_batch, stored, (updates, batch)),
            jnp.full((updates,), 0.5, jnp.float32),
        )
        agent, info = learner.update(k_update, agent, data)
        return (agent, stored), jax.tree.map(jnp.mean, info)

    algorithm = workloads.as_algorithm(init, step)
    return workloads.Workload(algorithm, "ALM update", updates, matmul_flops(config, spec, batch))


def example(config: Config, spec: Spec, batch: int) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """The learner's `update`, and the shapes of its arguments at the given sizes."""
    learner = latent.make(config, spec)

    def arguments(key: Key) -> tuple[Key, latent.State, latent.Data]:
        rows = workloads.transitions(key, spec, batch * config.horizon)
        sequences = jax.tree.map(lambda x: x.reshape(batch, config.horizon, *x.shape[1:]), rows)
        data = latent.Data(sequences, workloads.transitions(key, spec, batch), jnp.float32(0.5))
        return key, learner.init(key), jax.tree.map(lambda x: x[None], data)

    return learner.update, jax.eval_shape(arguments, jax.random.key(0))


class Timed(NamedTuple):
    """A compiled block: its seeds, the updates of each in it, an update's operations, and what `prepare` gives."""

    seeds: int
    units: int
    flops: float
    made: workloads.Timed


def prepare(config: Config, sizes: workloads.Sizes, seeds: int, updates: int) -> Timed:
    """The update of many seeds as the runner batches them here: over all devices, or all on one if there is one."""
    known = ways(seeds)
    way = next(known[name] for name in ("alone", "sharded", program.default_batching()) if name in known)
    work = update(config, sizes.spec, sizes.batch, updates)
    return Timed(seeds, work.units, work.flops or 0.0, workloads.prepare(work, seeds, *way))


def _beside_torch(one: Timed, torch: Path | None, rounds: int, side: int) -> dict[str, Any]:
    """One seed, PyTorch's update and the peak, in turn."""
    blocks: dict[str, common.Block] = {}
    worker = compare.start([str(torch.absolute()), "alm_torch.py"], compare.HERE) if torch else None
    peer: list[float] = []
    if worker is not None:
        blocks["torch"] = lambda: (time.sleep(compare.REST), peer.append(worker.ask("alm")))
    found, samples = _in_turn({"1 seed": one}, blocks, rounds, side)
    if worker is not None:
        cast(IO[str], worker.process.stdin).close()
        worker.process.wait()
        own = [s / one.units for s in samples["1 seed"]]
        ratio = common.spread([p / o for p, o in zip(peer[1:], own, strict=True)])  # the first call does not count
        found["torch"] = {"versions": worker.versions, "seconds": common.spread(peer[1:]), "ratio": ratio}
    return found


def _together(one: Timed, many: Timed, rounds: int, side: int) -> dict[str, Any]:
    """Many seeds in one program, one seed, and the peak, in turn."""
    name = f"{many.seeds} seeds"
    found, samples = _in_turn({"1 seed": one, name: many}, {}, rounds, side)
    own, all_of_them = ([s / (t.units * t.seeds) for s in samples[n]] for n, t in (("1 seed", one), (name, many)))
    found["one by one over together"] = common.spread([o / a for o, a in zip(own, all_of_them, strict=True)])
    return found


def _in_turn(
    timed: Mapping[str, Timed], others: Mapping[str, common.Block], rounds: int, side: int
) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """Seconds per update and seed, the share of the peak of the same rounds, and the seconds of compiling."""
    probes = common.matmul_probes(side)
    blocks = {name: one.made.block for name, one in timed.items()} | dict(others)
    blocks |= {f"peak {name}": probe for name, (probe, _) in probes.items()}
    samples = common.in_turn(blocks, rounds)
    peak = common.matmul_peak({name: samples[f"peak {name}"] for name in probes}, probes)
    rows = {}
    for name, one in timed.items():
        each = common.spread([s / (one.units * one.seeds) for s in samples[name]])
        of_peak = one.flops / each["median"] / (peak["peak"] * 1e9)
        rows[name] = {"seconds": each, "of_peak": of_peak, "compile_seconds": one.made.compile_seconds}
    return {"peak_gflops": peak, **rows}, samples


def main(arguments: Sequence[str] | None = None) -> Path | None:
    """Measures, prints and writes `benchmarks/results/alm-<machine>.json` (`--quick` alone writes nothing)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--torch", type=Path, help="the Python of an environment with PyTorch")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it runs")
    parser.add_argument("--rounds", type=int, default=9, help="of one seed; many seeds are measured half as often")
    parser.add_argument("--out", type=Path, help="folder for the JSON file")
    options = parser.parse_args(arguments)
    setup.configure()
    facts: dict[str, Any] = common.machine()
    config, side, many = (QUICK, 256, 2) if options.quick else (AGENT, common.PEAK_SIZE, MANY)
    fn, args = example(config, SIZES.spec, SIZES.batch)
    content = {"machine": facts, "quick": options.quick, "batch": SIZES.batch}
    compiled = jax.jit(fn).lower(*args).compile()
    content["mflop"] = {
        "by hand": matmul_flops(config, SIZES.spec, SIZES.batch) / 1e6,
        "products compiled": workloads.product_cost(compiled.as_text() or "") / 1e6,
        "everything compiled": (compiled.cost_analysis() or {}).get("flops", 0.0) / 1e6,
    }
    print(json.dumps(content["mflop"]), flush=True)
    one, together = prepare(config, SIZES, 1, UPDATES), prepare(config, SIZES, many, 1)
    content["one seed"] = _beside_torch(one, options.torch, options.rounds, side)
    print(json.dumps(content["one seed"], indent=1), flush=True)
    content["many seeds"] = _together(one, together, -(-options.rounds // 2), side)
    facts["load_after"] = os.getloadavg()[0]
    print(json.dumps(content["many seeds"], indent=1), flush=True)
    folder = options.out or (None if options.quick else common.FOLDER)
    return common.write(f"alm-{common.slug(facts)}", content, folder) if folder else None


if __name__ == "__main__":
    main()
