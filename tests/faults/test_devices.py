"""Interrupted, and ended on another number of devices or in another batching: what holds of every algorithm, and said.

`make test` tries one algorithm; the slow tests all.
"""

import pytest
import states
import subjects

from mbrl_jax import results
from mbrl_jax.algorithms import REGISTRY


class CrashError(RuntimeError):
    """Ends a run in its middle."""


@pytest.fixture(scope="module")
def subject(request, tmp_path_factory):
    """Two lanes: one on each of two devices."""
    run, root = subjects.case_run(request.param, 4, (3, 0), every=1), tmp_path_factory.mktemp(request.param)
    return states.Subject(run, root, rounds=request.param in subjects.ROUNDS)


def crashed(subject, root, batching, devices):
    """Trains half of the run; its newest checkpoint is older."""

    def crash(step, means):
        if step == subject.run.config.steps // 2:
            raise CrashError

    options = states.OFTEN._replace(chunk_seconds=1e-9, batching=batching, sinks=(crash,))
    with pytest.raises(CrashError):
        subject.train(root, devices, options)
    assert list((subject.folder(root) / "checkpoints").iterdir())


def goes_on(subject, root, before, after):
    crashed(subject, root, *before)
    subject.train(root, after[1], states.OFTEN._replace(batching=after[0]))
    facts = results.manifest(root, subject.identity)
    assert (facts["batching"], facts["devices"]) == after
    first, then = (f"--batching {batching} --devices {devices}" for batching, devices in (before, after))
    return f"was begun with {first} and goes on with {then}: its last digits may differ"


def test_of_every_algorithm_it_is_stated_whether_it_keeps_every_bit():
    assert sorted((*subjects.EXACT, *subjects.ROUNDS)) == sorted(REGISTRY)


QUICK = ("a2c",)
"""Its programs compile in seconds."""
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in sorted(REGISTRY) if name not in QUICK]


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
@pytest.mark.parametrize("subject", [*QUICK, *SLOW], indirect=True)
def test_another_number_of_devices_on_the_way(subject, before, after, tmp_path, capsys):
    assert goes_on(subject, tmp_path, ("map", before), ("map", after)) in capsys.readouterr().err
    subject.check(*subject.final(tmp_path), {before, after})


@pytest.mark.parametrize("subject", ["a2c"], indirect=True)
def test_another_batching_rounds_otherwise_and_is_said(subject, tmp_path, capsys):
    assert goes_on(subject, tmp_path, ("vmap", 2), ("map", 1)) in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("subject", ["a2c"], indirect=True)
def test_side_by_side_the_number_of_devices_rounds_otherwise_and_is_said(subject, tmp_path, capsys):
    assert goes_on(subject, tmp_path, ("vmap", 2), ("vmap", 1)) in capsys.readouterr().err
