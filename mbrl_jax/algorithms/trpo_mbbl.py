"""TRPO as the model-free baseline of Wang et al. (2019): a line search that asks for gain alone, and slower values.

A step is taken if the objective gains a tenth of what the gradient promises; its divergence is not looked at. The value
function takes 20 steps on the whole batch, with Adam at β = (.5, .99) and ε = 1e-4. Their batches are whole episodes,
their statistics are renewed between policy and value, and a time limit counts as the task's end (`agent.limits_end`).
"""

from __future__ import annotations

from dataclasses import replace

from mbrl_jax import trust_region
from mbrl_jax.types import Config

VARIES = "trpo"
OPTIONS = {"accept": trust_region.improves}
ABOUT = "Trust-region policy optimisation as the baseline of Wang et al. (2019)"
VERSION = 1


def preset(base: str, config: Config) -> Config:
    """The settings of their code (`mbbl`), 200,000 steps in batches of 2,000 from 5 environments."""
    del base
    agent = replace(
        config.agent,
        policy_hidden=(64, 64),
        value_hidden=(64, 64),
        trace=0.95,
        value_lr=3e-4,
        value_betas=(0.5, 0.99),
        value_epsilon=1e-4,
        value_epochs=20,
        value_batch=None,
        fisher_stride=1,
        obs_clip=None,
    )
    return replace(config, steps=200_000, environments=5, fragment=400, agent=agent)
