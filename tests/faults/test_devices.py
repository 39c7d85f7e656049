"""Interrupted on one device and ended on two, or the other way about: the bits of a run in one piece."""

import pytest
import states
import subjects
from cases import MODULES

from mbrl_jax import results

QUICK = "a2c"


class CrashError(RuntimeError):
    """Ends a run in its middle."""


@pytest.fixture(
    scope="module",
    params=[name if name == QUICK else pytest.param(name, marks=pytest.mark.slow) for name in MODULES],
)
def subject(request, tmp_path_factory):
    """Two lanes are one on each of two devices: a loop of one turn. (`test_crashes` has three.)"""
    run = subjects.case_run(request.param, 4, (3, 0), every=1)
    return states.Subject(run, tmp_path_factory.mktemp(request.param))


def crashed(subject, root, batching, devices):
    """Trains half of the run."""

    def crash(step, means):
        if step == subject.run.config.steps // 2:
            raise CrashError

    options = states.OFTEN._replace(chunk_seconds=1e-9, batching=batching, sinks=(crash,))
    with pytest.raises(CrashError):
        subject.train(root, devices, options)
    assert list((subject.folder(root) / "checkpoints").iterdir())


@pytest.mark.parametrize("devices", (1, 2))
def test_the_number_of_devices_may_change_on_the_way(subject, devices, tmp_path, capsys):
    crashed(subject, tmp_path, "map", devices)
    assert results.manifest(tmp_path, subject.identity)["devices"] == devices
    assert subject.outcome(tmp_path, 3 - devices) == ""
    assert results.manifest(tmp_path, subject.identity)["devices"] == 3 - devices
    assert "warning" not in capsys.readouterr().err


def goes_on(subject, root, before, after):
    crashed(subject, root, *before)
    subject.train(root, after[1], states.OFTEN._replace(batching=after[0]))
    facts = results.manifest(root, subject.identity)
    assert (facts["batching"], facts["devices"]) == after
    first, then = (f"--batching {batching} --devices {devices}" for batching, devices in (before, after))
    return f"was begun with {first} and goes on with {then}: its last digits will differ"


def test_another_batching_rounds_otherwise_and_is_said(subject, tmp_path, capsys):
    if subject.run.algorithm != QUICK:
        pytest.skip("one is enough")
    assert goes_on(subject, tmp_path, ("vmap", 2), ("map", 1)) in capsys.readouterr().err


@pytest.mark.slow
def test_side_by_side_the_number_of_devices_rounds_otherwise_and_is_said(subject, tmp_path, capsys):
    """As on accelerators: the lanes of a device are one batch."""
    if subject.run.algorithm != QUICK:
        pytest.skip("one is enough")
    assert goes_on(subject, tmp_path, ("vmap", 2), ("vmap", 1)) in capsys.readouterr().err
