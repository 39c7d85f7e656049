"""A sweep as a script: `make_train` under `vmap` over learning rates and seeds, its curves as one CSV file.

    python experiments/sweeps/learning_rates.py sac pendulum --steps 5000 --out rates.csv

For what takes hours, or is shared by machines, write a TOML file: `mbrl sweep` resumes it and stores every lane.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import tyro
from jaxtyping import Array

from mbrl_jax.algorithms import preset
from mbrl_jax.runner.pure import make_train
from mbrl_jax.types import Info, Key

__all__ = ["Options", "sweep"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is swept, and where its curves go."""

    algorithm: Annotated[str, tyro.conf.Positional]
    """An algorithm whose agent has `actor_lr` and `critic_lr`."""
    env: Annotated[str, tyro.conf.Positional]
    """An environment; it chooses the preset."""
    steps: int = 5_000
    """Environment steps of every lane."""
    seeds: int = 5
    """Seeds, from 0 on."""
    rates: tuple[float, ...] = (1e-4, 3e-4, 1e-3)
    """Learning rates, of actor and critics alike."""
    eval_every: int | None = None
    """Environment steps between evaluations."""
    out: Path = Path("learning_rates.csv")
    """The file: rate, seed, env_step, return."""


def sweep(options: Options, **fields: object) -> pd.DataFrame:
    """All lanes in one program.

    Args:
      fields: fields of the preset to be replaced, beside `steps`.
    """
    config = replace(preset(options.algorithm, options.env), steps=options.steps, **fields)
    train = make_train(options.algorithm, options.env, config, eval_every=options.eval_every)

    def curve(key: Key, rate: Array) -> Info:
        metrics = train(key, {"agent.actor_lr": rate, "agent.critic_lr": rate})[1]
        return {name: metrics[name] for name in ("eval/env_step", "eval/return_mean")}

    keys = jax.vmap(jax.random.key)(jnp.arange(options.seeds, dtype=jnp.uint32))
    over_seeds = jax.vmap(curve, (0, None))
    found = jax.jit(jax.vmap(over_seeds, (None, 0)))(keys, jnp.asarray(options.rates, jnp.float32))
    steps, returns = (np.asarray(found[name]) for name in ("eval/env_step", "eval/return_mean"))
    rate, seed, _ = np.indices(returns.shape)
    columns = {"rate": np.asarray(options.rates)[rate], "seed": seed, "env_step": steps, "return": returns}
    return pd.DataFrame({name: values.reshape(-1) for name, values in columns.items()})


if __name__ == "__main__":
    asked = tyro.cli(Options)
    sweep(asked).to_csv(asked.out, index=False)
