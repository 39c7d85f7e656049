"""Curves whose seeds were recorded at different steps are drawn, and the caption says how."""

import numpy as np
import pandas as pd
import pytest
import synthetic

from mbrl_jax import results
from mbrl_jax.commands import artefacts
from mbrl_jax.report import build, figures, select, statistics
from mbrl_jax.report.gather import Drawn, gather

SAID = "interpolated linearly"


def straight(steps, slope=lambda seed: 1.0 + seed):
    """Seeds whose return is a straight line through the origin, each recorded at its own steps."""
    rows = [(seed, step, select.RETURN, slope(seed) * step) for seed, own in enumerate(steps) for step in own]
    return pd.DataFrame(rows, columns=["seed", "env_step", "metric", "value"])


def irregular(count=5, points=40, budget=10_000):
    """Steps of each seed, without one that two of them share but by accident."""
    rng = np.random.default_rng(0)
    return [np.sort(rng.choice(budget, points, replace=False)) for _ in range(count)]


def drawn(root, **runs):
    """The one panel of these runs, and the frame."""
    for name, metrics in runs.items():
        seeds = sorted(metrics["seed"].unique().tolist())
        synthetic.writer(root)(name, "hopper-v4", seeds=seeds, metrics=metrics, experiment="mine", profile="custom")
    frame = results.load(root)
    (figure,) = figures.learning_curves(frame)
    return figure, frame


def test_interpolated_curves_are_exact_where_curves_are_straight(tmp_path):
    steps = irregular()
    figure, _ = drawn(tmp_path, theirs=straight(steps))
    (line,) = figure.axes[0].lines
    x, y = line.get_data()
    assert len(x) == min(sum((max(map(min, steps)) <= own) & (own <= min(map(max, steps)))) for own in steps)
    assert (x[0], x[-1]) == (max(map(min, steps)), min(map(max, steps)))
    np.testing.assert_allclose(np.diff(x), x[1] - x[0])
    np.testing.assert_allclose(y, 3.0 * x, rtol=1e-12)  # the IQM of slopes 1 to 5
    assert "theirs" in figure.get_label() and SAID in figure.get_label()


def test_steps_that_seeds_share_are_drawn_as_they_are(tmp_path):
    longer = [np.arange(0, 5001, 500)] * 2 + [np.arange(0, 10_001, 500)] * 2
    twice = [np.arange(0, 5001, 500)] * 2 + [np.arange(0, 5001, 1000)] * 2
    figure, _ = drawn(tmp_path, sac=straight(longer), mbpo=straight(twice))
    sac, mbpo = (line.get_data()[0] for line in figure.axes[0].lines)
    np.testing.assert_array_equal(sorted(map(len, (sac, mbpo))), [6, 11])
    assert figure.get_label() == ""


def test_a_diverged_seed_stays_the_worst_between_its_steps(tmp_path):
    steps = irregular(3, 60)
    metrics = straight(steps)
    metrics = metrics.loc[(metrics["seed"] != 1) | (metrics["env_step"] < 4000)]
    write = synthetic.writer(tmp_path)
    write("theirs", "hopper-v4", seeds=range(3), metrics=metrics, diverged={1: 4000})
    found = select.curves(results.load(tmp_path), "theirs")
    even, interpolated = select.on_common_steps(found)
    assert interpolated and not np.isnan(even.value).any()
    lost = np.isinf(even.value[1])
    assert (lost == (even.env_step >= found.env_step[found.env_step >= 4000][0])).all() and lost.any()
    assert np.isfinite(even.value[[0, 2]]).all()


def test_seeds_that_share_nothing_are_named_and_the_others_drawn(tmp_path):
    apart = straight([np.arange(0, 100, 10), np.arange(1000, 1100, 10)])
    figure, _ = drawn(tmp_path, theirs=apart, sac=straight([np.arange(0, 1001, 100)] * 2))
    assert [line.get_label() for line in figure.axes[0].lines] == ["sac"]
    assert "theirs" in figure.get_label() and "not drawn" in figure.get_label()


@pytest.mark.filterwarnings("error")
def test_published_curves_stand_beside_ours_and_the_page_says_how(tmp_path):
    drawn(tmp_path, theirs=straight(irregular()), sac=straight([np.arange(0, 10_001, 500)] * 5))
    page = build(artefacts.others(tmp_path, {}), tmp_path)
    (section,) = gather(artefacts.others(tmp_path, {}), tmp_path)
    assert section.remarks == []
    (block,) = [block for block in section.blocks if isinstance(block, Drawn)]
    assert set(block.legend) == {"theirs", "sac"} and block.caption.count(SAID) == 1
    assert SAID in page.read_text() and SAID in (tmp_path / "report" / "report.md").read_text()


def test_a_curve_without_points_has_an_interval_without_points():
    assert [part.shape for part in statistics.aggregate(np.zeros((3, 1, 0)), repetitions=5)] == [(0,)] * 3
