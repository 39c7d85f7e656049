"""The exchange format of published raw results: a CSV `exp_name, env_name, seed, metric, env_step, value`."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mbrl_jax import results

__all__ = ["export_csv", "import_csv"]

EXCHANGE = {"algorithm": "exp_name", "env": "env_name"} | {
    name: name for name in ("seed", "metric", "env_step", "value")
}


def export_csv(frame: pd.DataFrame, path: str | Path) -> None:
    """Writes the exchange format `exp_name, env_name, seed, metric, env_step, value`; `exp_name` is the algorithm.

    Raises:
      ValueError: two experiments hold the same point; filter by `experiment` first.
    """
    table = pd.DataFrame(frame[list(EXCHANGE)]).rename(columns=EXCHANGE)
    twice = table.duplicated(["exp_name", "env_name", "seed", "metric", "env_step"])
    if twice.any():
        names = ", ".join(sorted(frame["experiment"].unique()))
        raise ValueError(f"points must be unique, {twice.sum()} are not (experiments: {names}); filter by `experiment`")
    results.write_whole(Path(path), table.to_csv(index=False).encode())


def import_csv(path: str | Path, experiment: str) -> pd.DataFrame:
    """Reads the exchange format into the long form, under the name `experiment`; `run` is the file's name.

    Raises:
      results.ResultsError: a column is missing or a number is none; the message names the file.
    """
    try:
        table = pd.DataFrame(pd.read_csv(path)[list(EXCHANGE.values())])
        table = table.rename(columns={new: old for old, new in EXCHANGE.items()})
        table = table.astype({"seed": "int64", "env_step": "int64", "value": "float64"})
    except FileNotFoundError:
        raise
    except (ValueError, KeyError) as error:
        raise results.ResultsError(
            f"an exchange file must have {', '.join(EXCHANGE.values())}; {path}: {error}"
        ) from error
    table = table.assign(experiment=experiment, run=Path(path).name)
    return pd.DataFrame(table[["run", *results.COLUMNS]])
