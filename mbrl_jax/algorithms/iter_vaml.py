"""IterVAML (Farahmand, 2018): MBPO whose model minimises the error of the value at the state that it predicts.

(V(ŝ') − V(s'))² is zero at the truth and wherever else the value is the same. Its expectation over a stochastic model q
and a world p is (E_q V − E_p V)² + Var_q V + Var_p V, so it prefers models without variance over the truth, and is
unbiased where the model is deterministic (Voelcker et al., 2023, arXiv 2306.17366, abstract).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from mbrl_jax.agents import critics, sac
from mbrl_jax.models import ensemble
from mbrl_jax.objectives.value_aware import vaml
from mbrl_jax.types import Spec, Transition

Judge = Callable[..., Array]
"""`judge(value[critics, ...], axis=0) -> [...]`: what the critics say together."""


def state_value(config: sac.Config, spec: Spec, state: sac.State, obs: Array, judge: Judge = jnp.min) -> Array:
    """`V(s) = judge_k Q_k(s, a)` `[...]`, by the target critics at the policy's mean action; differentiable in `obs`.

    Args:
      obs: `[..., obs_dim]`. The policy's action moves with it.
    """
    _, critic = sac.architecture(config, spec)
    rows = obs.reshape(-1, spec.obs_dim)
    action = jnp.tanh(sac.gaussian(config, spec, state, rows)[0])
    return judge(critics.values(critic, state.target, rows, action), axis=0).reshape(obs.shape[:-1])


def objective(config: sac.Config, spec: Spec, state: sac.State, judge: Judge = jnp.min) -> ensemble.Objective:
    """The model's objective, given the agent: `vaml` at the predicted next observation, plus (r̂ − r)².

    Values of the true next observations are computed once per fit. Held-out rows are scored by the same loss.

    Args:
      judge: `jnp.min` over the critics, as the agent's targets take it, or `jnp.mean`.
    """
    value = partial(state_value, config, spec, jax.lax.stop_gradient(state), judge=judge)

    def annotate(stored: Transition) -> Array:
        return value(stored.next_obs)

    def loss(predicted: ensemble.Predicted, batch: Transition) -> Array:
        reached = batch.next_obs + predicted.error[..., 1:]
        return vaml(value(reached), batch.extras) + jnp.square(predicted.error[..., 0])

    return ensemble.Objective(loss=loss, score=loss, annotate=annotate)


VARIES = "mbpo"
OPTIONS = {"objective": objective}
ABOUT = "MBPO with iterative value-aware model learning (Farahmand 2018)"
VERSION = 1


def preset(base: str, config: Any) -> Any:
    """MBPO's `Config` of a task, with a deterministic model: a stochastic one is fitted with a bias (see above)."""
    del base
    return replace(config, model=replace(config.model, deterministic=True))
