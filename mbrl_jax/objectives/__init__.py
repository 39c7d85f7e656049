"""The mathematics of the papers as pure functions: arrays in, arrays out; no networks, no keys, no parameters.

`alm`, `likelihood`, `policy`, `returns`, `svg` and `td3` are what the learners minimise; the others are the papers'
bounds, lemmas and identities on finite MDPs, exact (docs/theory.md).
"""

from mbrl_jax.objectives import (
    alm,
    alm_bounds,
    dam,
    likelihood,
    mbpo_bounds,
    mnm,
    mnm_tight,
    model_advantage,
    policy,
    prior_bounds,
    returns,
    svg,
    td3,
    vmbpo,
)

__all__ = [
    "alm",
    "alm_bounds",
    "dam",
    "likelihood",
    "mbpo_bounds",
    "mnm",
    "mnm_tight",
    "model_advantage",
    "policy",
    "prior_bounds",
    "returns",
    "svg",
    "td3",
    "vmbpo",
]
