"""Published raw results go out and come in without loss."""

import pandas as pd
import pytest

from mbrl_jax import results
from mbrl_jax.report.exchange import export_csv, import_csv


def test_exchange_format_round_trips(tmp_path):
    rows = [(seed, step, "eval/return_mean", (seed + step) / 7) for seed in (0, 1) for step in (0, 500)]
    metrics = pd.DataFrame(rows, columns=["seed", "env_step", "metric", "value"])
    facts = {"experiment": "mbpo/figure2", "algorithm": "mbpo", "env": "hopper-v4", "seeds": [0, 1]}
    results.save(tmp_path, "a", metrics, {**facts, "status": "finished"})
    frame, path = results.load(tmp_path), tmp_path / "out.csv"
    export_csv(frame, path)
    assert path.read_text().splitlines()[0] == "exp_name,env_name,seed,metric,env_step,value"
    back = import_csv(path, "mbpo/figure2")
    pd.testing.assert_frame_equal(back[list(results.COLUMNS)], frame[list(results.COLUMNS)])
    with pytest.raises(ValueError, match="filter by `experiment`"):
        export_csv(pd.concat([frame, frame.assign(experiment="other")]), path)
    path.write_text("exp_name,seed\na,0\n")
    with pytest.raises(results.ResultsError, match=r"out\.csv"):
        import_csv(path, "x")
