"""ALM's update at the paper's sizes: `python -m benchmarks.alm [--torch PYTHON] [--quick]`; one JSON file per machine.

One update of all networks (batch 512, observations 17, actions 6, K = 3) against the machine's matmul peak and, given
the interpreter of an environment with PyTorch, against the same update in PyTorch (`peers/alm_torch.py`), in turn; and
8 seeds in one program against one. Rows are drawn from a replay as the algorithm draws them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, cast

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks import common, workloads
from benchmarks.peers import compare
from benchmarks.training import ways
from mbrl_jax import replay
from mbrl_jax.learners import latent
from mbrl_jax.learners.latent_networks import Config
from mbrl_jax.runner import setup
from mbrl_jax.types import Key, Spec

SIZES = workloads.Sizes(obs_dim=17, action_dim=6, batch=512)
AGENT = Config()
QUICK = Config(latent_dim=4, hidden=(32, 32), model_hidden=(32, 32), classifier_hidden=(32, 32))
MANY = 8
UPDATES = 4  # per block and seed


def matmul_flops(config: Config, spec: Spec, batch: int) -> float:
    """Floating-point operations of the matrix products of one update, counted by hand, two per multiply-add.

    Per row: a pass forwards costs a network's weights; backwards the same for the inputs (where they need a gradient)
    and again for the weights (where they are trained). Only half of the rows go through the model for the classifier.
    """
    z, a, k = config.latent_dim, spec.action_dim, config.horizon
    weights = lambda *widths: sum(i * o for i, o in itertools.pairwise(widths))  # noqa: E731
    encoder = weights(spec.obs_dim, *config.hidden, 2 * z)
    encoder_input = spec.obs_dim * config.hidden[0]
    model = weights(z + a, *config.model_hidden, 2 * z)
    actor, actor_input = weights(z, *config.hidden, a), z * config.hidden[0]
    head, head_input = weights(z + a, *config.hidden, 1), (z + a) * config.hidden[0]
    classifier = weights(2 * z + a, *config.classifier_hidden, 2)
    classifier_input = (2 * z + a) * config.classifier_hidden[0]
    critics, critics_input = config.critics * head, config.critics * head_input
    world = 3 * encoder - encoder_input + k * encoder + 3 * k * model + 2 * k * head + actor + 2 * critics
    heads = 2 * encoder + 0.5 * model + 3 * head - head_input + 3 * classifier - classifier_input
    critic = actor + critics + 3 * critics - critics_input
    policy = k * (3 * actor - actor_input) + actor + 2 * k * (model + head + classifier + critics)
    return 2.0 * batch * (world + heads + critic + policy)


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
        xs = jax.random.split(k_update, updates), data
        agent, info = lax.scan(lambda s, kd: learner.update(kd[0], s, kd[1]), agent, xs)
        return (agent, stored), jax.tree.map(jnp.mean, info)

    algorithm = workloads.as_algorithm(init, step)
    return workloads.Workload(algorithm, "ALM update", updates, matmul_flops(config, spec, batch))


def xla_flops(config: Config, spec: Spec, batch: int) -> float | None:
    """Operations of one update by XLA's cost analysis, everything elementwise included."""
    learner, key = latent.make(config, spec), jax.random.key(0)
    rows = workloads.transitions(key, spec, batch * config.horizon)
    sequences = jax.tree.map(lambda x: x.reshape(batch, config.horizon, *x.shape[1:]), rows)
    data = latent.Data(sequences, workloads.transitions(key, spec, batch), jnp.float32(0.5))
    return workloads.cost(learner.update, key, learner.init(key), data)


def measure(
    config: Config, sizes: workloads.Sizes, torch: Path | None, rounds: int, side: int, many: int
) -> dict[str, Any]:
    """Seconds per update and seed: ours with one seed and with `many`, the peer's, and the peak, in turn."""
    spec, seeds = sizes.spec, (1, many)
    work = {n: update(config, spec, sizes.batch, UPDATES) for n in seeds}
    chosen = {f"{n} seeds {way}": (n, how) for n in seeds for way, how in ways(n).items()}
    timed = {name: (n, workloads.prepare(work[n], n, *how)) for name, (n, how) in chosen.items()}
    probes = common.matmul_probes(side)
    blocks: dict[str, Callable[[], Any]] = {name: t.block for name, (_, t) in timed.items()}
    blocks |= {f"peak {name}": probe for name, (probe, _) in probes.items()}
    worker = compare.start([str(torch.absolute()), "alm_torch.py"], compare.HERE) if torch else None
    peer: list[float] = []
    if worker is not None:
        blocks["torch"] = lambda: (time.sleep(compare.REST), peer.append(worker.ask("alm")))
    samples = common.in_turn(blocks, rounds)
    if worker is not None:
        cast(IO[str], worker.process.stdin).close()
        worker.process.wait()
    peak = common.matmul_peak({name: samples[f"peak {name}"] for name in probes}, probes)
    flops = work[1].flops or 0.0
    found: dict[str, Any] = {"mflop_matmul": flops / 1e6, "peak_gflops": peak, "seeds": {}}
    for name, (n, t) in timed.items():
        per_unit = common.spread([s / (UPDATES * n) for s in samples[name]])
        of_peak = flops / per_unit["median"] / (peak["peak"] * 1e9)
        found["seeds"][name] = {"seconds": per_unit, "of_peak": of_peak, "compile_seconds": t.compile_seconds}
    if worker is not None:
        ours = [s / UPDATES for s in samples["1 seeds alone"]]
        ratios = [p / o for p, o in zip(peer[1:], ours, strict=True)]  # the first call of each block does not count
        found["torch"] = {"versions": worker.versions, "seconds": common.spread(peer[1:])}
        found["torch"]["ratio"] = common.spread(ratios)
    return found


def main(arguments: Sequence[str] | None = None) -> Path | None:
    """Measures, prints and writes `benchmarks/results/<machine>.alm.json` (`--quick` alone writes nothing)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--torch", type=Path, help="the Python of an environment with PyTorch")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it runs")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, help="folder for the JSON file")
    options = parser.parse_args(arguments)
    setup.configure()
    facts: dict[str, Any] = common.machine()
    config, side, many = (QUICK, 256, 2) if options.quick else (AGENT, common.PEAK_SIZE, MANY)
    flops = xla_flops(config, SIZES.spec, SIZES.batch)
    found = measure(config, SIZES, options.torch, options.rounds, side, many)
    facts["load_after"] = os.getloadavg()[0]
    content = {"machine": facts, "quick": options.quick, "batch": SIZES.batch, **found}
    content["mflop_xla"] = flops and flops / 1e6
    print(json.dumps(content, indent=1))
    folder = options.out or (None if options.quick else common.FOLDER)
    return common.write(f"{common.slug(facts)}.alm", content, folder) if folder else None


if __name__ == "__main__":
    main()
