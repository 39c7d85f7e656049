"""JAX's own promotions of types and axes, for functions of other packages that rely on them.

The package itself promotes neither: it can be traced with `JAX_NUMPY_DTYPE_PROMOTION=strict` and
`JAX_NUMPY_RANK_PROMOTION=raise`, as all its tests are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import jax

__all__ = ["promoting"]


@contextlib.contextmanager
def promoting() -> Iterator[None]:
    """Promotions as JAX has them by default, whatever the caller has set; a decorator, too."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield
