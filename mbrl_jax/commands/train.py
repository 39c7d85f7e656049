"""`mbrl train ALGORITHM --env NAME …`: every hyper-parameter is an option, the environment's preset its default."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import tyro

from mbrl_jax.commands.words import parse as parse_words

if TYPE_CHECKING:
    from mbrl_jax.algorithms.registry import Entry
    from mbrl_jax.runner.session import Options, Sink
    from mbrl_jax.types import Config

__all__ = ["Train", "named", "parse", "parse_as", "train"]

T = TypeVar("T")
USAGE = "usage: mbrl train ALGORITHM --env NAME [OPTIONS]"


@dataclass(frozen=True, kw_only=True)
class Train:
    """What is trained on how many seeds, how it is evaluated and where it goes."""

    env: str
    """Environment, see `mbrl list`; it chooses the preset that the hyper-parameters below start from."""
    engine: Literal["jax", "mjx", "mujoco", "warp"] | None = None
    """Physics engine; chosen by the device if not given."""
    precision: Literal["float32", "tensorfloat32", "bfloat16"] = "float32"
    """Of products of matrices; the last two where a device has them (NVIDIA GPUs, TPUs). Part of the run's id."""
    seeds: int = 5
    """Number of seeds, trained in one program."""
    first_seed: int = 0
    """The first seed; the others follow."""
    eval_every: int | None = None
    """Environment steps between evaluations; about 1,000 if not given, at most the whole run."""
    eval_episodes: int = 10
    """Episodes per evaluation: deterministic policy, true environment."""
    name: str = "train"
    """Name of the experiment in the results."""
    results: Path = Path("results")
    """The results folder, or an address s3://BUCKET/PREFIX or gs://BUCKET/PREFIX."""
    chunk_seconds: float = 5.0
    """The host looks in about this often: progress, signals."""
    checkpoint_seconds: float = 120.0
    """Least time between checkpoints."""
    keep: int = 2
    """Checkpoints kept while the run goes on."""
    batching: Literal["vmap", "map"] | None = None
    """Seeds of one device side by side or one after the other; chosen by the platform if not given."""
    devices: int | None = None
    """Number of devices to spread the seeds over; all local ones if not given."""
    tensorboard: Path | None = None
    """Folder for TensorBoard event files (needs the extra `sweep`)."""
    wandb: str | None = None
    """Weights & Biases project (needs the extra `sweep`); WANDB_MODE=offline keeps it on this machine."""
    quiet: bool = False
    """No progress shown."""


def train(words: list[str]) -> int:
    """Runs the command.

    Raises:
      ValueError: `--devices` is not within the local ones; or as of `parse_as`.
    """
    from mbrl_jax.runner import setup

    setup.configure()
    from mbrl_jax.algorithms import REGISTRY, find

    if not words or words[0] in ("-h", "--help"):
        _print_usage(REGISTRY)
        return 0 if words else 2
    algorithm, rest = words[0], words[1:]
    find(algorithm)
    options, config = parse(algorithm, rest)
    _run(algorithm, options, config)
    return 0


def _print_usage(registry: Mapping[str, Entry]) -> None:
    lines = [f"  {name:<8} {entry.about}" for name, entry in registry.items()]
    print("\n".join([USAGE, "", "algorithms:", *lines, "", "mbrl train ALGORITHM [--env NAME] --help explains all."]))


def parse(algorithm: str, words: list[str]) -> tuple[Train, Config]:
    """The options of `mbrl train` and the configuration that the words after the algorithm's name ask for."""
    return parse_as(Train, "mbrl train", algorithm, words)


def parse_as(kind: type[T], command: str, algorithm: str, words: list[str]) -> tuple[T, Config]:
    """The options and the configuration that the words after the algorithm's name ask for.

    Args:
      kind: the options of the command, `env` among them.
      command: how it is called.

    Raises:
      ValueError: there is no such algorithm or environment, or an option breaks a rule of `checks.RULES`.
    """
    from mbrl_jax import envs
    from mbrl_jax.algorithms import find, preset
    from mbrl_jax.checks import check_fields

    entry, chosen = find(algorithm), named(words, "--env")
    default = preset(algorithm, envs.resolve(chosen)) if chosen else entry.config()
    both = dataclasses.make_dataclass(
        "Both",
        [
            ("options", Annotated[kind, tyro.conf.arg(name="")]),
            ("config", Annotated[entry.config, tyro.conf.arg(name="")], dataclasses.field(default=default)),
        ],
        frozen=True,
        kw_only=True,
    )
    known = f"the preset for {chosen}." if chosen else "name an --env to see its preset."
    parsed = parse_words(both, f"{command} {algorithm}", words, f"{entry.about}. Defaults: {known}")
    check_fields(parsed.options)
    return parsed.options, parsed.config


def named(words: list[str], option: str) -> str | None:
    """The value of an option, for what must be known before the others can be read."""
    for i, word in enumerate(words):
        if word == option and i + 1 < len(words):
            return words[i + 1]
        if word.startswith(f"{option}="):
            return word.removeprefix(f"{option}=")
    return None


def _run(algorithm: str, options: Train, config: Config) -> None:
    from mbrl_jax import envs, storage
    from mbrl_jax.algorithms import find
    from mbrl_jax.runner import loop, record, setup, sinks
    from mbrl_jax.runner.run import Run

    setup.check_jit()
    root = storage.folder(options.results)  # an address that does not answer is told before any work
    entry, env = find(algorithm), envs.resolve(options.env)
    per = entry.make(config, envs.make(env, engine=options.engine)).env_steps
    run = Run(
        experiment=options.name,
        algorithm=entry.name,
        method=algorithm,
        config=config,
        env=env,
        engine=options.engine,
        precision=options.precision,
        seeds=tuple(range(options.first_seed, options.first_seed + options.seeds)),
        eval_every=record.usual_interval(config.steps, per) if options.eval_every is None else options.eval_every,
        eval_episodes=options.eval_episodes,
    )
    with sinks.opened(run, tensorboard=options.tensorboard, wandb=options.wandb) as opened:
        identity = loop.train(run, root, _execution(options, opened))
    _print_scores(root, identity)


def _execution(options: Train, opened: Iterable[Sink]) -> Options:
    import jax

    from mbrl_jax.runner import loop

    local = jax.local_devices()
    if options.devices is not None and not 1 <= options.devices <= len(local):
        raise ValueError(f"devices must lie between 1 and the {len(local)} local ones, got {options.devices}")
    return loop.Options(
        chunk_seconds=options.chunk_seconds,
        checkpoint_seconds=options.checkpoint_seconds,
        keep=options.keep,
        batching=options.batching,
        devices=local[: options.devices],
        sinks=tuple(opened),
        quiet=options.quiet,
    )


def _print_scores(root: Path, identity: str) -> None:
    from mbrl_jax import results, storage

    frame, facts = results.load_run(root, identity), results.manifest(root, identity)
    scores = frame.loc[(frame["metric"] == "eval/return_mean") & (frame["env_step"] == facts["steps"])]
    for label, env, seed, value in zip(*(scores[c] for c in ("algorithm", "env", "seed", "value")), strict=True):
        print(f"{label} {env} seed {seed}: return {value:,.1f}")
    for name, step in facts["diverged"].items():
        print(f"{name}: diverged at step {step:,}", file=sys.stderr)
    seconds = f"compiled in {facts['compile_seconds']:.1f} s, ran {facts['run_seconds']:.1f} s"
    print(f"run {identity}: {seconds}; stored in {storage.place(root)}/runs/{identity}")
