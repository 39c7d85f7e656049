"""Environments are found by listing the package, and by the path of a module of one's own."""

import subprocess
import sys

import pytest

from mbrl_jax import cli, envs
from mbrl_jax.algorithms import preset, sac
from mbrl_jax.envs import registry
from mbrl_jax.runner.run import Run

WORLDS = """
from mbrl_jax.envs import lqr

ENVS = {"maze-v0": lqr.make}
"""


@pytest.fixture
def worlds(monkeypatch, tmp_path):
    """A module `mylab_worlds` with one environment."""
    (tmp_path / "mylab_worlds.py").write_text(WORLDS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mylab_worlds", raising=False)


@pytest.fixture
def package(monkeypatch, tmp_path):
    """`package(name, source)` writes a module as if into `mbrl_jax.envs`."""
    written = []

    def write(name, source):
        (tmp_path / f"{name}.py").write_text(source)
        monkeypatch.setattr(envs, "__path__", [*envs.__path__, str(tmp_path)])
        written.append(name)

    yield write
    for name in written:
        sys.modules.pop(f"mbrl_jax.envs.{name}", None)
        if hasattr(envs, name):
            delattr(envs, name)


def test_a_file_in_the_package_adds_environments(package):
    package("mazes", WORLDS)
    assert set(registry._listed()) - set(envs.names()) == {"maze-v0"}


def test_two_modules_may_not_state_one_name(package):
    package("zoo", WORLDS.replace("maze-v0", "gridworld-v0"))
    with pytest.raises(ValueError, match=r"one module, mbrl_jax\.envs\.zoo repeats gridworld-v0"):
        registry._listed()


def test_an_environment_is_found_by_its_modules_path(worlds):
    name = envs.resolve("mylab_worlds:maze-v0")
    env = envs.make(name, time_limit=7)
    assert env.spec.name == "maze-v0" and env.spec.time_limit == 7 and envs.engines(name) == ("jax",)
    assert envs.make(name) is envs.make(name)
    wrapped = envs.make("mylab_worlds:maze_distractors_3_0-v0", time_limit=7)
    assert wrapped.spec.name == "maze_distractors_3_0-v0" and wrapped.spec.obs_dim == env.spec.obs_dim + 3
    assert preset("mbpo", "mylab_worlds:pendulum-v1") == preset("mbpo", "pendulum-v1")


def test_a_run_in_it_does_not_depend_on_the_path(worlds, tmp_path):
    (tmp_path / "moved.py").write_text(WORLDS)
    config = sac.Config(steps=250)
    places = ("mylab_worlds:maze-v0", "moved:maze-v0")
    runs = [Run(experiment="t", algorithm="SAC", method="sac", config=config, env=place) for place in places]
    first, second = (one.run_id(one.environment()) for one in runs)
    assert first == second


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mylab_worlds:mase-v0", "environment of mylab_worlds must be .* did you mean 'maze-v0'"),
        ("nowhere.worlds:maze-v0", "a module that Python finds, got 'nowhere.worlds'"),
        ("json:maze-v0", "states ENVS, names with functions .*, json does not"),
    ],
)
def test_what_is_wrong_with_a_path_is_said(worlds, name, message):
    with pytest.raises(ValueError, match=message):
        envs.make(name)


def test_the_command_line_finds_modules_in_the_folder_it_is_called_in(monkeypatch, tmp_path, capsys):
    (tmp_path / "hereonly.py").write_text(WORLDS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    with pytest.raises(SystemExit, match="0"):
        cli.main(["train", "sac", "--env", "hereonly:maze-v0", "--help"])
    assert "the preset for hereonly:maze-v0" in " ".join(capsys.readouterr().out.replace("│", " ").split())


def test_listing_imports_no_physics_engine():
    check = "import sys; from mbrl_jax import envs; envs.names(); assert 'mujoco' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True)
