"""What the artefacts of ALM share: tasks, sizes and runs of each profile, and variants by their labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from experiments import training
from experiments.training import Chosen, jobs
from mbrl_jax.algorithms import REGISTRY, Entry, alm, preset, sac, sac_svg
from mbrl_jax.checks import nearest
from mbrl_jax.report import statistics
from mbrl_jax.runner.run import Run, override

__all__ = [
    "ALM",
    "BASELINES",
    "ON_REQUEST",
    "PAPER",
    "SCALED_DOWN",
    "TASKS",
    "Scale",
    "Variant",
    "alm_config",
    "baseline",
    "has",
    "jobs",
    "runs",
    "scale",
    "unit",
    "variant",
]

PAPER = "Ghugare et al. 2023"
ALM = "ALM"
"""Label of the method with K = 3, the paper's ALM(3)."""

TASKS = {
    "humanoid_truncated-v2": "T-Humanoid-v2",
    "ant_truncated-v2": "T-Ant-v2",
    "half_cheetah-v4": "HalfCheetah-v2",
    "walker2d-v4": "Walker2d-v2",
    "hopper-v4": "Hopper-v2",
}
"""Our environments and their names in the paper; v4 has the reward and termination of v2 on these tasks."""

SCALED_DOWN = (
    "The laptop profile is scaled down: InvertedPendulum, which the paper does not have, and 10,000 steps of "
    "HalfCheetah (the paper: 200,000), with networks of 2x64 and latents of 16 (the paper: 2x512, a model of 2x1024, "
    "50), batches of 128 (512), learning rates of 1e-3, the policy's 3e-4 (1e-4), targets that move by 0.01 (0.005), "
    "standard deviations of representations from 0.02 (0.1), noise that falls over 3,000 steps, on HalfCheetah over "
    "5,000 (100,000), and, on InvertedPendulum, two updates per step (one). SAC learns at 1e-3 with as many updates. "
    "TD3 keeps its own rate of 3e-4 and one update per step, which on InvertedPendulum is half as many. The paper "
    "profile is the paper's scale."
)


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The sizes of one profile.

    Attributes:
      tasks: environments of Table 1 and the steps of each, None for the preset's.
      seeds: seeds per algorithm, all in one program.
      eval_every: environment steps between evaluations; small profiles evaluate HalfCheetah half as often.
      eval_episodes: episodes per evaluation.
      small: whether networks, batches and learning rates are the laptop's.
    """

    tasks: Mapping[str, int | None] = field(hash=False)
    seeds: int
    eval_every: int
    eval_episodes: int
    small: bool = True


SCALES = {
    "smoke": Scale(tasks={"inverted_pendulum-v4": 500}, seeds=2, eval_every=250, eval_episodes=2),
    "laptop": Scale(
        tasks={"inverted_pendulum-v4": 6_000, "half_cheetah-v4": 10_000}, seeds=6, eval_every=500, eval_episodes=5
    ),
    "paper": Scale(tasks=dict.fromkeys(TASKS), seeds=5, eval_every=5_000, eval_episodes=5, small=False),
}
SHORT = ("inverted_pendulum-v4",)
"""The laptop profile's task of the ablations."""
ON_REQUEST = ("smoke", "laptop")
"""Profiles in which an ablation runs only where it is named: every variant is a program and minutes of training."""


def scale(profile: str) -> Scale:
    """The sizes of a profile. Raises ValueError, naming the nearest, if there is none of that name."""
    if profile not in SCALES:
        raise ValueError(nearest(profile, SCALES, "profile"))
    return SCALES[profile]


def alm_config(env: str, size: Scale, changes: Mapping[str, Any] | None = None) -> alm.Config:
    """The preset of a task, scaled to a profile, with changes (dotted names) on top."""
    config = preset("alm", env)
    if size.small and env not in SHORT:
        small = preset("alm", SHORT[0])
        config = replace(small, warmup_steps=1_000, updates_per_step=1, noise_steps=5_000)
    steps = size.tasks.get(env)
    return override(replace(config, **({"steps": steps} if steps else {})), changes or {})


def _sac_config(env: str, size: Scale) -> sac.Config:
    """SAC for as long, on batches and networks as large as ALM's, with as many updates per step."""
    like = alm_config(env, size)
    config = replace(preset("sac", env), steps=like.steps, warmup_steps=like.warmup_steps)
    if not size.small:
        return config
    agent = replace(config.agent, hidden=like.agent.hidden, actor_lr=1e-3, critic_lr=1e-3, temperature_lr=1e-3)
    return replace(config, batch=like.batch, updates_per_step=like.updates_per_step, agent=agent)


def _other_config(name: str, env: str, size: Scale) -> Any:
    """A registered baseline's preset for as long as ALM, its networks and batches as large."""
    like, config = alm_config(env, size), preset(name, env)
    config = replace(config, steps=like.steps, warmup_steps=like.warmup_steps)
    if not size.small:
        return config
    agent = replace(config.agent, hidden=like.agent.hidden)
    return replace(config, batch=like.batch, agent=agent)


def _svg_config(env: str, size: Scale) -> sac_svg.Config:
    """SAC-SVG for as long, after a warm-up as long as ALM's; its model is used from the same step on as in its preset.

    Its networks and batches are its own in every profile.
    """
    like, config = alm_config(env, size), preset("sac_svg", env)
    first = config.warmup_steps + config.agent.model_free_updates
    agent = replace(config.agent, model_free_updates=max(first - like.warmup_steps, 0))
    return replace(config, steps=like.steps, warmup_steps=like.warmup_steps, agent=agent)


BASELINES = {"SAC": "sac", "TD3": "td3", "REDQ": "redq", "SAC-SVG": "sac_svg", "SAC-SVG(2)": "sac_svg"}
"""Labels of the baselines and their names in the registry; SAC-SVG's horizon is 3 unless the label says 2."""


def baseline(label: str, env: str, size: Scale) -> dict[str, Chosen]:
    """`{label: Chosen}` of a baseline on a task; empty while the registry has no such algorithm."""
    name = BASELINES[label]
    if name not in REGISTRY:
        return {}
    makers = {"sac": _sac_config, "sac_svg": _svg_config}
    config = makers.get(name, partial(_other_config, name))(env, size)
    if label == "SAC-SVG(2)":
        config = override(config, {"agent.horizon": 2})
    return {label: Chosen(name, config)}


class Variant(NamedTuple):
    """A variant of ALM.

    Attributes:
      name: its name in `latent_variants.VARIANTS`.
      changes: changed hyper-parameters (dotted names).
      method: the algorithm where neither says it all.
      options: further arguments of its `make`.
    """

    name: str = "ALM"
    changes: Mapping[str, Any] = {}
    method: str | Entry = "alm"
    options: Mapping[str, Any] = {}


def variant(chosen: Variant, env: str, size: Scale) -> Chosen:
    """A variant on a task."""
    parts = {} if chosen.name == "ALM" else {"parts": chosen.name}
    return Chosen(chosen.method, alm_config(env, size, chosen.changes), {**parts, **chosen.options})


def runs(experiment: str, profile: str, env: str, algorithms: Mapping[str, Chosen]) -> list[Run]:
    """One run per algorithm, given by its label, with the seeds and evaluations of a profile."""
    size = scale(profile)
    if size.small and env not in SHORT:  # its episodes never end early: 5,000 steps per evaluation and seed
        size = replace(size, eval_every=2 * size.eval_every)
    return training.runs(experiment, profile, env, size, algorithms)


def unit(*scores: np.ndarray) -> float:
    """What returns are measured in: the largest |IQM| of the samples `[runs]` that have a finite one, else 1."""
    middles = [abs(float(statistics.iqm(one))) for one in scores]
    return max((one for one in middles if np.isfinite(one) and one > 0), default=1.0)


def has(frame: pd.DataFrame, label: str, env: str | None = None) -> bool:
    """Whether a frame has rows of an algorithm (on a task)."""
    wanted = (frame["algorithm"] == label) & ((frame["env"] == env) if env is not None else True)
    return bool(np.any(wanted))
