"""Jobs are data: each has a name of its own, states what it needs, pickles by name, and knows what it costs."""

import pickle

import jax
import jax.numpy as jnp
import pytest
import tiny

from mbrl_jax import results
from mbrl_jax.commands import artefacts
from mbrl_jax.jobs import Cost, How, Job, distinct
from mbrl_jax.runner import work
from mbrl_jax.runner.executors import attempt

PROFILES = ("smoke", "laptop", "paper")


@pytest.fixture(scope="module")
def known():
    found, broken = artefacts.discover()
    assert broken == {}
    return found


def nothing(root, how):
    del root, how


def made(identity, after=()):
    return Job(identity, "e", identity, tuple(after), Cost(), nothing, run=False)


@pytest.mark.parametrize("profile", PROFILES)
def test_every_artefact_is_jobs_that_pickle_by_name(known, profile):
    everything = {name: one.jobs(profile) for name, one in known.items()}
    for name, jobs in everything.items():
        assert [one.identity for one in distinct(jobs)] == list(dict.fromkeys(one.identity for one in jobs)), name
        for one in jobs:
            again = pickle.loads(pickle.dumps(one))
            assert again.identity == one.identity and again.after == one.after and again.cost.alike == one.cost.alike
    assert len({one.identity for jobs in everything.values() for one in jobs}) > 40


def test_a_job_is_kept_once_and_comes_after_what_it_needs():
    a, b = made("a"), made("b", ["a"])
    assert distinct([a, b, a]) == [a, b]
    with pytest.raises(ValueError, match="b needs a"):
        distinct([b, a])


def test_jobs_are_done_in_order_and_a_finished_run_is_not_repeated(tmp_path, finished, capsys):
    (one,) = work.jobs([tiny.run()])
    before = (finished / "runs" / one.identity / "manifest.json").stat().st_mtime_ns
    work.perform([one], finished, How(quiet=True))
    assert (finished / "runs" / one.identity / "manifest.json").stat().st_mtime_ns == before


def test_a_run_stops_at_its_deadline_with_a_checkpoint_and_goes_on_to_the_same_bits(tmp_path, finished):
    (one,) = work.jobs([tiny.run()])
    assert attempt.state(one, tmp_path).status == "not begun"
    stopped = attempt.attempt(one, tmp_path, How(deadline=1.0, quiet=True))
    assert stopped.ending == "stopped" and "to be resumed" in stopped.reason
    assert results.manifest(tmp_path, one.identity)["status"] == "interrupted"
    assert list((tmp_path / "runs" / one.identity / "checkpoints").iterdir())
    assert attempt.state(one, tmp_path).status == "to resume" and 0 < attempt.state(one, tmp_path).step < 240
    assert attempt.attempt(one, tmp_path, How(quiet=True)).ending == "done"
    assert attempt.state(one, tmp_path)._replace(seconds=0.0) == attempt.State("done", "", 240)
    assert tiny.final_bytes(tiny.run(), tmp_path) == tiny.final_bytes(tiny.run(), finished)


def test_operations_are_counted_by_hand():
    def program(x):
        def body(carry, _):
            return carry @ x, None

        return jax.lax.scan(body, x, None, length=5)[0]

    found = work.traced(jax.make_jaxpr(program)(jnp.ones((3, 3))))
    assert found.flops == 5 * 2 * 27 and found.calls == 1 + 5


def test_what_a_run_costs_grows_with_its_lanes_and_its_length():
    short, long, wide = (
        tiny.run(config=tiny.shorter(80)),
        tiny.run(config=tiny.shorter(160)),
        tiny.run(config=tiny.shorter(80), seeds=(0, 1, 2, 3, 4, 5)),
    )
    a, b, c = (one.cost for one in work.jobs([short, long, wide]))
    assert a.alike == b.alike == c.alike and 2 * a.amount == b.amount == c.amount
    assert a.alike != work.job(tiny.run(config=tiny.shorter(80, batch=16))).cost.alike
    first, second, third = (one.trace() for one in (a, b, c))
    assert 1.5 * first.flops < second.flops and third.flops == 2 * first.flops and third.lanes == 6


def test_what_labels_leave_out_must_not_tell_lanes_apart():
    sweep = (("agent.tau", (0.1, 0.2)), ("agent.gamma", (0.9,)))
    assert tiny.run(sweep=sweep, labelled_by=("agent.tau",)).lanes()[0].label == "SAC[agent.tau=0.1]"
    with pytest.raises(ValueError, match=r"leave out agent\.tau of several"):
        tiny.run(sweep=sweep, labelled_by=("agent.gamma",))
    with pytest.raises(ValueError, match="labels show swept"):
        tiny.run(sweep=sweep, labelled_by=("agent.tau", "agent.lr"))


def test_an_environment_of_ones_own_is_part_of_the_id():
    from functools import partial

    from experiments.dam import common

    def at(*world):
        made_by = partial(common.varied, "icy_road-v0", "other", world)
        run = tiny.run(config=tiny.shorter(80), env="icy_road-v0", made_by=made_by)
        return run.run_id(run.environment())

    assert at() == at() != at(("swerve_probability", 0.6))
