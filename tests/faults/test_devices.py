"""Interrupted, and ended on another number of devices or in another batching: said, and stored."""

import pytest
import states
import subjects

from mbrl_jax import results


class CrashError(RuntimeError):
    """Ends a run in its middle."""


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    """Two lanes: one on each of two devices."""
    return states.Subject(subjects.case_run("a2c", 4, (3, 0), every=1), tmp_path_factory.mktemp("a2c"))


def crashed(subject, root, batching, devices):
    """Trains half of the run."""

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


def test_another_batching_rounds_otherwise_and_is_said(subject, tmp_path, capsys):
    assert goes_on(subject, tmp_path, ("vmap", 2), ("map", 1)) in capsys.readouterr().err


@pytest.mark.slow
def test_side_by_side_the_number_of_devices_rounds_otherwise_and_is_said(subject, tmp_path, capsys):
    assert goes_on(subject, tmp_path, ("vmap", 2), ("vmap", 1)) in capsys.readouterr().err
