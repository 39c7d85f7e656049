"""Every notebook runs from top to bottom, at small sizes: those of its cell tagged `sizes` are replaced."""

from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest

import mbrl_jax as mb
from mbrl_jax.agents import sac

FOLDER = Path(__file__).parents[1] / "notebooks"
ALONE = ("bounds",)
"""Run by tests of their own: it computes in double precision."""
TINY = {"steps": 20, "warmup_steps": 8, "steps_per_iteration": 10, "batch": 4, "agent": sac.Config(hidden=(8,))}
MODEL = {"hidden": (8,), "weight_decay": (1e-5, 1e-5), "members": 2, "elites": 1, "batch": 16, "max_epochs": 2}
DREAMS = {"model_train_freq": 10, "epoch_length": 10, "rollout_batch": 8, "updates_per_step": 1, "batch": 20}
SIZES = {
    "artefact": {},
    "first_agent": {"SIZES": TINY, "SEEDS": range(2), "EVAL_EVERY": 10},
    "objective_mismatch": {},
    "own_algorithm": {"HIDDEN": (8,), "STEPS": 100, "ITERATIONS": 1},
    "own_environment": {"SIZES": TINY, "EVAL_EVERY": 10},
    "own_model_loss": {
        "AGENT": {"hidden": (8,)},
        "MODEL": MODEL,
        "SIZES": {"steps": 20, "warmup_steps": 40, **DREAMS},
        "SEEDS": 1,
        "EVAL_EVERY": 10,
    },
    "sweep": {"SIZES": TINY, "SEEDS": 2, "EVAL_EVERY": 10, "RATES": np.array([1e-4, 1e-3], np.float32)},
}
QUICK = ("artefact", "objective_mismatch")


def cells(name):
    """The code of a notebook, and whether it is that of its sizes."""
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [(cell.source, "sizes" in cell.metadata.get("tags", ())) for cell in code]


def test_every_notebook_is_run():
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == {*SIZES, *ALONE}


@pytest.mark.filterwarnings("ignore:FigureCanvasAgg")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in sorted(SIZES)]
)
def test_a_notebook_runs(name, tmp_path, monkeypatch, capsys):
    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mb, "configure", lambda: None)  # JAX runs already, with the settings of the tests
    names = {}
    for place, (code, of_sizes) in enumerate(cells(name)):
        exec(compile(code, f"{name}, code cell {place + 1}", "exec"), names)
        if of_sizes:
            assert set(SIZES[name]) == {each for each in names if each.isupper() and each in code}
            names |= SIZES[name]
    plt.close("all")
    assert any(of_sizes for _, of_sizes in cells(name)) == bool(SIZES[name])


def test_the_skeletons_are_short():
    lengths = [sum(map(bool, code.splitlines())) for code, _ in cells("own_algorithm") if "class " in code]
    assert len(lengths) == 3 and max(lengths) <= 60
