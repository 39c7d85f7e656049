"""An ensemble as a `Model`.

Source: Chua et al., 2018, Sec. 4, as in the released code of MBPO (Janner et al., 2019), `bnn.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array

from mbrl_jax.data import normalise
from mbrl_jax.models.ensemble.dynamics import random_elites
from mbrl_jax.models.ensemble.fit import Batch, Data, Descent, epoch, holdout_score, split_rows, stopped, total_loss
from mbrl_jax.models.ensemble.network import Config, State, network, targets_of
from mbrl_jax.models.ensemble.objective import STANDARD, Objective
from mbrl_jax.networks import init_stack
from mbrl_jax.optimisers import adam
from mbrl_jax.types import Info, Key, Model, Spec, Transition

__all__ = ["make"]


def make(
    config: Config,
    spec: Spec,
    objective: Objective = STANDARD,
    terminal: Callable[[Array], Array] | None = None,
) -> Model[State, Data]:
    """An ensemble as a model; `fit` is warm-started from the last one.

    `update` takes batches `[updates, batch, ...]` of transitions that all members see alike; scalers, elites and
    holdout errors stay what they were.

    Args:
      objective: what the members are fitted to.
      terminal: `terminal(next_obs [..., obs_dim]) -> bool [...]`, the task's termination; None if it never terminates.
    """
    optimiser = adam(config.learning_rate)
    dim = 1 + spec.obs_dim

    def init(key: Key) -> State:
        params = {
            "net": init_stack(key, network(config, spec), config.members, spec.obs_dim + spec.action_dim),
            "max_log_var": jnp.full(dim, 0.5, jnp.float32),
            "min_log_var": jnp.full(dim, -10.0, jnp.float32),
        }
        scalers = normalise.identity(spec.obs_dim + spec.action_dim), normalise.identity(dim)
        elites = jnp.arange(config.elites, dtype=jnp.int32)
        return State(params, optimiser.init(params), *scalers, elites, jnp.zeros(config.members))

    def descend(carry: Descent, batch: Batch, scale: Array) -> Descent:
        grads = jax.grad(total_loss)(carry.params, config, spec, objective.loss, scale, batch)
        updates, opt = optimiser.update(grads, carry.opt, carry.params)
        return Descent(optax.apply_updates(carry.params, updates), opt)

    def fit(key: Key, state: State, data: Data) -> tuple[State, Info]:
        k_split, k_epochs = jax.random.split(key)
        split, inputs, outputs = split_rows(k_split, config, objective, data)
        found = stopped(
            k_epochs,
            config,
            partial(holdout_score, config, spec, objective.score, split),
            partial(epoch, config=config, descend=descend, split=split),
            Descent(state.params, state.opt),
        )
        params = {**found.params, "net": found.best_net}
        error = holdout_score(config, spec, objective.score, split, params)
        elites = jnp.argsort(error)[: config.elites].astype(jnp.int32)
        info = {
            "model/holdout_mse": error[elites].mean(),
            "model/epochs": found.epoch,
            "model/train_size": split.train_size,
            "model/exhausted": (found.stale <= config.patience).astype(jnp.float32),
        }
        return State(params, found.opt, inputs, outputs, elites, error), info

    def update(key: Key, state: State, batches: Transition) -> tuple[State, Info]:
        del key

        def step(carry: Descent, rows: Transition) -> tuple[Descent, Info]:
            rows = rows._replace(extras=objective.annotate(rows))
            x = state.inputs.forward(jnp.concatenate([rows.obs, rows.action], axis=-1))
            y = state.targets.forward(targets_of(config, rows))
            batch = Batch(x, y, jnp.ones_like(rows.reward), rows)
            every = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (config.members, *leaf.shape)), batch)
            loss = total_loss(carry.params, config, spec, objective.loss, state.targets.std, every)
            return descend(carry, every, state.targets.std), {"model/loss": loss}

        found, info = lax.scan(step, Descent(state.params, state.opt), batches)
        return state._replace(params=found.params, opt=found.opt), info

    return Model(init, fit, update, lambda state: random_elites(config, spec, state, terminal))
