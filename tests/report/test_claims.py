"""Verdicts follow the evidence: clear gaps are judged, few seeds and noise leave a claim open, nothing ever raises."""

import numpy as np
import pandas as pd
import pytest
from synthetic import learning_curve

from mbrl_jax import results
from mbrl_jax.report import select, statistics
from mbrl_jax.report.claims import Claim, Rivals, Samples, Verdict, judge

EMPTY = pd.DataFrame()


def claim(gap, **changes):
    return Claim(text="a is better", source="Someone 2020, Section 5", gap=lambda frame: gap, **changes)


def test_paired_gaps():
    rng = np.random.default_rng(0)
    clear = judge(claim(rng.normal(3, 1, 12)), EMPTY)
    assert clear.verdict is Verdict.HOLDS and 0 < clear.low < clear.estimate < clear.high and clear.n_seeds == 12
    assert judge(claim(rng.normal(-3, 1, 12)), EMPTY).verdict is Verdict.FAILS
    unclear = judge(claim(rng.normal(0, 1, 12)), EMPTY)
    assert unclear.verdict is Verdict.OPEN and "contains zero" in unclear.note


def test_too_few_seeds_never_decide():
    few = judge(claim(np.full(4, 5.0)), EMPTY)
    assert few.verdict is Verdict.OPEN and "at least 5 seeds, there are 4" in few.note and few.low == 5.0
    assert judge(claim(np.full(5, 5.0)), EMPTY).verdict is Verdict.HOLDS


def test_false_verdicts_without_an_effect_are_rare():
    """Eight seeds, no effect: a 95 % interval of the mean misses zero in about one case in twenty."""
    rng = np.random.default_rng(0)
    verdicts = [judge(claim(rng.normal(size=8), center=statistics.mean), EMPTY, repetitions=400) for _ in range(400)]
    wrong = np.mean([verdict.verdict is not Verdict.OPEN for verdict in verdicts])
    assert 0.02 < wrong < 0.09


def test_the_best_of_several_must_beat_every_one():
    rng = np.random.default_rng(0)
    ours, rivals = rng.normal(3, 1, 20), [rng.normal(center, 1, 20) for center in (0.0, 0.5, 1.0)]
    best = judge(claim(Rivals(ours, rivals)), EMPTY)
    assert best.verdict is Verdict.HOLDS and best.n_seeds == 20 and "smallest of 3 gaps" in best.note
    closest = judge(claim(Samples(ours, rivals[2])), EMPTY)
    assert best.low == closest.low and best.estimate == closest.estimate and best.high >= closest.high
    assert judge(claim(Rivals(ours, [*rivals, rng.normal(6, 1, 20)])), EMPTY).verdict is Verdict.FAILS
    assert judge(claim(Rivals(ours, [*rivals, ours + 0.01])), EMPTY).verdict is Verdict.OPEN
    assert judge(claim(Rivals(ours, [])), EMPTY).note == "there is no rival"


def test_equals_among_many_are_seldom_called_beaten():
    """Eight samples alike: taking the best of seven for a rival without correction fails one claim in nine."""
    rng = np.random.default_rng(1)
    failed = 0
    for _ in range(100):
        ours, *rivals = rng.normal(size=(8, 20))
        failed += judge(claim(Rivals(ours, rivals)), EMPTY, repetitions=1000).verdict is Verdict.FAILS
    assert failed <= 6


def test_undecided_seeds_count_against_both_verdicts():
    gaps = np.array([2.0, 2.1, 1.9, 2.2, 2.0, 1.8, 2.1, 2.0])
    assert judge(claim(gaps), EMPTY).verdict is Verdict.HOLDS
    gaps[:4] = np.nan
    open_ = judge(claim(gaps), EMPTY)
    assert open_.verdict is Verdict.OPEN and open_.low == -np.inf and "4 of 8 seeds" in open_.note
    assert judge(claim(np.full(8, np.nan)), EMPTY).verdict is Verdict.OPEN


def test_unpaired_samples_of_censored_steps():
    slow, fast = np.array([np.inf] * 6 + [4000.0, 4500.0]), np.array([900.0, 1100, 1000, 1200, 950, 1300])
    wins = judge(claim(select.Times(slow, fast, 5000.0)), EMPTY)
    assert wins.verdict is Verdict.HOLDS and wins.estimate == pytest.approx(np.log(5000 / 1050))
    assert np.log(4000 / 1300) < wins.low <= wins.estimate and wins.high == np.inf
    assert wins.n_seeds == 6 and "not within 5,000 steps: 6 of 8 of the slower, 0 of 6 of the faster" in wins.note
    loses = judge(claim(select.Times(fast, slow, 5000.0)), EMPTY)
    assert loses.verdict is Verdict.FAILS and loses.low == -np.inf
    assert loses.high == pytest.approx(-wins.low, abs=0.03)  # other resamples
    never = judge(claim(select.Times(slow[:5], slow[:5], 5000.0)), EMPTY)
    assert never.verdict is Verdict.OPEN and (never.low, never.high) == (-np.inf, np.inf) and np.isnan(never.estimate)


def test_where_every_run_gets_there_times_are_a_plain_log_ratio():
    slow, fast = np.array([4000.0, 4500, 3000, 3500, 5000]), np.array([900.0, 1100, 1000, 1200, 950])
    one = judge(claim(select.Times(slow, fast, 5000.0)), EMPTY)
    other = judge(claim(Samples(slow, fast, statistics.log_ratio())), EMPTY)
    assert (one.estimate, one.low, one.high) == (other.estimate, other.low, other.high) and one.note == other.note


@pytest.mark.parametrize(
    "gaps, verdict",
    [([1e-3, 2.0], Verdict.HOLDS), ([1.0, -1e-3], Verdict.FAILS), ([0.0, 1e-12], Verdict.OPEN), ([], Verdict.OPEN)],
)
def test_exact_claims(gaps, verdict):
    judged = judge(claim(np.array(gaps), tolerance=1e-9), EMPTY)
    assert judged.verdict is verdict
    if gaps:
        assert (judged.low, judged.high) == (min(gaps), max(gaps)) and "tolerance 1e-09" in judged.note
        assert judged.exact and judged.n_seeds == 0


def test_missing_data_and_bugs_leave_a_claim_open_with_the_reason(write, tmp_path):
    write("mbpo")
    frame = results.load(tmp_path)
    missing = judge(Claim(text="t", source="s", gap=lambda r: select.paired(r, "mbpo", "sac")), frame)
    assert missing.verdict is Verdict.OPEN and missing.note == "no results for sac: eval/return_mean"
    broken = judge(Claim(text="t", source="s", gap=lambda r: r["no such column"]), frame)
    assert broken.verdict is Verdict.OPEN and "KeyError" in broken.note


def test_diverged_seeds_count_as_the_worst_outcome(write, tmp_path):
    write("mbpo", speed=2.0, diverged={2: 1000})
    write("sac", speed=0.9)
    frame = results.load(tmp_path)
    better = Claim(text="t", source="s", gap=lambda r: select.paired(r, "mbpo", "sac", at=3000))
    one = judge(better, frame)
    assert one.n_diverged == 1 and one.n_seeds == 8 and one.low < one.estimate
    assert select.final(frame, "mbpo", at=3000)[2] == -np.inf
    write("mbpo", speed=2.0, diverged=dict.fromkeys(range(6), 1000))
    assert judge(better, results.load(tmp_path)).verdict is Verdict.FAILS


def test_selection(write, tmp_path):
    write("mbpo", speed=3.0)
    write("sac", budget=3000, speed=0.3, seeds=range(2, 7))
    frame = results.load(tmp_path)
    found = select.curves(frame, "mbpo")
    assert found.value.shape == (8, 26) and found.env_step[-1] == 5000 and found.seeds.tolist() == list(range(8))
    assert select.paired(frame, "mbpo", "sac", at=3000).shape == (5,)
    fast, slow = select.steps_until(frame, 900.0, "mbpo", "sac")
    assert (fast <= 3000).all() and np.isinf(slow).all()
    with pytest.raises(select.MissingDataError, match="around step 5,000"):
        select.final(frame, "sac", at=5000)
    with pytest.raises(ValueError, match="one run"):
        select.curves(pd.concat([frame, frame.assign(run="other")]), "mbpo")
    write("mbpo", env="pendulum-v1")
    with pytest.raises(select.MissingDataError, match="name one environment"):
        select.curves(results.load(tmp_path), "mbpo")


def test_divergence_after_the_last_evaluation_still_counts(write, tmp_path):
    write("mbpo", diverged={0: 4999})
    frame = results.load(tmp_path)
    frame = frame[frame["env_step"] < 4900]
    assert select.final(frame, "mbpo")[0] == -np.inf
    assert select.curves(frame, "mbpo", worst=np.inf).value[0, -1] == np.inf


def test_an_algorithm_whose_seeds_all_diverged_has_failed_not_vanished(write, tmp_path):
    write("mbpo", speed=3.0)
    write("sac", metrics=learning_curve(range(8), 1000, 1.0, 500.0, 1.0), diverged=dict.fromkeys(range(8), 1000))
    frame = results.load(tmp_path)
    assert (select.final(frame, "sac", at=5000) == -np.inf).all()
    fast, slow = select.steps_until(frame, 900.0, "mbpo", "sac")
    assert np.isfinite(fast).all() and np.isinf(slow).all()


def test_claims_refuse_a_negative_tolerance():
    with pytest.raises(ValueError, match="got -1"):
        claim(np.zeros(1), tolerance=-1)
