"""What our programs launch on an accelerator stays within its budgets: counted by XLA's compiler, always the same."""

import json
import subprocess
import sys
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from benchmarks import accelerators
from mbrl_jax.commands.plan import Plan
from mbrl_jax.runner import targets


def rows(target):
    return json.loads(accelerators.file(target).read_text())["rows"]


@pytest.mark.parametrize("target", list(accelerators.BUDGETS))
def test_the_stored_table_is_within_the_budgets_and_holds_every_row_that_has_one(target):
    stored = rows(target)
    assert {each.row for each in accelerators.BUDGETS[target]} <= set(stored)
    assert accelerators.broken(target, stored) == []
    worse = {name: {**row, "kernels": 10**6, "update": 10**6, "peak_gib": 10**6} for name, row in stored.items()}
    assert len(accelerators.broken(target, worse)) >= len(accelerators.BUDGETS[target]) / 2


@pytest.mark.parametrize("target", accelerators.SHOWN)
def test_the_stored_table_is_of_every_program_and_every_body(target):
    assert set(rows(target)) == {*accelerators.PROGRAMS, *(f"step of {name}" for name in accelerators.BODIES)}


def test_the_page_shows_what_is_stored():
    page = (Path(__file__).parents[1] / "docs" / "accelerators.md").read_text()
    assert accelerators.shown() in page, "python -m benchmarks.accelerators prints the tables that belong there"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["step of half_cheetah-v4", "step of hopper-v4"])
def test_the_compiler_still_says_what_is_stored(name):
    if not targets.folder(targets.target("h200")).is_dir():
        pytest.skip("the compiler for NVIDIA's GPUs is not installed; `mbrl plan --target h200` says how")
    code = (
        "import json; from mbrl_jax.runner import targets; targets.prepare('h200'); "
        f"from benchmarks import accelerators; print(json.dumps(accelerators.body('h200', {name.split()[-1]!r})))"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    row = json.loads(said.splitlines()[-1])
    assert row["kernels"] == rows("h200")[name]["kernels"]
    assert accelerators.broken("h200", {name: row}) == []


def test_every_target_is_offered_by_the_command():
    assert set(get_args(get_type_hints(Plan)["target"])) == {*targets.TARGETS, targets.HERE}
