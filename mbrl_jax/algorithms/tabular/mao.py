"""MAO on a gridworld: value-aware model-based RL with a softmax model, A2C on imagined steps and exact expectations.

Modhe et al., "Model-Advantage Optimization for Model-Based Reinforcement Learning" (2021), Algorithm 2 and Sec. 4.1.
The true dynamics are deterministic, so a data set is a table of counts: per (state, action) for Eq. 10, VAML and
maximum likelihood, and weighted with `gamma^t` for the trajectory sums of Eq. 8.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Float, Int

from mbrl_jax.checks import check_fields
from mbrl_jax.objectives import likelihood, value_aware
from mbrl_jax.optimisers import adam
from mbrl_jax.types import Key, checked

__all__ = ["LOSSES", "Config", "Data", "Grid", "Loss", "learn"]


class Grid(NamedTuple):
    """A deterministic task on cells; an episode starts in cell 0, and ends at the goal or after `max_steps`.

    Attributes:
      reached: cell that each action leads to.
      gain: reward of a move from a cell (row) to another (column).
      goal: its index; reaching it after t steps pays `1 - 0.9 t / max_steps` (MiniGrid's rule) on top of `gain`.
      max_steps: steps after which an episode is truncated.
    """

    reached: Int[np.ndarray, "states actions"]
    gain: Float[np.ndarray, "states states"]
    goal: int
    max_steps: int


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings, the same for all methods; the paper gives none. Each of `iterations` is `collect` real steps, then
    `model_updates` x (model step, value refresh), then `policy_updates` A2C updates.

    `agents` imagined episodes run side by side, for `horizon` steps per A2C update and `refresh` per value refresh
    (Algorithm 2, lines 7 and 8). `discount` is per step, `policy_rate` Adam's, `value_rate` the share of its error by
    which a value moves, `entropy` the entropy's weight. Every `eval_every` iterations `eval_episodes` episodes are run.

    Raises:
      ValueError: a field breaks a rule of `checks.RULES`; `eval_every` does not divide `iterations`.
    """

    iterations: int = 100
    collect: int = 64
    model_updates: int = 4
    policy_updates: int = 8
    agents: int = 16
    horizon: int = 16
    refresh: int = 8
    discount: float = 0.99
    policy_rate: float = 0.05
    value_rate: float = 0.3
    entropy: float = 0.01
    eval_episodes: int = 8
    eval_every: int = 2

    def __post_init__(self):
        check_fields(self)
        if self.iterations % self.eval_every:
            raise ValueError(f"eval_every must divide iterations, got {self.eval_every=}, {self.iterations=}")


class Data(NamedTuple):
    """`counts [S, A]`, `weights [S, A]` (sum of `gamma^t` of the step in its episode) and the number of episodes."""

    counts: Float[Array, "states actions"]
    weights: Float[Array, "states actions"]
    episodes: Float[Array, ""]


Loss = Callable[[Array, Array, Data, Array], Array]
"""`loss(model logits [S, A, S], value [S], data, reached [S, A]) -> scalar`; the gradient is taken in the logits."""


class Places(NamedTuple):
    """Where a batch of episodes stands: cell `[agents]` and time `[agents]`."""

    cell: Int[Array, " agents"]
    time: Int[Array, " agents"]


class State(NamedTuple):
    """Model logits `[S, A, S]`, policy logits `[S, A]`, value `[S]`, optimisers, data, real and imagined episodes.
    `rate` is the model's learning rate: part of the state, so that several rates are lanes of one program.
    """

    rate: Float[Array, ""]
    model: Float[Array, "states actions states"]
    policy: Float[Array, "states actions"]
    value: Float[Array, " states"]
    optimisers: tuple[optax.OptState, optax.OptState]
    data: Data
    real: Places
    imagined: Places


def _values(model: Array, value: Array, reached: Array) -> tuple[Array, Array]:
    """`E_{model} V` and `V(s')`, `[S, A]` each, next states summed out exactly."""
    return jax.nn.softmax(model, axis=-1) @ value, value[reached]


def _mean(losses: Array, data: Data) -> Array:
    """Mean over the transitions in the data of a loss per state and action `[S, A]`."""
    return jnp.sum(data.counts / jnp.maximum(data.counts.sum(), 1) * losses)


def _direct_l1(model: Array, value: Array, data: Data, reached: Array) -> Array:
    trajectories = jnp.maximum(data.episodes, 1)
    return value_aware.model_advantage_direct_l1(*_values(model, value, reached), data.weights, trajectories)


def _direct_l2(model: Array, value: Array, data: Data, reached: Array) -> Array:
    trajectories = jnp.maximum(data.episodes, 1)
    return value_aware.model_advantage_direct_l2(*_values(model, value, reached), data.weights, trajectories)


def _upper_l1(model: Array, value: Array, data: Data, reached: Array) -> Array:
    return _mean(value_aware.model_advantage_l1(*_values(model, value, reached)), data)


def _vaml_l2(model: Array, value: Array, data: Data, reached: Array) -> Array:
    return _mean(value_aware.vaml(*_values(model, value, reached)), data)


def _likelihood(model: Array, value: Array, data: Data, reached: Array) -> Array:
    del value
    return _mean(likelihood.categorical_nll(model, reached), data)


LOSSES: dict[str, Loss] = {
    "MA Direct L1": _direct_l1,
    "MA Direct L2": _direct_l2,
    "MA Upper Bound L1": _upper_l1,
    "VAML L2": _vaml_l2,
    "MLE": _likelihood,
}
"""Model losses of Fig. 1 by the paper's name."""


def _draw(table: Array, uniform: Array) -> Array:
    """Index per row of cumulative probabilities `table [B, n]`."""
    return jnp.minimum(jnp.sum(uniform[:, None] * table[:, -1:] >= table, axis=-1), table.shape[-1] - 1)


def _walk(key: Key, grid: Grid, places: Places, policy: Array, successor: Callable, steps: int) -> tuple:
    """Follows the policy for `steps` steps; `successor(cell, action, uniform) -> next cell`, all batched.
    Gives the new places, and per step `[steps, B]` cell, action, reward, next cell, done and time before the step.
    """
    table, gain = jnp.cumsum(jax.nn.softmax(policy, axis=-1), axis=-1), jnp.asarray(grid.gain)

    def step(places: Places, uniform: Array) -> tuple[Places, tuple[Array, ...]]:
        action = _draw(table[places.cell], uniform[0])
        after = successor(places.cell, action, uniform[1]).astype(places.cell.dtype)
        time = places.time + 1
        arrived = after == grid.goal
        reward = gain[places.cell, after] + jnp.where(arrived, 1 - 0.9 * time / grid.max_steps, 0)
        over = arrived | (time >= grid.max_steps)
        record = (places.cell, action, reward.astype(gain.dtype), after, arrived, over, places.time)
        return Places(jnp.where(over, 0, after), jnp.where(over, 0, time)), record

    uniforms = jax.random.uniform(key, (steps, 2, places.cell.shape[0]))
    return lax.scan(step, places, uniforms)


def _collect(config: Config, grid: Grid, key: Key, state: State) -> State:
    """Real steps of the current policy, added to the data."""
    reached = jnp.asarray(grid.reached)
    real, record = _walk(key, grid, state.real, state.policy, lambda s, a, _: reached[s, a], config.collect)
    cell, action, _, _, _, over, time = (part[:, 0] for part in record)
    data = Data(
        state.data.counts.at[cell, action].add(1.0),
        state.data.weights.at[cell, action].add(config.discount ** time.astype(jnp.float32)),
        state.data.episodes + jnp.sum(over, dtype=jnp.float32),
    )
    return state._replace(real=real, data=data)


def _imagine(config: Config, grid: Grid, key: Key, state: State, table: Array, steps: int) -> tuple:
    """Steps in the model; returns the new places, the record, and n-step returns `[steps, agents]`."""

    def successor(cell: Array, action: Array, uniform: Array) -> Array:
        return _draw(table[cell, action], uniform)

    places, record = _walk(key, grid, state.imagined, state.policy, successor, steps)
    _, _, reward, after, arrived, over, _ = record
    # A time limit bootstraps from the value of the next cell, as does the end of the window.
    last = over.at[-1].set(True)
    tail = jnp.where(arrived, 0, state.value[after])

    def back(following: Array, inputs: tuple[Array, ...]) -> tuple[Array, Array]:
        gain, ended, bootstrap = inputs
        total = gain + config.discount * jnp.where(ended, bootstrap, following)
        return total, total

    returns = lax.scan(back, jnp.zeros_like(reward[0]), (reward, last, tail), reverse=True)[1]
    return places, record, returns


def _fit_value(config: Config, value: Array, cell: Array, returns: Array) -> Array:
    """Moves the value of every visited cell towards the mean of its returns."""
    visits = jnp.zeros_like(value).at[cell].add(1.0)
    error = jnp.zeros_like(value).at[cell].add(returns - value[cell])
    return value + config.value_rate * error / jnp.maximum(visits, 1)


def _fit_model(config: Config, grid: Grid, loss: Loss, key: Key, state: State) -> tuple[State, None]:
    """One model step and one refresh of the value in the new model (Algorithm 2, lines 6 to 8)."""
    gradient = jax.grad(loss)(state.model, state.value, state.data, jnp.asarray(grid.reached))
    change, optimiser = adam(state.rate).update(gradient, state.optimisers[0])
    model = jax.tree.map(jnp.add, state.model, change)
    state = state._replace(model=model, optimisers=(optimiser, state.optimisers[1]))
    table = jnp.cumsum(jax.nn.softmax(model, axis=-1), axis=-1)
    places, record, returns = _imagine(config, grid, key, state, table, config.refresh)
    value = _fit_value(config, state.value, record[0].ravel(), returns.ravel())
    return state._replace(value=value, imagined=places), None


def _improve(config: Config, grid: Grid, table: Array, key: Key, state: State) -> tuple[State, None]:
    """One A2C update from imagined steps."""
    places, record, returns = _imagine(config, grid, key, state, table, config.horizon)
    cell, action = record[0].ravel(), record[1].ravel()
    advantage = returns.ravel() - state.value[cell]

    def loss(policy: Array) -> Array:
        log_chance = jax.nn.log_softmax(policy[cell], axis=-1)
        entropy = -jnp.sum(jnp.exp(log_chance) * log_chance, axis=-1)
        chosen = jnp.take_along_axis(log_chance, action[:, None], axis=-1)[:, 0]
        return -jnp.mean(advantage * chosen + config.entropy * entropy)

    change, optimiser = adam(config.policy_rate).update(jax.grad(loss)(state.policy), state.optimisers[1])
    policy = jax.tree.map(jnp.add, state.policy, change)
    value = _fit_value(config, state.value, cell, returns.ravel())
    optimisers = (state.optimisers[0], optimiser)
    return state._replace(policy=policy, value=value, optimisers=optimisers, imagined=places), None


def _evaluate(config: Config, grid: Grid, key: Key, policy: Array) -> Array:
    """Mean return of fresh episodes of the policy in the true grid."""
    reached = jnp.asarray(grid.reached)
    _, record = _walk(key, grid, _places(config.eval_episodes), policy, lambda s, a, _: reached[s, a], grid.max_steps)
    first = jnp.cumsum(record[5], axis=0) - record[5] == 0
    return jnp.sum(jnp.where(first, record[2], 0)) / config.eval_episodes


def _places(agents: int) -> Places:
    return Places(jnp.zeros(agents, jnp.int32), jnp.zeros(agents, jnp.int32))


def _start(config: Config, grid: Grid, rate: Array) -> State:
    states, actions = grid.reached.shape
    model, policy, value = jnp.zeros((states, actions, states)), jnp.zeros((states, actions)), jnp.zeros(states)
    optimisers = adam(rate).init(model), adam(config.policy_rate).init(policy)
    data = Data(jnp.zeros((states, actions)), jnp.zeros((states, actions)), jnp.zeros(()))
    return State(rate, model, policy, value, optimisers, data, _places(1), _places(config.agents))


@checked
def learn(config: Config, grid: Grid, loss: Loss, key: Key, rate: Float[Array, ""]) -> Float[Array, " evaluations"]:
    """Runs Algorithm 2 for one seed and one learning rate of the model; `vmap` it over both.

    `loss` is what the model minimises, for example one of `LOSSES`. The reward of `grid` is known to the learner, its
    dynamics are not. `rate` is a scalar. What it gives is the policy's return after every `eval_every` iterations.
    """

    def iteration(state: State, index: Array) -> tuple[State, None]:
        k_real, k_model, k_policy = jax.random.split(jax.random.fold_in(key, index), 3)
        state = _collect(config, grid, k_real, state)

        def fit(state: State, key: Key) -> tuple[State, None]:
            return _fit_model(config, grid, loss, key, state)

        def improve(state: State, key: Key) -> tuple[State, None]:
            return _improve(config, grid, table, key, state)

        state, _ = lax.scan(fit, state, jax.random.split(k_model, config.model_updates))
        table = jnp.cumsum(jax.nn.softmax(state.model, axis=-1), axis=-1)
        return lax.scan(improve, state, jax.random.split(k_policy, config.policy_updates))

    def stage(state: State, number: Array) -> tuple[State, Array]:
        state, _ = lax.scan(iteration, state, number * config.eval_every + jnp.arange(config.eval_every))
        k_eval = jax.random.fold_in(jax.random.fold_in(key, number), config.iterations)
        return state, _evaluate(config, grid, k_eval, state.policy)

    return lax.scan(stage, _start(config, grid, rate), jnp.arange(config.iterations // config.eval_every))[1]
