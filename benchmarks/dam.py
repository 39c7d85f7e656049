"""DAM: rounds and planner evaluations per second, their share of the machine's peak, 1 against 20 seeds.

    python -m benchmarks.dam [--rounds 5] [--quick]

A planner evaluation is one particle of one sequence moved by one step: a row of the model and one of the
discriminator. Everything goes through the runner's own program, at the laptop profile's sizes; the peak is that of
`benchmarks.common`, measured in turn with the rest. One JSON file per machine.
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import common, workloads
from benchmarks.training import measure
from benchmarks.workloads import Workload
from experiments.dam import common as sizes
from mbrl_jax import envs, rollouts
from mbrl_jax.algorithms import dam
from mbrl_jax.models import discriminator, mixture
from mbrl_jax.models import fitting as fits
from mbrl_jax.types import Algorithm, Key, Learner, Spec

DECISIONS = 8  # observations planned for side by side, as the episodes of a round are
SEEDS = (1, 20)


def row_flops(config: dam.Config, obs_dim: int, action_dim: int) -> dict[str, float]:
    """Operations of the matrix products of one row: of the model, and of the discriminator."""

    def dense(widths: list[int]) -> float:
        return 2.0 * sum(a * b for a, b in itertools.pairwise(widths))

    out = config.model.components * (1 + 2 * obs_dim)
    return {
        "model": dense([obs_dim + action_dim, *config.model.hidden, out]),
        "discriminator": dense([2 * obs_dim + action_dim, *config.discriminator.hidden, 1]),
    }


def planning(config: dam.Config, env: str) -> Workload:
    """Decisions of the planner with fresh networks; one unit is a planner evaluation."""
    world = rollouts.normalised(envs.make(env))
    spec, plan = world.spec, config.planning
    model, judge = mixture.make(config.model, spec), discriminator.make(config.discriminator, spec)

    def init(key: Key) -> Any:
        k_model, k_judge, k_obs = jax.random.split(key, 3)
        starts = jax.vmap(world.reset)(jax.random.split(k_obs, DECISIONS)).obs
        return model.init(k_model), judge.init(k_judge), starts

    def step(key: Key, state: Any) -> Any:
        planner = dam.planner(config, world, state[0], state[1])
        plans = jax.vmap(planner)(jax.random.split(key, DECISIONS), state[2])
        return state, {"value": plans.value.mean(), "action": plans.action.sum()}

    flops = row_flops(config, spec.obs_dim, spec.action_dim)
    units = DECISIONS * evaluations(plan, spec.action_dim)
    return Workload(Algorithm(init, step, _idle, 1), "planner evaluation", units, sum(flops.values()))


def evaluations(plan: dam.Planning, choices: int) -> int:
    """Model steps of one decision; there is none behind the last action, and sequences may share their beginnings."""
    if plan.search == "exhaustive":
        return plan.particles * sum(choices**t for t in range(1, plan.horizon))
    return plan.particles * plan.sequences * (plan.horizon - 1)


def fitting_model(config: dam.Config, env: str) -> Workload:
    """Gradient steps of the model on random transitions, without early stopping."""
    spec = envs.make(env).spec
    learner = mixture.make(replace(config.model, fit=_untiring(config.model.fit)), spec)
    # Forward and backward are three times the forward products.
    flops = config.model.fit.batch * 3 * row_flops(config, spec.obs_dim, spec.action_dim)["model"]
    return _fitting(learner, config.model.fit, _transitions(spec), flops)


def fitting_discriminator(config: dam.Config, env: str) -> Workload:
    """Gradient steps of the discriminator against an untrained model, whose samples cost the same."""
    spec = envs.make(env).spec
    fit, model = config.discriminator.fit, mixture.make(config.model, spec).init(jax.random.key(1))
    judge = replace(config.discriminator, fit=_untiring(fit))
    learner = discriminator.make(judge, spec, lambda k, o, a: mixture.sample(config.model, spec, model, k, o, a))
    row = row_flops(config, spec.obs_dim, spec.action_dim)
    # It sees real rows and samples.
    flops = fit.batch * (row["model"] + 2 * 3 * row["discriminator"])
    return _fitting(learner, fit, discriminator.Data(_transitions(spec), jnp.asarray(True)), flops)


def _untiring(fit: fits.Config) -> fits.Config:
    return replace(fit, patience=fit.max_steps)


def _transitions(spec: Spec) -> mixture.Data:
    return mixture.Data(workloads.transitions(jax.random.key(0), spec, 500), jnp.ones(500), jnp.ones(500) > 0)


def _fitting(learner: Learner[Any, Any], fit: fits.Config, data: Any, flops: float) -> Workload:
    """Whole fits to the data; one unit is a gradient step."""

    def step(key: Key, state: Any) -> Any:
        return learner.fit(key, state, data)

    steps = -(-fit.max_steps // fit.interval) * fit.interval
    return Workload(Algorithm(learner.init, step, _idle, 1), "gradient step", steps, flops)


def whole_round(config: dam.Config, env: str) -> Workload:
    """A round of DAM: both fits, with early stopping, and the planned episodes."""
    return Workload(dam.make(config, envs.make(env)), "round", 1, None)


def _idle(state: Any) -> Any:
    del state
    return lambda key, obs: obs


MAKERS = {
    "planning": planning,
    "fitting the model": fitting_model,
    "fitting the discriminator": fitting_discriminator,
    "round": whole_round,
}


def main() -> None:
    """Measures every workload on both environments and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="smallest sizes, one round, nothing written")
    given = parser.parse_args()
    facts = common.machine()
    profile, rounds, side = ("smoke", 1, 256) if given.quick else ("laptop", given.rounds, common.PEAK_SIZE)
    found = []
    for env, size in sizes.scale(profile).items():
        config = sizes.config(size, env, "multimodal")
        for name in MAKERS:
            for seeds in SEEDS:
                print(f"{env}, {name}", flush=True)
                one = measure(name, seeds, lambda _, n=name, e=env, c=config: MAKERS[n](c, e), rounds, side)
                found.append({"env": env, **one})
                if not given.quick:  # what has been measured stays, whatever happens to the next
                    path = common.write(f"dam-{common.slug(facts)}", {"machine": facts, "measurements": found})
                    print(f"wrote {path}", flush=True)


if __name__ == "__main__":
    main()
