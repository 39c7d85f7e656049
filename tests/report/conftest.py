"""Synthetic results, written by the tests themselves into temporary folders."""

import pytest
from synthetic import writer


@pytest.fixture
def write(tmp_path):
    """`write(algorithm, env, ...)` saves a synthetic run under `tmp_path` and returns its id."""
    return writer(tmp_path)
