import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "storage"))

import tiny
from server import s3

from mbrl_jax.runner import loop

__all__ = ["finished", "s3"]


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The folder of a run that went to its end in one piece: lanes one after the other, long chunks."""
    root = tmp_path_factory.mktemp("finished")
    loop.train(tiny.run(), root, loop.Options(batching="map", quiet=True))
    return root
