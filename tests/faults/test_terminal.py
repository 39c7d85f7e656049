"""Terminals and machines that are not what one expects: ASCII alone, a reader that leaves, no home, no folder yet."""

import io
import os
import pwd

import pytest

from mbrl_jax import cli
from mbrl_jax.commands import doctor, train, words
from mbrl_jax.runner import setup

CONFIGURE = setup.configure


@pytest.fixture(autouse=True)
def configured(monkeypatch):
    """JAX runs already, with the settings of the tests."""
    monkeypatch.setattr(setup, "configure", lambda cpu_devices=None: None)


def code(*words):
    with pytest.raises(SystemExit) as stopped:
        cli.main(words)
    return stopped.value.code


@pytest.mark.parametrize(
    "command",
    [("train", "sac", "--env", "pendulum", "--help"), ("report",), ("list", "algorithms"), ("--help",)],
    ids=str,
)
def test_a_terminal_that_knows_ascii_alone_gets_everything(command, monkeypatch, tmp_path):
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding="ascii"))
    monkeypatch.chdir(tmp_path)
    assert code(*command) == 0
    said = written.getvalue().decode("ascii")
    assert len(said) > 100 and (command[0] != "train" or "\\u03b1 before training" in said)


@pytest.mark.parametrize("command", [("list", "environments"), ("train", "sac", "--help"), ("--help",)], ids=str)
def test_a_reader_that_has_read_enough_ends_a_command_without_a_word(command, monkeypatch, capsys):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", encoding="utf-8") as pipe:
        monkeypatch.setattr("sys.stdout", pipe)
        assert code(*command) == 141  # as the signal would have it
    assert capsys.readouterr().err == ""


@pytest.fixture
def homeless(monkeypatch):
    """A machine on which this user has no home directory."""

    def unknown(number):
        raise KeyError(number)

    for name in ("HOME", "XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


@pytest.mark.filterwarnings("ignore:JAX is already running")
def test_without_a_home_directory_programs_are_not_kept(homeless, monkeypatch, capsys):
    changed = []
    monkeypatch.setattr(setup.jax.config, "update", lambda name, value: changed.append(name))
    CONFIGURE(2)
    assert not [name for name in changed if "cache" in name]
    assert doctor._check("cache", doctor._cache, False) == 0
    assert "'~' must stand for a home directory that is known here, got '~/.cache'" in capsys.readouterr().out


@pytest.mark.parametrize("word", ["1e5", "100000", "100_000", "1.0e5", "+1E5"])
def test_whole_numbers_are_read_as_people_write_them(word):
    options, config = train.parse("sac", ["--env", "pendulum", "--steps", word, "--agent.hidden", "1e2", "64"])
    assert config.steps == 100_000 and type(config.steps) is int and config.agent.hidden == (100, 64)
    assert options.eval_every is None


@pytest.mark.parametrize("word", ["1.5", "1e-3", "nan", "inf", "1e400", "ten", ""])
def test_what_is_no_whole_number_is_explained(word, capsys):
    with pytest.raises((ValueError, OverflowError)):
        words.whole(word)
    assert code("train", "sac", "--env", "pendulum", f"--steps={word}") == 2
    assert "--steps" in capsys.readouterr().err


def test_the_doctor_looks_at_a_results_folder_that_is_not_there_yet(tmp_path, capsys):
    wanted = tmp_path / "deep" / "results"
    assert doctor._check("results", lambda: doctor._disk(wanted), True) == 0
    said = capsys.readouterr().out
    assert f"{wanted} can be made in {tmp_path}" in said and not list(tmp_path.iterdir())
    assert doctor._check("results", lambda: doctor._disk(tmp_path), True) == 0
    assert f"{tmp_path} is writable" in capsys.readouterr().out
