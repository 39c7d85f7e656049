"""Figure 17 of ALM: learning while the environment is noisy."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from experiments.alm import ablation
from experiments.alm.ablation import Ablation, claim, no_worse
from experiments.alm.common import ALM, Variant
from mbrl_jax.algorithms import alm, find
from mbrl_jax.types import Algorithm, Env, Key, Transition

NAME = "alm/figure17"
LEVELS = (0.1, 0.2, 0.4)
"""Standard deviations of the noise on the actions, as shares of half their range."""


def disturbed(env: Env, std: float) -> Env:
    """The environment with Gaussian noise on every action that it executes, which makes its dynamics random.

    What is recorded is the action that was meant.
    """
    low, high = jnp.asarray(env.spec.action_low), jnp.asarray(env.spec.action_high)

    def step(key: Key, state: Any, action: jax.Array) -> tuple[Any, Transition]:
        k_noise, k_step = jax.random.split(key)
        noise = std * 0.5 * (high - low) * jax.random.normal(k_noise, action.shape, action.dtype)
        state, transition = env.step(k_step, state, jnp.clip(action + noise, low, high))
        return state, transition._replace(action=action)

    return env._replace(step=step)


def make(config: alm.Config, env: Env, std: float) -> Algorithm[Any]:
    """ALM that learns in the disturbed environment."""
    return alm.make(config, disturbed(env, std))


DISTURBED = find("alm")._replace(name="alm, disturbed", make=make)
"""ALM on an environment with noise, by the option `std`."""


def label(std: float) -> str:
    """The label of a level of noise."""
    return f"noise {std:g}"


ABLATION = Ablation(
    name=NAME,
    title="Aleatoric noise",
    figure="Figure 17",
    variants={label(std): Variant(method=DISTURBED, options={"std": std}) for std in LEVELS},
    panels={"Noise while learning": (ALM, *map(label, LEVELS))},
    tasks=("half_cheetah-v4",),
    claims=tuple(
        claim(
            f"ALM is robust to aleatoric noise: with {std:g} its return is at most a tenth lower",
            "Appendix E and Figure 17",
            no_worse(NAME, label(std), ALM),
        )
        for std in LEVELS
    ),
    note="The paper does not say what its noise is. Here it is on the executed actions, while learning; evaluation is "
    "in the undisturbed environment.",
)
ARTEFACT = ablation.artefact(ABLATION)
