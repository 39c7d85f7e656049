"""Proximal policy optimisation (Schulman et al., 2017), model-free, as it is run today; `ppo1` is the form of 2018.

The settings are CleanRL's (`ppo_continuous_action.py`) with two of Stable-Baselines3's: a time limit is bootstrapped,
and values may move as far as they will.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from mbrl_jax import rollouts
from mbrl_jax.agents import fragments, ppo
from mbrl_jax.checks import check_arguments, check_fields, check_positive
from mbrl_jax.data import normalise
from mbrl_jax.loops import on_policy
from mbrl_jax.loops.on_policy import State
from mbrl_jax.types import Algorithm, Env, Info, Key, Method, Policy, Transition

__all__ = ["Config", "Learning", "State", "make", "scaled"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyper-parameters of proximal policy optimisation; defaults are CleanRL's.

    Raises:
      ValueError: a field breaks a rule of `checks.RULES`; `environments`, `fragment` or `fragments` is below 1; `steps`
        is no positive multiple of their product; `agent.batch` exceeds the rows of a fragment.
    """

    steps: int = 999_424
    """Environment steps of the run, over all environments (CleanRL: the 488 whole fragments in a million)."""
    environments: int = 1
    """N, environments side by side (CleanRL, OpenAI baselines)."""
    fragment: int = 2048
    """T, steps of each environment between two updates (Schulman et al. 2017, Table 3)."""
    fragments: int = 1
    """Updates per call of `step`; what happens between calls (evaluation) is a multiple of their steps."""
    reward_clip: float | None = 10.0
    """Rewards are divided by the deviation of their discounted sum so far and clipped to ± this (CleanRL, OpenAI
    baselines' `ppo2`); None leaves them as they are (`ppo1`, Stable-Baselines3)."""
    agent: ppo.Config = field(default_factory=ppo.Config)
    """The agent's hyper-parameters."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_positive(self, "environments", "fragment", "fragments")
        rollouts.check_steps(self.steps, self.environments * self.fragment * self.fragments, 1)
        rows = self.environments * self.fragment
        if self.agent.batch > rows:
            raise ValueError(f"agent.batch must be at most the rows of a fragment, got {self.agent.batch} and {rows}")


class Learning(NamedTuple):
    """The agent, each environment's discounted sum of rewards so far in its episode `[N]`, and its statistics."""

    agent: ppo.State
    earned: Array
    rewards: normalise.Running


def earnings(gamma: float, earned: Array, fragment: Transition) -> tuple[Array, Array]:
    """Discounted sums of the rewards of each episode so far.

    Args:
      gamma: the discount factor.
      earned: the sums before the fragment `[N]`.

    Returns:
      The sums before the next fragment `[N]`, 0 where an episode begins, and those after each step `[time, N]`.
    """

    def add(earned: Array, step: tuple[Array, Array]) -> tuple[Array, Array]:
        reward, ended = step
        earned = gamma * earned + reward
        return jnp.where(ended, 0.0, earned), earned

    return lax.scan(add, earned, (fragment.reward, (fragment.discount == 0) | fragment.truncated))


def scaled(limit: float | None, rewards: normalise.Running, reward: Array) -> Array:
    """Rewards `[...]` in standard deviations of their discounted sums, within ± `limit`; as they are if it is None.

    Args:
      reward: `[...]`.
    """
    return reward if limit is None else jnp.clip(reward * (1.0 / rewards.scaler.std[0]), -limit, limit)


@check_arguments
def make(config: Config, env: Env, form: ppo.Form = ppo.TODAY) -> Algorithm[State[Learning]]:
    """Proximal policy optimisation on `env`; one iteration is `fragments` times (act, renew statistics, one update).

    Args:
      form: the optimiser and the initial weights (`agents.ppo.TODAY`, `BASELINES`).
    """
    updates = config.steps // (config.environments * config.fragment)
    agent = ppo.make(config.agent, rollouts.normalised(env).spec, updates, form)

    def init(key: Key) -> Learning:
        return Learning(agent.init(key), jnp.zeros(config.environments), normalise.running(1))

    def prepare(key: Key, now: Learning, fragment: Transition) -> tuple[Learning, Info]:
        del key
        earned, sums = earnings(config.agent.gamma, now.earned, fragment)
        rewards = normalise.observed(now.rewards, sums.reshape(-1, 1))
        return Learning(fragments.renewed(now.agent, fragment.obs), earned, rewards), {}

    def improve(key: Key, now: Learning, fragment: Transition) -> tuple[Learning, Info]:
        known = fragment._replace(reward=scaled(config.reward_clip, now.rewards, fragment.reward))
        state, info = agent.update(key, now.agent, jax.tree.map(lambda x: x[None], known))
        return now._replace(agent=state), info

    def explore(now: Learning) -> Policy[tuple[()]]:
        return agent.act(now.agent)

    def mode(now: Learning) -> Policy[tuple[()]]:
        return agent.mode(now.agent)

    return on_policy.make(
        env,
        Method(init, explore, mode, improve, prepare),
        environments=config.environments,
        steps=config.fragment,
        fragments=config.fragments,
    )


ABOUT = "Proximal policy optimisation (Schulman et al. 2017), model-free, on-policy, as it is run today"
VERSION = 1


def preset(base: str) -> Config:
    """The same settings for all tasks."""
    del base
    return Config()
