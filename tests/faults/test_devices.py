"""Interrupted on one device and ended on two, or the other way about: the bits of a run in one piece."""

import pytest
import states
import subjects
from cases import MODULES

QUICK = ("a2c",)


class CrashError(RuntimeError):
    """Ends a run in its middle."""


def moved(subject, root, devices):
    """Trains to the middle on so many devices, then to the end on the other number; what is said in between."""

    def crash(step, means):
        if step == subject.run.config.steps // 2:
            raise CrashError

    with pytest.raises(CrashError):
        subject.train(root, devices, states.OFTEN._replace(chunk_seconds=1e-9, sinks=(crash,)))
    assert list((subject.folder(root) / "checkpoints").iterdir())
    return subject.outcome(root, 3 - devices)


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in MODULES]
)
@pytest.mark.parametrize("lanes", (2, pytest.param(3, marks=pytest.mark.slow)))
def test_the_number_of_devices_may_change_on_the_way(name, lanes, tmp_path):
    """Two lanes are one on each of two devices: a loop of one turn, which a compiler would rather not have."""
    subject = states.Subject(subjects.case_run(name, 4, tuple(range(lanes)), every=1), tmp_path)
    for devices in (1, 2):
        assert moved(subject, tmp_path / f"from-{devices}", devices) == ""
