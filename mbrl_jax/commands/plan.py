"""`mbrl plan ALGORITHM --env NAME --seeds N --target h200 …`: a run compiled for a device that may not be here."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mbrl_jax.commands.train import named

if TYPE_CHECKING:
    from mbrl_jax.runner.run import Run

__all__ = ["Plan", "plan"]

USAGE = "usage: mbrl plan ALGORITHM|SWEEP.toml --env NAME [--seeds N] [--target NAME] [OPTIONS]"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is compiled for which device; nothing is run or stored."""

    env: str
    """Environment, see `mbrl list`; it chooses the preset that the hyper-parameters below start from."""
    target: Literal["here", "h200", "h100", "a100", "v5e"] = "here"
    """The device: one of this machine, or an accelerator whose compiler is installed."""
    engine: Literal["jax", "mjx", "mujoco", "warp"] | None = None
    """Physics engine; MJX for a device that is not here."""
    precision: Literal["float32", "tensorfloat32", "bfloat16"] = "float32"
    """Of products of matrices; the last two where a device has them (NVIDIA GPUs, TPUs)."""
    seeds: int = 5
    """Number of seeds, trained in one program."""
    eval_episodes: int = 10
    """Episodes per evaluation."""


def plan(words: list[str]) -> int:
    """Runs the command; 1 if a run does not fit, else 0.

    Raises:
      ValueError: a sweep's plan is given more than `--target`.
    """
    from mbrl_jax.runner import targets

    if not words or words[0] in ("-h", "--help"):
        names = [f"  {name:<5} {of.about}, {of.memory / 2**30:.1f} GiB" for name, of in targets.TARGETS.items()]
        print("\n".join([USAGE, "", "targets:", f"  {targets.HERE:<5} a device of this machine", *names]))
        return 0 if words else 2
    name = named(words, "--target") or targets.HERE
    if name == targets.HERE:
        from mbrl_jax.runner import setup

        setup.configure()
    else:
        targets.prepare(name)
    from mbrl_jax.runner import offline

    runs, code = _runs(words), 0
    for run in runs:
        print(f"{run.algorithm} {run.env}, {len(run.lanes())} lanes", flush=True)
        try:
            print("\n".join(offline.plan(run, name).lines(name)), flush=True)
        except offline.TooLargeError as error:
            print(error, file=sys.stderr)
            code = 1
    return code


def _runs(words: list[str]) -> list[Run]:
    """The run that the words describe, or those of a sweep's file."""
    from mbrl_jax import envs
    from mbrl_jax.algorithms import find
    from mbrl_jax.commands.train import parse_as
    from mbrl_jax.runner import record, sweep
    from mbrl_jax.runner.run import Run

    if words[0].endswith(".toml"):
        rest = [word for word in words[1:] if word not in ("--target", named(words, "--target"))]
        if left := [word for word in rest if not word.startswith("--target=")]:
            raise ValueError(f"a sweep's plan takes --target alone, got {' '.join(left)}")
        return [run for run, _ in sweep.blocks(sweep.read(words[0]))]
    entry = find(words[0])
    options, config = parse_as(Plan, "mbrl plan", words[0], words[1:])
    per = entry.make(config, envs.make(options.env, engine=options.engine)).env_steps
    return [
        Run(
            experiment="plan",
            algorithm=entry.name,
            method=words[0],
            config=config,
            env=envs.resolve(options.env),
            engine=options.engine,
            precision=options.precision,
            seeds=tuple(range(options.seeds)),
            eval_every=record.usual_interval(config.steps, per),
            eval_episodes=options.eval_episodes,
        )
    ]
