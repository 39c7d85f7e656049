"""What a stage of SLBO costs, by its parts: `python -m benchmarks.slbo [--quick]`.

Model updates, imagined steps and trust-region steps are timed apart, in turn with the machine's peak, at the released
code's sizes. What a seed of 200,000 real steps costs at that rate is a sum of these, not a run.
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
import jax.numpy as jnp

from benchmarks import common
from mbrl_jax import envs, rollouts
from mbrl_jax.agents import fragments, trpo
from mbrl_jax.algorithms import slbo
from mbrl_jax.models import multi_step
from mbrl_jax.runner import setup
from mbrl_jax.types import Env, Transition

ENV = "mbbl_pendulum"
PUBLISHED_HOURS = (2.4, 5.0)
"""Of the released TensorFlow code per seed of 200,000 steps, on 10 processors (Wang et al. 2019, Table 2)."""


class Part(NamedTuple):
    """One part of a stage.

    Attributes:
      run: does it once, to its end.
      compile_seconds: what compiling it took.
      units: how many updates or steps that is.
      per_stage: how many a stage has.
      flops: of the model's products, per unit; None where others prevail.
    """

    run: common.Block
    compile_seconds: float
    units: int
    per_stage: int
    flops: float | None


def _compiled(function: Callable[..., Any], *arguments: Any) -> tuple[common.Block, float]:
    began = time.perf_counter()
    ready = jax.jit(function).lower(*arguments).compile()
    return lambda: jax.block_until_ready(ready(*arguments)), time.perf_counter() - began


def _rows(env: Env, shape: tuple[int, ...]) -> Transition:
    """Transitions `[*shape, ...]` of normal numbers."""
    keys = jax.random.split(jax.random.key(0), 3)
    obs, action, change = (
        jax.random.normal(k, (*shape, n)) for k, n in zip(keys, (env.spec.obs_dim, env.spec.action_dim, 1), strict=True)
    )
    reward, going = jnp.zeros(shape), jnp.ones(shape)
    return Transition(obs, action, reward, going, obs + 0.1 * change, jnp.zeros(shape, bool))


def parts(config: slbo.Config) -> dict[str, Part]:
    """The parts of a stage on `ENV`."""
    env = rollouts.normalised(envs.make(ENV))
    assert env.reward is not None
    key = jax.random.key(0)
    learned = multi_step.make(config.model, env.spec, env.reward, env.terminal)
    agent = trpo.make(config.agent, env.spec)
    steps = _rows(env, (config.rollout_horizon, config.policy_batch // config.rollout_horizon))
    model = multi_step.renewed(learned.init(key), jax.tree.map(lambda x: x[:, 0], steps))
    state = fragments.renewed(agent.init(key), steps.obs[:, 0])
    weights = sum(leaf.size for leaf in jax.tree.leaves(model.params))
    windows = _rows(env, (config.model_updates, config.model.horizon, config.model_batch))

    def imagine(model: multi_step.State, state: trpo.State, starts: jax.Array) -> Transition:
        return rollouts.restarting(key, learned.dynamics(model), agent.act(state), starts, config.rollout_horizon)

    updates, imagined = config.iterations * config.model_updates, config.iterations * config.policy_updates
    rows = config.model.horizon * config.model_batch
    one = jax.tree.map(lambda x: x[None], steps)
    return {
        "model updates": Part(
            *_compiled(learned.update, key, model, windows), config.model_updates, updates, 6.0 * rows * weights
        ),
        "imagined steps": Part(
            *_compiled(imagine, model, state, steps.obs[0]),
            config.policy_batch,
            imagined * config.policy_batch,
            2.0 * weights,
        ),
        "trust-region steps": Part(*_compiled(agent.update, key, state, one), 1, imagined, None),
    }


def measure(config: slbo.Config, rounds: int, side: int) -> dict[str, Any]:
    """Seconds per unit of every part, its share of the peak, and the hours of a seed that they add up to."""
    made, probes = parts(config), common.matmul_probes(side)
    blocks = {name: part.run for name, part in made.items()} | {f"peak {n}": probe for n, (probe, _) in probes.items()}
    samples = common.in_turn(blocks, rounds)
    peak = common.matmul_peak({name: samples[f"peak {name}"] for name in probes}, probes)
    rows: dict[str, Any] = {}
    for name, part in made.items():
        per = common.spread([seconds / part.units for seconds in samples[name]])
        rows[name] = {
            "seconds_per_unit": per,
            "per_stage": part.per_stage,
            "of_peak": part.flops and part.flops / per["median"] / (peak["peak"] * 1e9),
            "compile_seconds": part.compile_seconds,
        }
    stage = sum(row["seconds_per_unit"]["median"] * row["per_stage"] for row in rows.values())
    hours = stage * (200_000 / config.stage_steps) / 3600
    return {"parts": rows, "peak_gflops": peak, "seconds_per_stage": stage, "hours_per_seed": hours}


def main(arguments: Sequence[str] | None = None) -> Path | None:
    """Measures, prints, and writes `benchmarks/results/slbo-<machine>.json` (`--quick` alone writes nothing)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it runs")
    parser.add_argument("--rounds", type=int, default=5, help="how often each block is measured")
    parser.add_argument("--out", type=Path, help="folder for the JSON file")
    options = parser.parse_args(arguments)
    setup.configure()
    facts, config = common.machine(), slbo.preset(ENV)
    if options.quick:
        small = replace(config.model, hidden=(16, 16))
        config = replace(config, model=small, model_updates=2, policy_batch=200, iterations=1, policy_updates=1)
    found = measure(config, options.rounds, 256 if options.quick else common.PEAK_SIZE)
    for name, row in found["parts"].items():
        per = row["seconds_per_unit"]["median"]
        share = "" if row["of_peak"] is None else f", {row['of_peak']:.2f} of the peak"
        cost = f"{1e3 * per:9.4f} ms each, {per * row['per_stage']:6.1f} s per stage"
        print(f"{name:18s} {cost}{share}, compiled in {row['compile_seconds']:.1f} s")
    middle = statistics.mean(PUBLISHED_HOURS)
    print(
        f"{found['hours_per_seed']:.2f} hours per seed of 200,000 steps on one device, by these; published "
        f"{PUBLISHED_HOURS[0]} to {PUBLISHED_HOURS[1]} on 10 processors: {middle / found['hours_per_seed']:.1f} times"
    )
    facts["load_after"] = os.getloadavg()[0]
    if options.quick and options.out is None:
        return None
    content = {"machine": facts, "config": vars(config) | {"model": vars(config.model), "agent": str(config.agent)}}
    content |= {"quick": options.quick, "published_hours": PUBLISHED_HOURS, "measured": found}
    return common.write(f"slbo-{common.slug(facts)}", content, options.out or common.FOLDER)


if __name__ == "__main__":
    main()
