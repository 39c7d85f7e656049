"""Synthetic results, written by the tests themselves into temporary folders."""

import numpy as np
import pandas as pd
import pytest

from mbrl_jax import results


def learning_curve(seeds, budget, speed, top, noise, points=26, start=0.0):
    """A saturating curve per seed with noise that shrinks as it is learnt."""
    rng = np.random.default_rng(abs(hash((len(seeds), budget, speed))) % 2**32)
    steps = np.linspace(0, budget, points).astype(int)
    rows = []
    for seed in seeds:
        own = speed * np.exp(rng.normal(0, 0.15))
        curve = start + (top - start) / (1 + np.exp(-12 * (steps / budget - 0.4 / own)))
        curve = curve + rng.normal(0, noise, points)
        rows += [(seed, int(step), "eval/return_mean", float(value)) for step, value in zip(steps, curve, strict=True)]
    return pd.DataFrame(rows, columns=["seed", "env_step", "metric", "value"])


@pytest.fixture
def write(tmp_path):
    """`write(algorithm, env, ...)` saves a synthetic run under `tmp_path` and returns its id."""

    def save(algorithm, env="inverted_pendulum-v4", *, seeds=range(8), budget=5000, speed=1.0, top=1000.0, **changes):
        metrics = changes.pop("metrics", None)
        arrays = changes.pop("arrays", None)
        if metrics is None:
            metrics = learning_curve(list(seeds), budget, speed, top, 0.03 * top)
        facts = {
            "experiment": "mbpo/figure2",
            "algorithm": algorithm,
            "env": env,
            "engine": "jax",
            "seeds": list(seeds),
            "status": "finished",
            "profile": "laptop",
            "device": "cpu (2 cores)",
            "precision": "float32",
            "compile_seconds": 21.4,
            "run_seconds": 190.0 / speed,
            "updates": 10 * budget,
            **results.provenance(),
            **changes,
        }
        run = results.run_id({name: facts[name] for name in ("experiment", "algorithm", "env", "seeds", "profile")})
        results.save(tmp_path, run, metrics, facts, arrays)
        return run

    return save
