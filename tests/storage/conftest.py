import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from server import s3

from mbrl_jax.storage import lease

__all__ = ["s3"]


@pytest.fixture
def short(monkeypatch):
    """Leases that count for two seconds."""
    monkeypatch.setattr(lease, "SECONDS", 2.0)
