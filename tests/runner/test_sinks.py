"""Sinks: what reaches TensorBoard and Weights & Biases, and what is said when they are not installed."""

import dataclasses
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
import tiny

from mbrl_jax.runner import sinks


class Writer:
    """Stands for tensorboardX.SummaryWriter: the part of its interface that is used."""

    made: ClassVar[list] = []

    def __init__(self, logdir):
        self.logdir, self.rows, self.closed = logdir, [], False
        Writer.made.append(self)

    def add_scalar(self, name, value, step):
        self.rows.append((name, value, step))

    def flush(self):
        pass

    def close(self):
        self.closed = True


class Session:
    def __init__(self, **facts):
        self.facts, self.rows, self.finished = facts, [], False

    def log(self, row, step):
        self.rows.append((row, step))

    def finish(self):
        self.finished = True


def test_both_get_the_metrics_and_are_closed(tmp_path, monkeypatch):
    sessions = []
    fake = SimpleNamespace(init=lambda **facts: sessions.append(Session(**facts)) or sessions[-1])
    monkeypatch.setitem(sys.modules, "tensorboardX", SimpleNamespace(SummaryWriter=Writer))
    monkeypatch.setitem(sys.modules, "wandb", fake)
    run = tiny.run()
    with pytest.raises(KeyError), sinks.opened(run, tensorboard=tmp_path, wandb="project") as opened:
        for sink in opened:
            sink(40, {"eval/return_mean": 1.5})
        raise KeyError("training failed")
    (writer,), (session,) = Writer.made, sessions
    assert writer.rows == [("eval/return_mean", 1.5, 40)] and writer.closed
    assert Path(writer.logdir).parent == tmp_path and session.facts["name"].endswith(session.facts["id"][:8])
    assert session.rows == [({"eval/return_mean": 1.5, "env_step": 40}, 40)] and session.finished
    assert session.facts["project"] == "project" and session.facts["id"] == run.run_id(run.environment())
    assert session.facts["config"]["batch"] == tiny.CONFIG.batch


def test_tensorboard_has_one_folder_per_run_whatever_it_is_called(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", SimpleNamespace(SummaryWriter=Writer))
    labels = ("..SAC", "lr.1", "lr-1", "a: b", "long " * 39 + "a", "long " * 39 + "b")
    for label in labels:
        with sinks.opened(dataclasses.replace(tiny.run(), algorithm=label), tensorboard=tmp_path):
            pass
    folders = [Path(writer.logdir) for writer in Writer.made[-len(labels) :]]
    assert len({folder.name.lower() for folder in folders}) == len(labels)
    assert all(folder.parent == tmp_path and len(folder.name) < 100 for folder in folders)


@pytest.mark.parametrize("module, wanted", [("tensorboardX", {"tensorboard": "logs"}), ("wandb", {"wandb": "project"})])
def test_a_missing_package_is_said_before_any_work(module, wanted, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with (
        pytest.raises(sinks.MissingPackageError, match=rf"{module}: python -m pip install .* '\.\[sweep\]'"),
        sinks.opened(tiny.run(), **wanted),
    ):
        pytest.fail("opened")


def test_none_is_asked_for():
    with sinks.opened(tiny.run()) as opened:
        assert opened == []
