"""Environment steps per second: our engines beside Gymnasium's vector environments and Brax's built-in tasks.

    python -m benchmarks.envs --budget 1200      # twenty minutes; writes benchmarks/results/envs-<machine>.json
    python -m benchmarks.envs --tasks ant-v4 --mjx-tasks ant-v4 --budget 3000

Random actions, automatic resets. What is compared is measured in turn. Ours runs in one compiled scan; Gymnasium's
synchronous and asynchronous vector environments run in a process of their own, without JAX. `mjx-default` is MJX with
MuJoCo's own solver limits (100 iterations of 50 line-search steps); both are compared with the C engine from the same
states. What would start after the budget of seconds is left out and listed, and so is what would wait for ever.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np

from benchmarks import common
from benchmarks.peers.compare import Worker, start
from mbrl_jax import envs
from mbrl_jax.envs import bits
from mbrl_jax.envs.engine_mjx import Bodies
from mbrl_jax.envs.mujoco_envs import GYM_BODIES, load_model
from mbrl_jax.types import Env

ROOT = Path(__file__).parents[1]
TASKS = (
    *("inverted_pendulum-v4", "hopper-v4", "half_cheetah-v4", "walker2d-v4", "ant-v4", "humanoid-v4", "swimmer-v4"),
    *("reacher-v4", "pusher-v5", "inverted_double_pendulum-v4"),
)
MJX_TASKS = TASKS[:3]
BRAX = {"inverted_pendulum": "inverted_pendulum", "hopper": "hopper", "half_cheetah": "halfcheetah", "ant": "ant"}
BACKENDS = ("generalized", "spring", "positional", "mjx")
REQUIRED = {"mujoco / gymnasium sync": 3.0, "mjx / mjx-default": 3.0}
LARGE = 1024
"""A batch size at which MJX's factorisations are divided among the threads of a CPU; at 64 they are not."""
MJX_STEPS = 8
"""Length of MJX's scans: with the default limits a step of 64 environments may take half a second."""


class Side(NamedTuple):
    """One side of a comparison.

    Attributes:
      run: runs one block; returns its wall seconds per environment step.
      compile_seconds: what the first call took longer than the second.
      compilations: how many programs the compiled function has become; more than one is a defect.
    """

    run: Callable[[], float]
    compile_seconds: float = 0.0
    compilations: Callable[[], int] = lambda: 0


class Job(NamedTuple):
    """What is measured in turn: a task at a batch size, with the labels of the sides."""

    task: str
    batch: int
    labels: tuple[str, ...]


@functools.cache
def roll_out(env: Env, batch: int, steps: int) -> Callable[[jax.Array, Any, bool], tuple[Any, jax.Array]]:
    """A jitted scan of `steps` random steps of `batch` environments: `run(key, state, resets)`.

    With `resets` those that have ended start anew, else they go on. The same arguments give the same program, compiled
    once for both. It returns the last state and the sums of the rewards of each step `[steps]`.
    """
    low, high = jnp.asarray(env.spec.action_low), jnp.asarray(env.spec.action_high)

    def step(resets: jax.Array, state: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        k_act, k_step, k_reset = jax.random.split(key, 3)
        action = jax.random.uniform(k_act, (batch, env.spec.action_dim), minval=low, maxval=high)
        state, transition = jax.vmap(env.step)(jax.random.split(k_step, batch), state, action)
        done = (transition.discount == 0) | transition.truncated

        def reset() -> Any:
            keys = jax.random.split(k_reset, batch)
            return jax.vmap(lambda k, ended, old: envs.restart(k, env, ended, old))(keys, done, state)

        return jax.lax.cond(resets & done.any(), reset, lambda: state), transition.reward.sum()

    def run(key: jax.Array, state: Any, resets: jax.Array) -> tuple[Any, jax.Array]:
        return jax.lax.scan(functools.partial(step, resets), state, jax.random.split(key, steps))

    return jax.jit(run)


def ours(env: Env, batch: int, seconds: float, steps: int) -> Side:
    """An environment of ours, compiled and warm, in blocks of about `seconds`."""
    run, state = roll_out(env, batch, steps), jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.key(0), batch))

    def call(state: Any) -> tuple[Any, float]:
        began = time.perf_counter()
        state, _ = jax.block_until_ready(run(jax.random.key(1), state, True))
        return state, time.perf_counter() - began

    state, first = call(state)
    state, second = call(state)
    calls, held = max(1, round(seconds / second)), [state]

    def block() -> float:
        began = time.perf_counter()
        for _ in range(calls):
            held[0] = jax.block_until_ready(run(jax.random.key(1), held[0], True))[0]
        return (time.perf_counter() - began) / (calls * batch * steps)

    return Side(block, first - second, run._cache_size)  # pyright: ignore[reportFunctionMemberAccess]


def make(task: str, label: str) -> Env:
    """The environment of a label: an engine of ours, `mjx-default`, or Brax's task of the same name."""
    if label == "mjx-default":
        return envs.make(task, engine="mjx", iterations=100, ls_iterations=50)
    if not label.startswith("brax "):
        return envs.make(task, engine=label)
    import brax.envs

    from mbrl_jax.envs.adapters import from_brax

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = brax.envs.get_environment(BRAX[task.split("-")[0]], backend=label.split()[1])
    return from_brax(theirs, name=task)


def gymnasium(job: Job, seconds: float) -> Worker | None:
    """The process that runs the job's sides of Gymnasium."""
    cases = [f"{label.split()[1]} {job.batch}" for label in job.labels if label.startswith("gymnasium")]
    if not cases:
        return None
    gym_id, *options = GYM_BODIES[job.task].gym
    command = [sys.executable, "-m", "benchmarks.gymnasium_side", gym_id, "--options", json.dumps(dict(options))]
    return start([*command, "--seconds", str(seconds), "--cases", *cases], ROOT)


def measure(job: Job, rounds: int, seconds: float) -> dict[str, Any]:
    """All sides of a job in turn: compile seconds, steps per second, and ratios round by round."""
    worker, sides = gymnasium(job, seconds), {}
    for label in job.labels:
        if worker is not None and label.startswith("gymnasium"):
            case = f"{label.split()[1]} {job.batch}"
            sides[label] = Side(lambda case=case, worker=worker: worker.ask(case))
        else:
            steps = MJX_STEPS if label.startswith("mjx") else max(4, min(200, 4096 // job.batch))
            sides[label] = ours(make(job.task, label), job.batch, seconds, steps)
    samples: dict[str, list[float]] = {label: [] for label in sides}
    for _ in range(rounds):
        for label, side in sides.items():
            samples[label].append(side.run())
    if worker is not None:
        cast(IO[str], worker.process.stdin).close()
        worker.process.wait()
    found = {
        label: {
            "compile_seconds": side.compile_seconds,
            "compilations": side.compilations(),
            "steps_per_second": common.spread([1 / value for value in samples[label]]),
        }
        for label, side in sides.items()
    }
    return {"task": job.task, "batch": job.batch, "sides": found, "ratios": ratios(samples)}


def ratios(samples: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Speed of the first side over each other one, round by round, and of MJX over its default limits."""
    first, *others = samples
    return {
        f"{first} / {other}": common.spread([b / a for a, b in zip(samples[first], samples[other], strict=True)])
        for other in others
    }


def accuracy(task: str, batch: int = 64, sets: int = 8) -> dict[str, dict[str, float]]:
    """MJX's errors after `MJX_STEPS` steps against the C engine, from `sets * batch` states of random episodes.

    The states are those after 32 to 128 random steps with automatic resets, so as far into an episode as random actions
    get (the median is given); from there nothing is reset. Errors are relative to max(1, |value|), of the largest entry
    of each observation; median, 99 % quantile and largest over the states. Programs are the ones that were timed.
    """
    exact = envs.make(task, engine="mujoco")
    run = roll_out(exact, batch, MJX_STEPS)
    reset = jax.jit(jax.vmap(exact.reset))
    errors: dict[str, list[np.ndarray]] = {"mjx": [], "mjx-default": []}
    ages = []
    for seed in range(sets):
        k_reset, k_visit, k_compare = jax.random.split(jax.random.key(seed), 3)
        state = reset(jax.random.split(k_reset, batch))
        for key in jax.random.split(k_visit, 32 * (1 + seed % 4) // MJX_STEPS):
            state, _ = run(key, state, True)
        ages.append(np.asarray(state.t))
        begin = state._replace(physics=_bodies(task, state.physics))
        expected = np.asarray(run(k_compare, state, False)[0].obs)
        for label, found in errors.items():
            obs = np.asarray(roll_out(make(task, label), batch, MJX_STEPS)(k_compare, begin, False)[0].obs)
            found.append((np.abs(obs - expected) / np.maximum(1, np.abs(expected))).max(axis=-1))
    summary = {
        label: {
            "median": float(np.median(found)),
            "99 %": float(np.quantile(found, 0.99)),
            "largest": float(np.max(found)),
        }
        for label, found in errors.items()
    }
    return {"steps into the episode": {"median": float(np.median(ages)), "largest": float(np.max(ages))}} | summary


def _bodies(task: str, words: jax.Array) -> Bodies:
    """MJX's state for that of the C engine `[batch, 2 n]`."""
    model, rows = load_model(GYM_BODIES[task].model), bits.from_words(np.asarray(words))
    ends = np.cumsum([1, model.nq, model.nv, model.nv])
    qpos, qvel, warmstart = (jnp.asarray(rows[:, a:b], jnp.float32) for a, b in itertools.pairwise(ends))
    return Bodies(qpos, qvel, warmstart, {})


def plan(tasks: Sequence[str], mjx_tasks: Sequence[str]) -> list[Job]:
    """The jobs, the ones that the requirements are about first."""
    both = ("mujoco", "gymnasium sync", "gymnasium async")
    jobs = [Job(task, 64, both) for task in tasks if GYM_BODIES[task].gym]
    jobs += [Job(task, 64, ("mjx", "mjx-default")) for task in mjx_tasks]
    jobs += [Job(task, 1, both[:2]) for task in tasks if GYM_BODIES[task].gym]
    jobs += [Job(task, 1024, both[:1]) for task in tasks] + [Job(task, 1, ("mjx",)) for task in mjx_tasks]
    able = [task for task in mjx_tasks if task.split("-")[0] in BRAX]
    jobs += [Job(task, 64, ("mujoco", *(f"brax {name}" for name in BACKENDS))) for task in able]
    return jobs + [Job(task, 1024, ("mjx",)) for task in mjx_tasks]


def left_out(job: Job, backend: str, release: str) -> str | None:
    """Why a job cannot be measured with this backend and version of jaxlib; None if it can."""
    version = tuple(int(part) for part in release.split(".")[:2])
    if backend == "cpu" and version < (0, 12) and job.batch >= LARGE and any("mjx" in label for label in job.labels):
        return f"with jaxlib {release} MJX may wait for ever on a CPU in batches of {LARGE} (docs/environments.md)"
    return None


def show(found: Mapping[str, Any]) -> None:
    """One line per side."""
    first = next(iter(found["sides"]))
    for label, side in found["sides"].items():
        speed = side["steps_per_second"]["median"]
        ratio = next((r["median"] for name, r in found["ratios"].items() if name.endswith(f"/ {label}")), None)
        times = "" if ratio is None else f"  {first} is {ratio:.2f} times as fast"
        print(
            f"{found['task']:28} {label:17} {found['batch']:5d} {side['compile_seconds']:8.1f} {speed:10.0f}{times}",
            flush=True,
        )


def summarise(found: Sequence[Mapping[str, Any]]) -> None:
    """One line per requirement, at batch 64."""
    for name, required in REQUIRED.items():
        values = {f["task"]: f["ratios"][name]["median"] for f in found if f["batch"] == 64 and name in f["ratios"]}
        if values:
            line = ", ".join(f"{task} {value:.2f}" for task, value in values.items())
            print(f"{name} (required: {required}): {line}; median {statistics.median(values.values()):.2f}")


def main(arguments: Sequence[str] | None = None) -> Path:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--mjx-tasks", nargs="*", default=list(MJX_TASKS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.4, help="of a block")
    parser.add_argument("--budget", type=float, default=480.0, help="seconds after which no measurement is started")
    parser.add_argument("--out", type=Path, default=common.FOLDER)
    given = parser.parse_args(arguments)
    facts, began, found, skipped = common.machine(), time.perf_counter(), [], []
    facts["versions"] |= {name: common.version(name) for name in ("mujoco", "mujoco-mjx", "gymnasium", "brax")}

    def write() -> Path:
        content = {"machine": facts, "measurements": found, "required": REQUIRED, "skipped": skipped}
        return common.write(f"envs-{common.slug(facts)}", content, given.out)

    print(f"{'task':28} {'side':17} {'batch':>5} {'compile':>8} {'steps/s':>10}")
    for job in plan([envs.resolve(t) for t in given.tasks], [envs.resolve(t) for t in given.mjx_tasks]):
        reason = left_out(job, jax.default_backend(), jaxlib.__version__)
        if reason is None and time.perf_counter() - began > given.budget:
            reason = f"would have started after {given.budget:.0f} s"
        if reason is not None:
            skipped.append({**job._asdict(), "reason": reason})
            continue
        found.append(measure(job, given.rounds, given.seconds))
        if "mjx-default" in job.labels and not GYM_BODIES[job.task].carried:
            found[-1]["errors_against_c"] = accuracy(job.task)
        show(found[-1])
        write()  # what has been measured stays, whatever happens to the next
    summarise(found)
    for job in skipped:
        print(f"left out: {job['task']} {' '.join(job['labels'])} {job['batch']}: {job['reason']}")
    path = write()
    print(f"wrote {path}")
    return path


if __name__ == "__main__":
    main()
