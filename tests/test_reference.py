"""The stored reference results are what the artefacts of today would train: no run of theirs is asked for in vain."""

from pathlib import Path

import pytest

from mbrl_jax import results
from mbrl_jax.commands import artefacts
from mbrl_jax.runner import work

REFERENCE = Path(__file__).parents[1] / "results" / "reference"
LAPTOP = REFERENCE / "laptop-amd-epyc-2-cores"
SIZES = REFERENCE / "laptop-amd-epyc-2-cores-dam-sizes"
BY_NAME = (
    "dam/sensitivity",
    "dam/figure1",
    "dam/figure2",
    "vagram/distractors",
    "mao/figure2",
    "mao/figure3",
    "mao/table1",
    "mao/slbo",
    "mnm/figure4a",
    "mnm/figure4b",
    "mnm/figure5",
    "mnm/figure10",
    "mnm/slope",
    "mbpo/hopper",
    "mbpo/pets",
)
FOLDERS = {
    LAPTOP: lambda one: "laptop" not in one.on_request or one.name in BY_NAME,
    SIZES: lambda one: one.name in ("dam/sizes", "dam/fits"),
}
"""The folders and which artefacts each holds, as their README says."""


class MissingError(Exception):
    """A run is not in the store, and would be trained now."""


def asked_for(monkeypatch, folder, artefact):
    """The ids of the runs that the artefact's laptop profile looks for; the first that is not there is an error."""
    found, honest = set(), results.finished

    def finished(root, run):
        if not honest(root, run):
            raise MissingError(f"{artefact.name} would train {run}")
        found.add(run)
        return True

    def save(root, run, metrics, manifest, arrays=None):
        del metrics, arrays
        if not honest(root, run):
            raise MissingError(f"{artefact.name} would store {run} of {manifest['experiment']}")
        found.add(run)

    monkeypatch.setattr(results, "finished", finished)
    monkeypatch.setattr(results, "save", save)
    planned = artefact.jobs("laptop")
    work.perform([one for one in planned if one.run], folder)  # a film needs a final state, which is not kept there
    assert found == {one.identity for one in planned if one.run}
    return found


def stored(folder):
    """The ids of a folder's runs."""
    return {path.parent.name for path in folder.glob("runs/*/manifest.json")}


@pytest.fixture(scope="module")
def known():
    found, broken = artefacts.discover()
    assert broken == {}
    return found


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_artefacts_ask_for_exactly_the_stored_runs(monkeypatch, known, folder):
    chosen = [one for one in known.values() if FOLDERS[folder](one)]
    asked = set()
    for one in chosen:
        with monkeypatch.context() as patched:
            asked |= asked_for(patched, folder, one)
    assert asked == stored(folder)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_manifest_names_the_folder_it_is_in(folder):
    named = {path.parent.name: results.manifest(folder, path.parent.name)["run"] for path in folder.glob("runs/*/m*")}
    assert len(named) > 50 and named == {run: run for run in named}


def test_a_run_that_is_not_stored_is_noticed(monkeypatch, known, tmp_path):
    with pytest.raises(MissingError, match="mbpo/figure2 would train"):
        asked_for(monkeypatch, tmp_path, known["mbpo/figure2"])
