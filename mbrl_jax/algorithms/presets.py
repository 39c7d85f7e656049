"""Hyper-parameters per environment, as the papers' authors ran them, as frozen configurations.

MBPO's are those of the released code (`examples/config/<env>/0.py`) with the number of epochs of the paper's Table 1,
which the code leaves to the command line. `experiments/mbpo/table1.py` prints them beside the paper's table. Ant and
Humanoid with all observations, which MBPO's code does not have, share them with the truncated ones. ALM has one setting
for all tasks; its presets are the length of its paper's Table 1 or released scores and, for the pendulums, ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from mbrl_jax.agents import latent
from mbrl_jax.agents import sac as soft
from mbrl_jax.agents import sac_svg as svg
from mbrl_jax.algorithms import alm, dam, mbpo, redq, sac, sac_svg, td3
from mbrl_jax.models import ensemble
from mbrl_jax.types import Algorithm, Env, nearest

__all__ = ["ALM", "DAM", "MBPO", "REGISTRY", "SVG", "Entry", "preset"]


def _mbpo(epochs: int, schedule: tuple[int, int, int, int], entropy: float, **others: Any) -> mbpo.Config:
    return mbpo.Config(
        steps=epochs * 1000, rollout_schedule=schedule, agent=soft.Config(target_entropy=entropy), **others
    )


def _pendulum(updates: int, entropy: float) -> mbpo.Config:
    """The pendulums' epochs are 250 steps long and their warm-up is 500 steps (MBPO code)."""
    schedule = (1, 15, 1, 1)
    return replace(
        _mbpo(20, schedule, entropy, updates_per_step=updates), warmup_steps=500, epoch_length=250, model_train_freq=250
    )


_WIDE = ensemble.Config(hidden=(400,) * 4)

MBPO: Mapping[str, mbpo.Config] = {
    "inverted_pendulum": _pendulum(10, -0.05),
    "inverted_double_pendulum": _pendulum(20, -0.5),
    "hopper": _mbpo(125, (20, 150, 1, 15), -1.0),
    "walker2d": _mbpo(300, (20, 150, 1, 1), -3.0),
    "half_cheetah": _mbpo(400, (20, 150, 1, 1), -3.0, updates_per_step=40),
    "ant_truncated": _mbpo(300, (20, 100, 1, 25), -4.0),
    "humanoid_truncated": _mbpo(300, (20, 300, 1, 25), -2.0, model=_WIDE, model_train_freq=1000, retain_epochs=5),
    "pendulum": _pendulum(20, -1.0),
}
"""Presets by environment, versions left out. `pendulum` is ours: MBPO has no preset for it."""


_WHOLE = {"ant": "ant_truncated", "humanoid": "humanoid_truncated"}
"""Tasks with all observations, and whose settings they have: MBPO's code has the truncated ones only."""


def _mbpo_preset(base: str) -> mbpo.Config:
    return MBPO.get(_WHOLE.get(base, base), mbpo.Config(agent=soft.Config()))


def _alm_preset(base: str) -> alm.Config:
    return ALM.get(base, alm.Config())


def _sac_preset(base: str) -> sac.Config:
    """SAC as MBPO's authors ran it: the same task settings, one update per environment step."""
    like = _mbpo_preset(base)
    return sac.Config(steps=like.steps, warmup_steps=like.warmup_steps, batch=like.batch, agent=like.agent)


def _td3_preset(base: str) -> td3.Config:
    """TD3 for as many steps as MBPO; on the pendulums, whose runs are short, with MBPO's warm-up (ours)."""
    like = _mbpo_preset(base)
    config = td3.Config(steps=like.steps)
    return replace(config, warmup_steps=like.warmup_steps) if base in _PENDULUMS else config


def _redq_preset(base: str) -> redq.Config:
    """MBPO's steps and target entropies, as REDQ's authors ran it; on the pendulums MBPO's warm-up too (ours)."""
    like = _mbpo_preset(base)
    agent = soft.Config(critics=10, target_entropy=like.agent.target_entropy)
    return redq.Config(steps=like.steps, warmup_steps=like.warmup_steps, agent=agent)


def _svg(steps: int, first: float, last: float, power: float) -> sac_svg.Config:
    agent = svg.Config(initial_entropy=first, entropy_power=power)
    return sac_svg.Config(steps=steps, agent=replace(agent, agent=replace(agent.agent, target_entropy=last)))


def _svg_pendulum(base: str) -> sac_svg.Config:
    """Ours: MBPO's steps, warm-up and target entropy; the model is used after as many steps again as the warm-up."""
    like = MBPO[base]
    agent = svg.Config(model_free_updates=like.warmup_steps)
    agent = replace(agent, agent=replace(agent.agent, target_entropy=like.agent.target_entropy))
    return sac_svg.Config(steps=like.steps, warmup_steps=like.warmup_steps, agent=agent)


_PENDULUMS = ("inverted_pendulum", "inverted_double_pendulum", "pendulum")

SVG: Mapping[str, sac_svg.Config] = {
    **{base: _svg_pendulum(base) for base in _PENDULUMS},
    "hopper": _svg(1_000_000, 0.0, -2.0, 1 / 32),
    "walker2d": _svg(2_000_000, -2.0, -8.0, 1 / 16),
    "half_cheetah": _svg(2_000_000, -2.0, -3.0, 1.0),
    "ant_truncated": _svg(2_000_000, 0.0, -2.0, 4.0),
    "humanoid_truncated": _svg(5_000_000, -2.0, -2.0, 1.0),
    "mbbl_hopper": _svg(200_000, 1.0, 0.0, 32.0),
    "mbbl_walker2d": _svg(200_000, -2.0, -16.0, 1 / 64),
    "mbbl_half_cheetah": _svg(200_000, -1.0, -4.0, 1.0),
    "mbbl_ant": _svg(200_000, 1.0, -3.0, 0.5),
}
"""SAC-SVG's presets by environment, versions left out: its released `config/env/{mbpo,poplin}_*.yaml`."""


def _svg_preset(base: str) -> sac_svg.Config:
    return SVG.get(base, sac_svg.Config())


DAM: Mapping[str, dam.Config] = {
    "icy_road": dam.Config(),
    "intersection": dam.Config(steps=2500, planning=dam.Planning(horizon=15), warmup_episodes=20, episodes=10),
    "pendulum": dam.Config(
        steps=2000,
        warmup_episodes=2,
        episodes=1,
        minimum_variance=0.0,
        planning=dam.Planning(search="cross_entropy", actions="box", horizon=20, sequences=200, particles=1),
    ),
}
"""Presets by environment, all ours: the paper gives no sizes (docs/dam.md). `pendulum` shows continuous actions."""


def _dam_preset(base: str) -> dam.Config:
    return DAM.get(base, dam.Config())


_SMALL = alm.Config(
    steps=10_000,
    warmup_steps=500,
    updates_per_step=2,
    batch=128,
    noise_steps=3_000,
    agent=latent.Config(
        latent_dim=16,
        hidden=(64, 64),
        model_hidden=(64, 64),
        classifier_hidden=(64, 64),
        world_lr=1e-3,
        heads_lr=1e-3,
        critics_lr=1e-3,
        actor_lr=3e-4,
        tau=0.01,
        std_bounds=(0.02, 10.0),  # the pendulums' observations are small, and 0.1 hides half of the pole's angle
    ),
)

ALM: Mapping[str, alm.Config] = {
    **dict.fromkeys(
        ("half_cheetah", "walker2d", "hopper", "ant_truncated", "humanoid_truncated"), alm.Config(steps=200_000)
    ),
    "ant": alm.Config(steps=495_000),
    "humanoid": alm.Config(steps=495_000, replay_capacity=1_000_000),
    "inverted_pendulum": _SMALL,
    "pendulum": _SMALL,
}
"""Presets by environment, versions left out: the lengths of ALM's Table 1, and of its released scores where the table
lacks the task. A million transitions are kept on Humanoid with all observations only (ALM code). The pendulums' are
ours: ALM has none."""


class Entry(NamedTuple):
    """An algorithm by name.

    Attributes:
      config: its configuration class.
      make: `make(config, env) -> Algorithm`.
      preset: `preset(base) -> config` for an environment's name without version.
      about: one line for lists.
    """

    config: type
    make: Callable[[Any, Env], Algorithm]
    preset: Callable[[str], Any]
    about: str


REGISTRY: Mapping[str, Entry] = {
    "sac": Entry(sac.Config, sac.make, _sac_preset, "Soft actor-critic (Haarnoja et al. 2018), model-free"),
    "td3": Entry(td3.Config, td3.make, _td3_preset, "Twin delayed DDPG (Fujimoto et al. 2018), model-free"),
    "redq": Entry(redq.Config, redq.make, _redq_preset, "Randomised ensembled double Q (Chen et al. 2021), model-free"),
    "sac_svg": Entry(
        sac_svg.Config, sac_svg.make, _svg_preset, "Stochastic value gradients with SAC (Amos et al. 2021)"
    ),
    "mbpo": Entry(mbpo.Config, mbpo.make, _mbpo_preset, "Model-based policy optimisation (Janner et al. 2019)"),
    "dam": Entry(
        dam.Config,
        dam.make,
        _dam_preset,
        "Discriminator-augmented planning (Haghgoo et al. 2021)",
    ),
    "alm": Entry(alm.Config, alm.make, _alm_preset, "Aligned latent models (Ghugare et al. 2023)"),
}


def preset(algorithm: str, env: str) -> Any:
    """The configuration of an algorithm for an environment, or its defaults where no preset exists.

    Args:
      algorithm: a name in `REGISTRY`.
      env: a registry name such as `hopper-v4`, with or without its version.

    Raises:
      ValueError: the algorithm is not known; names the nearest.
    """
    if algorithm not in REGISTRY:
        raise ValueError(nearest(algorithm, REGISTRY, "algorithm"))
    base, _, version = env.rpartition("-v")
    return REGISTRY[algorithm].preset(base if base and version.isdigit() else env)
