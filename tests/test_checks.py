"""Refusals of configurations."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from mbrl_jax.checks import check_share, check_widths


@pytest.mark.parametrize(("value", "zero"), [(0.0, True), (0, True), (1, False), (1.0, True), (1e-9, False)])
def test_shares_within_their_bounds_pass(value, zero):
    check_share(SimpleNamespace(share=value), "share", zero=zero)


@pytest.mark.parametrize(
    ("value", "zero", "rule"),
    [
        (-0.1, True, r"share must lie in \[0, 1\], got -0.1"),
        (1.1, True, r"\[0, 1\], got 1.1"),
        (float("nan"), True, r"\[0, 1\], got nan"),
        (0.0, False, r"share must lie in \(0, 1\], got 0.0"),
        (2, False, r"\(0, 1\], got 2"),
    ],
)
def test_shares_outside_are_refused(value, zero, rule):
    with pytest.raises(ValueError, match=rule):
        check_share(SimpleNamespace(fine=0.5, share=value), "fine", "share", zero=zero)


def test_values_that_are_swept_are_not_looked_at():
    jax.eval_shape(lambda x: check_share(SimpleNamespace(share=x), "share"), jnp.float32(7))


@pytest.mark.parametrize(
    ("widths", "empty", "rule"),
    [
        ((), False, r"hidden must name at least one positive width, got \(\)"),
        ((8, 0), False, r"hidden must name at least one positive width, got \(8, 0\)"),
        ((-1,), True, r"hidden must name positive widths, got \(-1,\)"),
    ],
)
def test_widths_that_make_no_network_are_refused(widths, empty, rule):
    check_widths(SimpleNamespace(hidden=(8,)), "hidden", empty=empty)
    check_widths(SimpleNamespace(hidden=()), "hidden", empty=True)
    with pytest.raises(ValueError, match=rule):
        check_widths(SimpleNamespace(fine=(8,), hidden=widths), "fine", "hidden", empty=empty)
