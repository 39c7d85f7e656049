"""What the artefacts of MBPO share: the runs of each profile, and what counts as having solved a task."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from experiments import training
from experiments.training import Chosen, jobs
from mbrl_jax.algorithms import mbpo, preset, sac
from mbrl_jax.checks import nearest
from mbrl_jax.models import ensemble
from mbrl_jax.runner.run import Run

__all__ = [
    "PAPER",
    "SCALED_DOWN",
    "SOLVED",
    "Scale",
    "jobs",
    "mbpo_config",
    "runs",
    "sac_config",
    "scale",
    "steps_text",
    "without_model",
]

PAPER = "Janner et al. 2019"

SOLVED = {"inverted_pendulum-v4": 950.0, "pendulum-v1": -200.0}
"""Returns that count as solved: 95 % of the inverted pendulum's largest possible return (1,000); for the pendulum,
whose best policies reach about −150 and whose random policy about −1,200, −200 (95 % of the way)."""

SCALED_DOWN = (
    "The laptop profile runs the real tasks at full episode length with smaller networks (2x64 policy and critics, "
    "4x64 model), batches of 128 and 2,000 model roll-outs per fit (the paper: 2x256, 4x200, 256, 100,000). The paper "
    "profile is the paper's scale."
)


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The sizes of one profile.

    Attributes:
      envs: tasks.
      steps: environment steps, None for the preset's.
      seeds: seeds per algorithm, all in one program.
      eval_every: environment steps between evaluations.
      eval_episodes: episodes per evaluation.
      small: whether networks, batches and roll-outs are scaled down.
    """

    envs: tuple[str, ...]
    steps: int | None
    seeds: int
    eval_every: int
    eval_episodes: int
    small: bool = True


SCALES = {
    "smoke": Scale(envs=("inverted_pendulum-v4",), steps=500, seeds=2, eval_every=250, eval_episodes=2),
    "laptop": Scale(envs=("inverted_pendulum-v4", "pendulum-v1"), steps=5000, seeds=6, eval_every=250, eval_episodes=5),
    "paper": Scale(
        envs=("hopper-v4", "walker2d-v4", "half_cheetah-v4", "inverted_pendulum-v4"),
        steps=None,
        seeds=20,
        eval_every=1000,
        eval_episodes=10,
        small=False,
    ),
}


def scale(profile: str) -> Scale:
    """The sizes of a profile. Raises ValueError, naming the nearest, if there is none of that name."""
    if profile not in SCALES:
        raise ValueError(nearest(profile, SCALES, "profile"))
    return SCALES[profile]


def mbpo_config(env: str, size: Scale, **changes: Any) -> mbpo.Config:
    """The preset of a task, scaled to a profile, with changes on top."""
    config = preset("mbpo", env)
    if size.small:
        config = replace(
            config,
            updates_per_step=10,
            batch=128,
            rollout_batch=2000,
            model=ensemble.Config(hidden=(64,) * 4),
            agent=replace(config.agent, hidden=(64, 64)),
        )
    return replace(config, **({"steps": size.steps} if size.steps else {}), **changes)


def sac_config(env: str, size: Scale, **changes: Any) -> sac.Config:
    """The baseline: SAC with the networks, batches and warm-up of `mbpo_config`, one update per environment step.

    Its target entropy is −action_dim, as in the only entry of SAC in the authors' repository.
    """
    plain = without_model(env, size)
    return replace(plain, agent=replace(plain.agent, target_entropy=None), **changes)


def without_model(env: str, size: Scale, **changes: Any) -> sac.Config:
    """MBPO minus the model: SAC as `sac_config` has it, with MBPO's target entropy."""
    like = mbpo_config(env, size)
    shared = {"steps": like.steps, "warmup_steps": like.warmup_steps, "batch": like.batch, "agent": like.agent}
    return sac.Config(**{**shared, **changes})


def runs(experiment: str, profile: str, env: str, **algorithms: Chosen) -> list[Run]:
    """One run per algorithm, given by its label, with the seeds and evaluations of a profile."""
    return training.runs(experiment, profile, env, scale(profile), algorithms)


def steps_text(until: np.ndarray) -> str:
    """The median of steps to solve over seeds (infinite: not within the run), and how many seeds did."""
    half = np.median(until)
    return (
        f"{half:,.0f}" if np.isfinite(half) else "not within the run"
    ) + f" ({np.isfinite(until).sum()}/{len(until)} seeds)"
