"""The other methods of MBPO's Figure 2: PPO, PETS, STEVE, SLBO, and value expansion."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from experiments import training
from experiments.mbpo import common
from experiments.training import Chosen
from mbrl_jax import envs
from mbrl_jax.algorithms import mbpo, pets, ppo, slbo, steve
from mbrl_jax.models import bootstrap
from mbrl_jax.runner.run import Run

__all__ = ["METHODS", "PETS", "PPO", "SLBO", "STEVE", "VALUE_EXPANSION", "on_steps_taken", "planned"]

PPO, PETS, STEVE, SLBO, VALUE_EXPANSION = "PPO", "PETS", "STEVE", "SLBO", "SAC in value expansion"
METHODS = (PPO, PETS, STEVE, SLBO, VALUE_EXPANSION)

TASKS = {
    "smoke": ("inverted_pendulum-v4",),
    "laptop": ("inverted_pendulum-v4",),
    "paper": common.SCALES["paper"].envs,
}
KNOWN_REWARDS = (PETS, SLBO)
"""Methods that plan or learn with rewards that they know: only on tasks whose reward is a function of what is seen."""


@dataclass(frozen=True, kw_only=True)
class Sized:
    """A method's configuration and how often it is evaluated, where that is not as often as MBPO is.

    Attributes:
      chosen: the method.
      eval_every: environment steps between evaluations.
      eval_episodes: episodes per evaluation.
    """

    chosen: Chosen
    eval_every: int
    eval_episodes: int


def _pets(profile: str, base: str) -> Sized:
    """Ten trials with plans of 25 actions; a trial that ends early costs what it lasted."""
    if profile == "paper":
        return Sized(chosen=Chosen("pets", replace(pets.preset(base), steps=15_000)), eval_every=1000, eval_episodes=1)
    small = pets.Config(
        steps=10_000,
        model=bootstrap.Config(hidden=(64,) * 3, epochs=20),
        planning=pets.Planning(sequences=60, elites=6, iterations=3, particles=5),
    )
    config = replace(small, steps=1000) if profile == "smoke" else small
    return Sized(chosen=Chosen("pets", config), eval_every=1000, eval_episodes=1)


def _ppo(profile: str, base: str) -> Sized:
    fragments = {"smoke": 1, "laptop": 24}
    config = ppo.preset(base)
    if profile in fragments:
        config = replace(config, steps=fragments[profile] * config.fragment)
    return Sized(chosen=Chosen("ppo", config), eval_every=config.fragment, eval_episodes=5)


def _steve(profile: str, base: str, size: common.Scale) -> Sized:
    like = common.mbpo_config(base + "-v4", size)
    config = steve.preset(base)
    if size.small:
        config = replace(steve.quick(base), steps=like.steps, warmup_steps=500, pretraining=2000)
    if profile == "smoke":
        config = replace(config, pretraining=100)
    return Sized(chosen=Chosen("steve", config), eval_every=size.eval_every, eval_episodes=size.eval_episodes)


def _slbo(profile: str, base: str) -> Sized:
    config = {"laptop": slbo.quick, "paper": slbo.preset}.get(profile, slbo.quick)(base)
    if profile == "smoke":
        config = replace(config, steps=config.stage_steps, iterations=1, model_updates=20, policy_updates=1)
    return Sized(chosen=Chosen("slbo", config), eval_every=config.stage_steps, eval_episodes=5)


def _expanded(env: str, size: common.Scale) -> Sized:
    """MBPO's critics fitted to one-step value expansions at real transitions, no roll-outs: Figure 3's H = 1."""
    config = common.mbpo_config(env, size, real_fraction=1.0)
    chosen = Chosen("mbpo", config, {"targets": mbpo.value_expansion(1)})
    return Sized(chosen=chosen, eval_every=size.eval_every, eval_episodes=size.eval_episodes)


def planned(experiment: str, profile: str) -> list[Run]:
    """One run per method and task, PETS and SLBO where the reward is known.

    The smoke profile leaves out value expansion, whose programs are MBPO's but for the targets.
    """
    size = common.scale(profile)
    found = []
    for env in TASKS[profile]:
        base = env.removesuffix("-v4")
        sized = {
            PPO: _ppo(profile, base),
            PETS: _pets(profile, base),
            STEVE: _steve(profile, base, size),
            SLBO: _slbo(profile, base),
        }
        if profile != "smoke":
            sized[VALUE_EXPANSION] = _expanded(env, size)
        known = envs.make(env).reward is not None
        for name, one in sized.items():
            if known or name not in KNOWN_REWARDS:
                (run,) = training.runs(experiment, profile, env, size, {name: one.chosen})
                found.append(replace(run, eval_every=one.eval_every, eval_episodes=one.eval_episodes))
    return found


def on_steps_taken(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows with PETS's evaluations at the environment steps that its trials took, not at those they could have.

    The runner counts a trial as long as the time limit; one that ended early took fewer steps (`pets/steps`).
    """
    trials = frame["algorithm"] == PETS
    rows = pd.DataFrame(frame[trials])
    keys = ["run", "env", "seed", "env_step"]
    taken = rows.loc[rows["metric"] == "pets/steps", [*keys, "value"]].rename(columns={"value": "taken"})
    joined = rows.merge(taken, on=keys, how="left")
    untrained = joined["env_step"] == 0
    joined["env_step"] = np.where(untrained, 0, joined["taken"])
    there = pd.DataFrame(joined[joined["env_step"].notna()]).drop(columns="taken")
    found = pd.DataFrame(pd.concat([pd.DataFrame(frame[~trials]), there], ignore_index=True))
    found.attrs.update(frame.attrs)
    return found
