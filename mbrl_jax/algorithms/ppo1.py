"""PPO as OpenAI baselines' `ppo1` had it in 2018, which is what SAC's authors, and it seems MBPO's, compared with.

Clip and learning rate fall to 0 over the run, advantages are standardised over a fragment, no gradient is clipped,
rewards are as they are, and a time limit counts as the task's end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mbrl_jax.agents import ppo
from mbrl_jax.types import Config

VARIES = "ppo"
OPTIONS = {"form": ppo.BASELINES}
ABOUT = "Proximal policy optimisation as OpenAI baselines' ppo1 of 2018, the baseline of SAC's authors"
VERSION = 1

SIZES: Mapping[str, tuple[int, int]] = {
    "ant": (8192, 512),
    "ant_truncated": (8192, 512),
    "humanoid": (16_384, 512),
    "humanoid_truncated": (16_384, 512),
}
"""Steps of a fragment and rows of a batch by task (softlearning, issue 27); 2048 and 64 for the others."""


def preset(base: str, config: Config) -> Config:
    """The settings of `ppo1`'s `run_mujoco.py` with the sizes that SAC's authors gave for the task."""
    fragment, batch = SIZES.get(base, (2048, 64))
    agent = replace(
        config.agent,
        max_grad_norm=None,
        value_weight=1.0,
        batch=batch,
        anneal_clip=True,
        whole_advantages=True,
        least_std=0.1,
        obs_clip=5.0,
        limits_end=True,
    )
    return replace(config, fragment=fragment, reward_clip=None, agent=agent)
