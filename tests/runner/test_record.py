"""What is shown of a run while it goes on."""

import numpy as np

from mbrl_jax.runner import record

SCHEDULE = record.Schedule(iterations=2, env_steps=10, eval_iterations=1, eval_at=(0, 1, 2))


def test_means_are_over_the_finite_values_of_healthy_lanes():
    history = record.empty(SCHEDULE, ["loss", "score", "missing"], lanes=4)
    history["diverged"][:] = [-1, -1, 1, -1]
    rows = {
        "loss": [1.0, 2.0, 50.0, 6.0],
        "score": [np.nan, np.inf, 3.0, 5.0],
        "missing": [np.nan, np.inf, 1.0, -np.inf],
    }
    record.put_info(history, 0, 1, {name: np.array(values)[:, None] for name, values in rows.items()})
    scores = np.array([[1.0, 3.0], [5.0, 5.0], [90.0, 90.0], [np.nan, 1.0]])
    record.put_scores(history, SCHEDULE, 1, {"eval/return": scores, "eval/length": np.full((4, 2), 7.0)})
    assert record.means(history, SCHEDULE, 1) == {
        "loss": 3.0,
        "score": 5.0,
        "eval/return_mean": 3.5,
        "eval/return_std": 0.5,
        "eval/length": 7.0,
    }
    history["diverged"][:] = 0
    assert record.means(history, SCHEDULE, 1) == {}
