"""How exactly products of matrices are computed: a choice of the run, not of the device that happens to run it.

JAX's own default on an accelerator are TF32 (10 bits of mantissa, NVIDIA) or bfloat16 (7 bits, TPU) for arrays of
float32. The released codes of the papers all ran in float32, and so does this package unless a run says otherwise.
MJX and everything that asks for `highest` itself stay at float32 whatever is chosen.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal, ParamSpec, TypeVar

import jax

from mbrl_jax.checks import shown

__all__ = ["DEVICES", "STANDARD", "Precision", "at_precision", "check_precision"]

P = ParamSpec("P")
T = TypeVar("T")
Precision = Literal["float32", "tensorfloat32", "bfloat16"]
"""What products of float32 arrays are rounded to on their way in; sums are float32 always."""
STANDARD: Precision = "float32"
DEVICES: dict[str, tuple[str, ...]] = {
    "float32": ("cpu", "gpu", "cuda", "tpu"),
    "tensorfloat32": ("gpu", "cuda"),
    "bfloat16": ("tpu",),
}
"""On which platforms each is what is computed: elsewhere JAX takes the word for another one. A GPU that is here calls
itself `gpu`, one that is compiled for `cuda`."""


def check_precision(precision: Precision, device: jax.Device) -> None:
    """Refuses a precision that the device does not compute in, since the manifest would name what was not run.

    Raises:
      ValueError: says which precisions it has.
    """
    known = [name for name, platforms in DEVICES.items() if device.platform in platforms]
    if precision not in known:
        raise ValueError(
            f"the precision of products on {device.platform} must be {' or '.join(known)}, got {shown(precision)}"
        )


def at_precision(precision: Precision, function: Callable[P, T]) -> Callable[P, T]:
    """`function`, traced so that its products have that precision, whatever the caller has set."""

    @functools.wraps(function)
    def traced(*args: P.args, **kwargs: P.kwargs) -> T:
        with jax.default_matmul_precision(precision):
            return function(*args, **kwargs)

    return traced
