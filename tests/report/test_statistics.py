"""Our statistics against the package of the paper that proposed them, against SciPy, and against exact values."""

import sys

import numpy as np
import pandas.util._decorators as pandas_decorators
import pytest
import scipy.stats

from mbrl_jax.report import statistics
from mbrl_jax.report.statistics import aggregate, bootstrap, iqm, steps_to


@pytest.fixture(scope="module")
def rliable():
    """The reference package; `arch`, which it imports, still decorates with the signature of pandas 2."""
    original = pandas_decorators.deprecate_kwarg
    pandas_decorators.deprecate_kwarg = lambda *args, **kwargs: lambda function: function
    try:
        from rliable import library, metrics
    finally:
        pandas_decorators.deprecate_kwarg = original
    yield sys.modules[library.__name__], metrics


def scores(runs, tasks, shift=0.0, seed=0):
    rng = np.random.default_rng(seed)
    return shift + rng.gamma(2.0, size=(runs, tasks)) + np.arange(tasks)


@pytest.mark.parametrize("runs, tasks", [(1, 1), (3, 1), (5, 1), (10, 1), (7, 3), (20, 6)])
def test_iqm_is_scipys_trimmed_mean(runs, tasks, rliable):
    sample = scores(runs, tasks)
    np.testing.assert_allclose(iqm(sample), scipy.stats.trim_mean(sample, 0.25, axis=None), rtol=1e-13)
    np.testing.assert_allclose(iqm(sample), rliable[1].aggregate_iqm(sample), rtol=1e-13)
    np.testing.assert_allclose(iqm(sample, axis=0), scipy.stats.trim_mean(sample, 0.25, axis=0), rtol=1e-13)


def test_iqm_pools_the_named_axes():
    sample = np.random.default_rng(0).normal(size=(4, 5, 3, 2))
    expected = [[iqm(sample[i, :, :, j].ravel()) for j in range(2)] for i in range(4)]
    np.testing.assert_allclose(iqm(sample, axis=(1, 2)), expected, rtol=1e-13)


def test_iqm_ranks_infinities():
    assert iqm([1.0, 2.0, 3.0, -np.inf]) == 1.5 and iqm([-np.inf, -np.inf, 3.0, 4.0]) == -np.inf


@pytest.mark.parametrize("center, reference", [("iqm", "aggregate_iqm"), ("mean", "aggregate_mean")])
def test_stratified_intervals_agree_with_rliable(center, reference, rliable):
    library, metrics = rliable
    sample = scores(10, 4)
    estimate, low, high = aggregate(sample, getattr(statistics, center), repetitions=20_000, expanded=False)
    np.random.seed(0)  # noqa: NPY002  (the reference draws from NumPy's global generator)
    points, intervals = library.get_interval_estimates(
        {"x": sample}, lambda x: np.array([getattr(metrics, reference)(x)]), reps=4_000
    )
    np.testing.assert_allclose(estimate, points["x"][0], rtol=1e-12)
    width = high - low
    np.testing.assert_allclose([low, high], intervals["x"][:, 0], atol=0.06 * width)


def test_profile_and_improvement_agree_with_rliable(rliable):
    library, metrics = rliable
    a, b, points = scores(8, 3, 0.5, seed=1), scores(6, 3, seed=2), np.linspace(0, 6, 25)
    profile = statistics.performance_profile(a, points, repetitions=500)
    reference, _ = library.create_performance_profile({"a": a}, points, reps=2)
    np.testing.assert_allclose(profile.estimate, reference["a"], rtol=1e-13)
    assert (profile.low <= profile.estimate).all() and (profile.estimate <= profile.high).all()
    better = statistics.probability_of_improvement(a, b, repetitions=500)
    np.testing.assert_allclose(better.estimate, metrics.probability_of_improvement(a, b), rtol=1e-13)
    assert better.low < better.estimate < better.high
    same = statistics.probability_of_improvement(a, a, repetitions=10)
    assert same.estimate == 0.5


def test_interval_of_a_mean_has_the_bootstraps_known_width():
    sample = np.random.default_rng(3).normal(size=400)
    estimate, low, high = aggregate(sample, statistics.mean, repetitions=20_000)
    half = 1.959964 * sample.std() / np.sqrt(400)  # the bootstrap's standard error is the plug-in one
    np.testing.assert_allclose([estimate - low, high - estimate], half, rtol=0.04)


def test_interval_is_the_exact_bootstrap_quantile():
    """Of three runs 0, 0, 1 the resampled mean is k/3 with k ~ Binomial(3, 1/3): P(0) = 8/27, P(1) = 1/27."""
    options = {"repetitions": 20_000, "expanded": False}
    estimate, low, high = aggregate([0.0, 0.0, 1.0], statistics.mean, **options)
    assert (float(estimate), float(low), float(high)) == (1 / 3, 0.0, 1.0)
    assert aggregate([0.0, 0.0, 1.0], statistics.mean, confidence=0.9, **options).high == pytest.approx(2 / 3)


@pytest.mark.parametrize("runs", [5, 8, 20])
def test_expanded_intervals_of_a_mean_are_as_wide_as_students(runs):
    """Of a sample at the normal distribution's quantiles, whose resampled means are nearly normal."""
    sample = scipy.stats.norm.ppf((np.arange(runs) + 0.5) / runs)
    _, low, high = aggregate(sample, statistics.mean, repetitions=100_000)
    half = scipy.stats.t.ppf(0.975, runs - 1) * sample.std(ddof=1) / np.sqrt(runs)
    assert 0.5 * (high - low) == pytest.approx(half, rel=0.08)
    _, low, high = aggregate(sample, statistics.mean, repetitions=100_000, expanded=False)
    assert 0.5 * (high - low) < 0.97 * half


def test_expanded_intervals_of_unequal_samples_are_as_wide_as_welchs():
    few, many = (scipy.stats.norm.ppf((np.arange(runs) + 0.5) / runs) for runs in (6, 200))
    _, low, high = bootstrap(statistics.difference(statistics.mean), few, many, repetitions=100_000)
    parts = np.array([few.var(ddof=1) / 6, many.var(ddof=1) / 200])
    freedom = parts.sum() ** 2 / (parts**2 / [5, 199]).sum()
    assert freedom < 6  # not the 204 of both together
    half = scipy.stats.t.ppf(0.975, freedom) * np.sqrt(parts.sum())
    assert 0.5 * (high - low) == pytest.approx(half, rel=0.08)


def test_a_statistic_of_many_samples_is_resampled_in_large_chunks():
    """The product of 16 lengths of 20 is beyond 64 bits; a chunk is bounded by what is held, their sum."""
    counts = []

    def statistic(*samples):
        counts.append(len(samples[0]))
        return sum(sample.mean(axis=(1, 2)) for sample in samples)

    found = bootstrap(statistic, *(np.arange(20.0) for _ in range(16)), repetitions=5000)
    assert counts == [5000, 1]  # the last is the estimate
    assert found.low < found.estimate == 16 * 9.5 < found.high


@pytest.mark.parametrize("center", [iqm, statistics.mean])
def test_expanded_intervals_of_a_difference_miss_the_truth_in_one_case_of_twenty(center):
    """Two samples of five without any difference; the plain percentile interval misses it twice as often."""
    rng = np.random.default_rng(0)
    missed = {True: 0, False: 0}
    for _ in range(400):
        a, b = rng.normal(size=(2, 5))
        for expanded in missed:
            found = bootstrap(statistics.difference(center), a, b, repetitions=1000, expanded=expanded)
            missed[expanded] += bool(found.low > 0 or found.high < 0)
    assert missed[True] <= 400 * 0.08 and missed[False] > 1.4 * missed[True]


def test_a_single_run_has_an_interval_of_no_width_and_no_warning():
    assert aggregate([3.0]) == (3.0, 3.0, 3.0)


def test_closeness_is_what_is_left_of_a_margin():
    a, b = np.array([1.0, 2.0, 3.0]), np.array([2.0, 3.0, 4.5])
    close = statistics.closeness(2.0, statistics.mean)
    assert bootstrap(close, a, b, repetitions=20).estimate == pytest.approx(2.0 - 3.5 / 3)


def test_curves_keep_time_and_do_not_depend_on_chunking(monkeypatch):
    curve = np.random.default_rng(0).normal(size=(6, 1, 40))
    whole = aggregate(curve, repetitions=300)
    assert whole.low.shape == (40,)
    np.testing.assert_allclose(whole.estimate, iqm(curve, axis=(0, 1)))
    assert (whole.low < whole.high).all()
    monkeypatch.setattr(statistics, "_CHUNK", 6 * 40 * 7)
    again = aggregate(curve, repetitions=300)
    np.testing.assert_array_equal(whole.low, again.low)
    np.testing.assert_array_equal(whole.high, again.high)


def test_undecided_resamples_widen_to_both_sides():
    infinite = np.full(5, np.inf)
    estimate, low, high = bootstrap(statistics.log_ratio(), infinite, infinite, repetitions=50)
    assert np.isnan(estimate) and low == -np.inf and high == np.inf
    estimate, low, high = bootstrap(statistics.log_ratio(), infinite, np.full(5, 100.0), repetitions=50)
    assert low == estimate == high == np.inf


def test_log_ratio_and_difference_have_their_values():
    a, b = np.array([400.0, 800.0, 1600.0]), np.array([100.0, 200.0, 50.0])
    assert bootstrap(statistics.log_ratio(), a, b, repetitions=20).estimate == pytest.approx(np.log(8))
    assert bootstrap(statistics.difference(statistics.mean), a, b, repetitions=20).estimate == pytest.approx(2450 / 3)


def test_same_seed_same_interval_other_seed_other_interval():
    sample = scores(9, 1)
    one, two = aggregate(sample, repetitions=200), aggregate(sample, repetitions=200)
    assert (one.low, one.high) == (two.low, two.high)
    assert one.low != aggregate(sample, repetitions=200, seed=1).low


@pytest.mark.parametrize("bad", [[], [np.nan, 1.0], np.zeros((0, 3))])
def test_empty_or_undefined_samples_are_refused(bad):
    with pytest.raises(ValueError, match="a sample must be"):
        aggregate(bad)


def test_steps_to_is_the_first_crossing_and_censors():
    step = [0, 100, 200, 300]
    value = [[0.0, 5.0, 2.0, 9.0], [0.0, 1.0, 2.0, 3.0], [np.nan, -np.inf, 5.0, np.nan]]
    np.testing.assert_array_equal(steps_to(step, value, 5.0), [100, np.inf, 200])
    np.testing.assert_array_equal(steps_to(step, value, 5.0, budget=150), [100, np.inf, np.inf])
