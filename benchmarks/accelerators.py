"""What our programs would launch on accelerators that are not here, and the memory that they would take.

    python -m benchmarks.accelerators --target h200                   # everything: about an hour on 2 cores
    python -m benchmarks.accelerators --target h200 --only mbpo alm   # rows whose names begin so; the others are kept

Needs the target's compiler (`mbrl plan` says how to install it). Writes `benchmarks/results/accelerators-TARGET.json`.
The numbers are the compiler's and the same at every run; nothing is timed but compiling.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

from mbrl_jax.runner import targets

__all__ = ["BODIES", "BUDGETS", "PROGRAMS", "SHOWN", "Budget", "body", "broken", "file", "main", "program", "shown"]

RESULTS = Path(__file__).parent / "results"
LANES = 20
PROGRAMS = {
    "mbpo hopper-v4": 20,
    "alm half_cheetah-v4": 8,
    "sac hopper-v4": 20,
    "td3 hopper-v4": 20,
    "redq hopper-v4": 20,
    "sac pendulum-v1": 8,
    "vagram hopper-v4": 8,
    "steve pendulum-v1": 8,
    "sac_svg pendulum-v1": 8,
    "mnm pendulum-v1": 8,
    "pets pendulum-v1": 8,
    "slbo pendulum-v1": 8,
    "mao pendulum-v1": 8,
    "dam icy_road-v0": 8,
    "ppo half_cheetah-v4": 20,
    "a2c half_cheetah-v4": 20,
    "trpo half_cheetah-v4": 20,
}
"""Training programs, algorithm and environment with its preset, and their seeds."""
BODIES = (
    "hopper-v4",
    "half_cheetah-v4",
    "walker2d-v4",
    "ant-v4",
    "humanoid-v4",
    "swimmer-v4",
    "reacher-v4",
    "pusher-v5",
    "inverted_pendulum-v4",
    "inverted_double_pendulum-v4",
)
"""Environments whose step on MJX is compiled alone."""
SHOWN = ("h200", "v5e")
"""Targets whose tables are stored."""
GIB = 2**30


class Budget(NamedTuple):
    """A number of a table's row that must not grow.

    Attributes:
      row: the row's name.
      what: the number's name in it, see `program` and `body`.
      bound: the most that it may be.
    """

    row: str
    what: str
    bound: float


BUDGETS = {
    "h200": (
        Budget("step of half_cheetah-v4", "kernels", 1000),
        Budget("step of hopper-v4", "kernels", 2900),
        Budget("mbpo hopper-v4", "update", 57),
        Budget("mbpo hopper-v4", "fit", 38),
        Budget("mbpo hopper-v4", "peak_gib", 12),
    ),
    "v5e": (Budget("mbpo hopper-v4", "peak_gib", 15),),
}
"""Kernels and memory, as far as they have been brought down; what is aimed at is in docs/accelerators.md."""


def file(target: str) -> Path:
    """Where a target's table is stored."""
    return RESULTS / f"accelerators-{target}.json"


def broken(target: str, rows: dict[str, dict[str, Any]]) -> list[str]:
    """The budgets of a target that its rows exceed; rows that are not there exceed nothing."""
    found = [(each, rows[each.row].get(each.what)) for each in BUDGETS.get(target, ()) if each.row in rows]
    return [f"{each.row}: {each.what} {value}" for each, value in found if value is None or value > each.bound]


def program(target: str, name: str) -> dict[str, Any]:
    """The row of a training program.

    `kernels` are those of an environment step by part, of all lanes together; `open` those of a pass of each loop whose
    length numbers decide; `update` those of one update, where there are several in a row; `fit` those of one gradient
    step of a model, the innermost loop of what is done before an iteration.
    """
    from mbrl_jax import envs
    from mbrl_jax.algorithms import find, preset
    from mbrl_jax.runner import kernels, offline, record
    from mbrl_jax.runner.run import Run

    algorithm, env = name.split()
    config, entry = preset(algorithm, envs.resolve(env)), find(algorithm)
    made = envs.make(env)
    engine = "mjx" if made.spec.engine == "mujoco" else None
    run = Run(
        experiment="accelerators",
        algorithm=entry.name,
        method=algorithm,
        config=config,
        env=envs.resolve(env),
        engine=engine,
        seeds=tuple(range(PROGRAMS[name])),
        eval_every=record.usual_interval(config.steps, entry.make(config, made).env_steps),
        eval_episodes=2,
    )
    try:
        report = offline.plan(run, target)
    except offline.TooLargeError as error:
        return {"seeds": PROGRAMS[name], "refused": str(error)}
    return {
        "seeds": PROGRAMS[name],
        "compile_seconds": round(report.seconds),
        "peak_gib": round(report.memory.per_device / GIB, 2),
        "state_gib": round(report.memory.per_lane * PROGRAMS[name] / GIB, 2),
        "seeds_that_fit": report.most,
        "kernels": {part: round(number, 1) for part, number in report.found.known.items()},
        "open": report.found.open,
        "update": _body(report.iteration, "updates", kernels),
        "fit": _body(report.iteration, "preparing", kernels),
    }


def _body(loop: Any, part: str, kernels: Any) -> int | None:
    """Kernels of one pass of the largest loop of a part that has none inside; None if there is no such loop."""
    inner = [each for each in _all(loop) if each.part == part and not each.inner]
    return max(map(kernels.total, inner), default=None)


def _all(loop: Any) -> list[Any]:
    return [each for inner in loop.inner for each in (inner, *_all(inner))]


def body(target: str, name: str) -> dict[str, Any]:
    """The row of an environment's step on MJX over `LANES` of them, automatic resets left out."""
    import jax
    import jax.numpy as jnp
    from jax.sharding import SingleDeviceSharding

    from mbrl_jax import envs
    from mbrl_jax.runner import kernels

    env, place = envs.make(name, engine="mjx"), SingleDeviceSharding(targets.device(target))
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), LANES))
    action = jax.ShapeDtypeStruct((LANES, env.spec.action_dim), jnp.float32)
    shapes = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
        (keys, jax.eval_shape(jax.vmap(env.reset), keys), action),
    )
    began = time.monotonic()
    text = jax.jit(jax.vmap(env.step)).lower(*shapes).compile().as_text()
    return {"kernels": kernels.total(kernels.loops(text or "")), "compile_seconds": round(time.monotonic() - began)}


def shown() -> str:
    """The stored rows of all targets as the page on accelerators shows them: steps on MJX, then training programs."""
    stored = {target: json.loads(file(target).read_text())["rows"] for target in SHOWN}
    names = {target: targets.target(target).about for target in SHOWN}
    lines = [f"| task | {' | '.join(names.values())} |", "|---|" + "---|" * len(names)]
    for name in BODIES:
        found = [f"{rows[f'step of {name}']['kernels']:,}" for rows in stored.values()]
        lines.append(f"| {name} | {' | '.join(found)} |")
    columns = [f"{about}: physics, the rest | peak, GiB | seeds that fit" for about in names.values()]
    lines += ["", f"| program | seeds | {' | '.join(columns)} |", "|---|---|" + "---|---|---|" * len(names)]
    for name, seeds in PROGRAMS.items():
        found = [_cells(rows[name]) for rows in stored.values()]
        lines.append(f"| {name} | {seeds} | {' | '.join(found)} |")
    return "\n".join(lines)


def _cells(row: dict[str, Any]) -> str:
    """A program's operations per environment step, its memory, and how many seeds would fit."""
    if "refused" in row:
        return "does not fit | – | –"
    physics = row["kernels"].get("environment", 0)
    rest = sum(number for part, number in row["kernels"].items() if part != "environment")
    return f"{physics:,.0f}, {rest:,.0f} | {row['peak_gib']:.2f} | {row['seeds_that_fit']:,}"


def main() -> None:
    """Compiles what is asked for, writing the file after every row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", choices=sorted(targets.TARGETS), help="without one, what is stored is shown")
    parser.add_argument("--only", nargs="*", default=[""], help="beginnings of rows' names")
    args = parser.parse_args()
    if args.target is None:
        print(shown())
        return
    targets.prepare(args.target)
    from mbrl_jax import results

    jobs = {**{f"step of {name}": (body, name) for name in BODIES}, **{name: (program, name) for name in PROGRAMS}}
    path = file(args.target)
    table: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"rows": {}}
    begun = results.provenance()  # before the table's own file is a change to the tree
    for row, (compiled, name) in jobs.items():
        if row.startswith(tuple(args.only)):
            print(row, flush=True)
            table["rows"][row] = compiled(args.target, name)
            table |= {"target": targets.target(args.target).about, "lanes": LANES, **begun}
            path.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n")
            print(f"  {table['rows'][row]}", flush=True)
    for each in broken(args.target, table["rows"]):
        print(f"over its budget: {each}")


if __name__ == "__main__":
    main()
