"""Where metrics may go besides the results store: TensorBoard and Weights & Biases, both optional."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path

from mbrl_jax import results
from mbrl_jax.checks import resolved
from mbrl_jax.host import MissingPackageError, package
from mbrl_jax.runner.run import Run
from mbrl_jax.runner.session import Sink

__all__ = ["MissingPackageError", "opened", "package"]


@contextlib.contextmanager
def opened(run: Run, tensorboard: str | Path | None = None, wandb: str | None = None) -> Iterator[list[Sink]]:
    """The sinks that are asked for, closed at the end.

    Args:
      run: the run they belong to.
      tensorboard: folder for event files; each run gets a folder of its own in it.
      wandb: project name.

    Raises:
      MissingPackageError: before any work, if a package is missing.
    """
    with contextlib.ExitStack() as stack:
        sinks: list[Sink] = []
        if tensorboard is not None:
            sinks.append(stack.enter_context(_tensorboard(run, resolved(tensorboard))))
        if wandb is not None:
            sinks.append(stack.enter_context(_wandb(run, wandb)))
        yield sinks


@contextlib.contextmanager
def _tensorboard(run: Run, folder: Path) -> Iterator[Sink]:
    tensorboard = package("tensorboardX", "TensorBoard")
    writer = tensorboard.SummaryWriter(logdir=str(folder / results.file_name(_title(run))))

    def sink(step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    try:
        yield sink
    finally:
        writer.close()


@contextlib.contextmanager
def _wandb(run: Run, project: str) -> Iterator[Sink]:
    service = package("wandb", "Weights & Biases")
    identity = run.run_id(run.environment())
    session = service.init(
        project=project,
        group=run.experiment,
        name=_title(run),
        id=identity,
        resume="allow",
        config={"seeds": list(run.seeds), "sweep": dict(run.sweep), **dataclasses.asdict(run.config)},
    )

    def sink(step: int, metrics: Mapping[str, float]) -> None:
        session.log({**metrics, "env_step": step}, step=step)

    try:
        yield sink
    finally:
        session.finish()


def _title(run: Run) -> str:
    return f"{run.experiment.replace('/', '-')}-{run.algorithm}-{run.env}-{run.run_id(run.environment())[:8]}"
