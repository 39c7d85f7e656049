"""The wheel, in an empty environment outside the clone: needs the package index, and some minutes."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
FIRST = ROOT / "notebooks" / "first_agent.ipynb"
RETURNS = {"Q-learning": 451, "MnM": 451, "VMBPO": 320}
"""Figure 3a of Mismatched no More, as its authors' notebook computes it."""

pytestmark = pytest.mark.slow


def ran(*words, cwd, **variables):
    """A command outside the clone, with none of its paths; what it printed."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, env={**inherited, **variables}, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{' '.join(map(str, words))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    ran(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, ROOT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The programs of an environment that holds the wheel and what it needs, pinned."""
    folder = tmp_path_factory.mktemp("environment")
    ran(sys.executable, "-m", "venv", folder, cwd=folder)
    wanted = ("-c", ROOT / "constraints.txt", wheel, "nbclient", "ipykernel")
    ran(folder / "bin" / "python", "-m", "pip", "install", "-q", *wanted, cwd=folder)
    return folder / "bin"


def test_a_wheel_brings_one_package_and_all_experiments(wheel):
    held = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in held}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"mbrl_jax"}
    ours = {f"mbrl_jax/_{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "experiments").rglob("*.py")}
    assert len(ours) > 50 and ours <= set(held) and "mbrl_jax/py.typed" in held


def test_the_installed_package_lists_and_reproduces_a_figure(installed, tmp_path):
    code = "import importlib.util, mbrl_jax; print(mbrl_jax.__file__, importlib.util.find_spec('experiments'))"
    place, nothing = ran(installed / "python", "-c", code, cwd=tmp_path).split()
    assert Path(place).is_relative_to(installed.parent) and nothing == "None"
    assert "mnm/figure3a" in ran(installed / "mbrl", "list", cwd=tmp_path)
    ran(installed / "mbrl", "bench", "mnm/figure3a", cwd=tmp_path)
    load = "import mbrl_jax as mb; mb.load('results', experiment='mnm/figure3a').to_csv('found.csv')"
    ran(installed / "python", "-c", load, cwd=tmp_path)
    frame = pd.read_csv(tmp_path / "found.csv")
    final = frame[frame["metric"] == "return"].sort_values("env_step").groupby("algorithm")["value"].last()
    assert final.round().to_dict() == RETURNS


def test_the_first_notebook_runs_there(installed, tmp_path):
    code = f"""
import nbformat
from nbclient import NotebookClient
NotebookClient(nbformat.read({str(FIRST)!r}, as_version=4), timeout=1800, kernel_name="python3").execute()
"""
    ran(installed / "python", "-m", "ipykernel", "install", "--sys-prefix", cwd=tmp_path)
    ran(installed / "python", "-W", "ignore", "-c", code, cwd=tmp_path)
