"""A deterministic model of the observation's change, fitted over several of its own steps, as in SLBO's released code.

Luo et al., "Algorithmic Framework for Model-based Deep Reinforcement Learning with Theoretical Guarantees" (2019),
Sec. 6.1 and `slbo/dynamics_model.py`, `slbo/loss/multi_step_loss.py`. Reward and termination are the task's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array

from mbrl_jax.checks import check_fields, check_not_negative, check_positive, check_widths
from mbrl_jax.data import normalise
from mbrl_jax.networks import MLP
from mbrl_jax.optimisers import adam_tf
from mbrl_jax.rollouts import memoryless
from mbrl_jax.types import Dynamics, Info, Key, Model, PyTree, Spec, Transition, along

__all__ = [
    "Config",
    "Objective",
    "Predicted",
    "Reward",
    "State",
    "Value",
    "alive",
    "change_norm",
    "make",
    "next_obs",
    "predicted",
    "renewed",
]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyper-parameters of the multi-step model; defaults are those of SLBO's released code.

    Raises:
      ValueError: a field breaks a rule of `checks.RULES`; a width or `horizon` is below 1; `initial_std`, `weight`,
        `smoothness`, `decay`, `clip` or `learning_rate` is negative; `smoothness` is positive with a horizon of 1.
    """

    hidden: tuple[int, ...] = (500, 500)
    """Widths of the hidden layers, with ReLU (SLBO code)."""
    initial_std: float = field(default=1e-5, metadata={"static": True})
    """Deviation of the truncated normal that weights are drawn from: at first the mean change is predicted (SLBO)."""
    horizon: int = 2
    """H, steps of the model along the real actions that a loss sees (SLBO code: multi_step)."""
    weight: float = 1.0
    """α, factor of the objective beside the weights' decay (Modhe et al. 2021, App. C)."""
    smoothness: float = 0.0
    """λ, factor of the values' smoothness in value-aware objectives (Modhe et al. 2021, App. C)."""
    decay: float = 1e-5
    """Coefficient of ½‖θ‖², biases included, in the loss, so that it is clipped with it (SLBO code)."""
    clip: float = 2.0
    """Largest global norm of the gradient (SLBO code)."""
    learning_rate: float = 1e-3
    """Adam's learning rate, ε as TensorFlow has it; its state is kept (SLBO code)."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_widths(self, "hidden")
        check_positive(self, "horizon")
        check_not_negative(self, "initial_std", "weight", "smoothness", "decay", "clip", "learning_rate")
        if self.horizon < 2 and isinstance(self.smoothness, float) and self.smoothness > 0:
            raise ValueError(f"smoothness compares two steps: horizon must be at least 2, got {self.horizon}")


class State(NamedTuple):
    """Parameters, the optimiser's state, and the statistics of observations and of their changes."""

    params: PyTree
    opt: optax.OptState
    obs: normalise.Running
    change: normalise.Running


class Predicted(NamedTuple):
    """The model's steps along real actions from a real observation.

    Attributes:
      before: `[horizon, batch, obs_dim]`, where each step starts: at first the real observation, then what the step
        before has predicted, or the real observation where an episode ended in between.
      after: where it leads, likewise; gradients flow through both.
      scale: `[obs_dim]`, standard deviations of the real changes, at least 1e-6.
    """

    before: Array
    after: Array
    scale: Array


Value = Callable[[Array], Array]
"""`value(obs[..., obs_dim]) -> [...]`, with constant parameters; differentiable in the observation."""
Objective = Callable[[Config, Predicted, Transition, Value], Array]
"""`objective(config, predicted, windows[horizon, batch, ...], value) -> []`: what is minimised, beside the decay."""


def change_norm(config: Config, predicted: Predicted, windows: Transition, value: Value) -> Array:
    r"""SLBO's loss: the root mean square over entries of the standardised error of the change, not squared: a scalar.

    $$ \frac{\alpha}{H} \sum_h \Bigl( \operatorname{mean}_d \bigl( (\hat s_{h+1} - \hat s_h - s_{h+1} + s_h)_d
       / \sigma^\Delta_d \bigr)^2 \Bigr)^{1/2}, \text{ mean over the batch} $$

    1e-20 joins the mean, so that its root has a gradient where the model is right.

    Source: Luo et al., 2019, Eq. 6.1; released code, `multi_step_loss.py`.
    """
    del value
    error = predicted.after - predicted.before - (windows.next_obs - windows.obs)
    square = jnp.square(error * along(1.0 / predicted.scale, error)).mean(axis=-1)
    return config.weight * jnp.sqrt(square + 1e-20).mean()


def _network(config: Config, spec: Spec) -> MLP:
    return MLP(config.hidden, spec.obs_dim, nn.relu, nn.initializers.truncated_normal(config.initial_std))


def next_obs(config: Config, spec: Spec, state: State, params: PyTree, obs: Array, action: Array) -> Array:
    """What `[..., obs_dim]` is predicted after `obs[..., obs_dim]` and `action[..., action_dim]`, clipped to [-1, 1].

    It stays within 100 standard deviations of the observations' mean.
    """
    scaler = state.obs.scaler
    inputs = jnp.concatenate([scaler.forward(obs), jnp.clip(action, -1.0, 1.0)], axis=-1)
    change = cast(Array, _network(config, spec).apply(params, inputs))
    # An entry that never changes keeps a deviation of 0 here, so that it is predicted exactly.
    found = obs + normalise.Scaler(state.change.mean, state.change.std).backward(change)
    return scaler.backward(jnp.clip(scaler.forward(found), -100.0, 100.0))


def predicted(config: Config, spec: Spec, state: State, params: PyTree, windows: Transition) -> Predicted:
    """The model's steps along `windows[horizon, batch, ...]`, written out."""
    forward = partial(next_obs, config, spec, state, params)
    before, after = [windows.obs[0]], []
    for h in range(config.horizon):
        after.append(forward(before[h], windows.action[h]))
        if h + 1 < config.horizon:
            ended = (windows.discount[h] == 0) | windows.truncated[h]
            before.append(jnp.where(ended[:, None], windows.obs[h + 1], after[h]))
    return Predicted(jnp.stack(before), jnp.stack(after), jnp.maximum(state.change.std, 1e-6))


def renewed(state: State, steps: Transition) -> State:
    """The state with the statistics of more transitions `[..., obs_dim]`."""
    obs = steps.obs.reshape(-1, steps.obs.shape[-1])
    change = steps.next_obs.reshape(obs.shape) - obs
    return state._replace(obs=normalise.observed(state.obs, obs), change=normalise.observed(state.change, change))


def alive(params: PyTree, least: float = 1e-6) -> Array:
    """Share `[]` of the hidden units that some weight of more than `least` leads to; the others never come back.

    Without a loss that outweighs the decay all weights shrink to nothing, and with them all gradients.
    """
    layers = params["params"]
    kernels = [layers[f"Dense_{i}"]["kernel"] for i in range(len(layers) - 1)]
    units = jnp.concatenate([jnp.abs(kernel).max(axis=0) for kernel in kernels])
    return (units > least).astype(units.dtype).mean()


def _loss(
    config: Config, spec: Spec, objective: Objective, value: Value, params: PyTree, state: State, windows: Transition
) -> tuple[Array, Info]:
    """What is minimised, and metrics: the objective, and the standardised error of the first step."""
    found = predicted(config, spec, state, params, windows)
    error = (found.after[0] - windows.next_obs[0]) * along(1.0 / found.scale, found.after[0])
    main = objective(config, found, windows, value)
    square = jnp.stack([jnp.square(leaf).sum() for leaf in jax.tree.leaves(params)]).sum()
    return main + 0.5 * config.decay * square, {"model/loss": main, "model/rmse": jnp.sqrt(jnp.square(error).mean())}


def _unvalued(obs: Array) -> Array:
    raise ValueError("this objective is of values: give the model's make a `value`")


Reward = Callable[[Array, Array, Array], Array]
"""`reward(obs, action, next_obs) -> [...]`, of batches."""


def make(
    config: Config,
    spec: Spec,
    reward: Reward,
    terminal: Callable[[Array], Array] | None = None,
    objective: Objective = change_norm,
    value: Value = _unvalued,
) -> Model[State, Transition]:
    """The model on windows `[updates, horizon, batch, ...]`: `fit` and `update` are the same gradient steps in turn.

    Statistics are renewed by `renewed`, not by an update.

    Args:
      reward: the task's own, of actions in [-1, 1].
      terminal: `terminal(next_obs [..., obs_dim]) -> bool [...]`, the task's termination; None if it never terminates.
      objective: what is minimised; gets the value function, the parameters of which it leaves alone.
      value: values of observations, for objectives that want them.
    """
    adam = adam_tf(config.learning_rate)
    optimiser = optax.chain(optax.clip_by_global_norm(config.clip), adam)
    network = _network(config, spec)

    def init(key: Key) -> State:
        params = network.init(key, jnp.zeros((1, spec.obs_dim + spec.action_dim)))
        return State(params, optimiser.init(params), normalise.running(spec.obs_dim), normalise.running(spec.obs_dim))

    def step(state: State, windows: Transition) -> tuple[State, Info]:
        loss = partial(_loss, config, spec, objective, value)
        grads, info = jax.grad(loss, has_aux=True)(state.params, state, windows)
        updates, opt = optimiser.update(grads, state.opt, state.params)
        return state._replace(params=optax.apply_updates(state.params, updates), opt=opt), info

    def update(key: Key, state: State, windows: Transition) -> tuple[State, Info]:
        del key
        return lax.scan(step, state, windows)

    def dynamics(state: State) -> Dynamics[tuple[()]]:
        def forward(key: Key, obs: Array, action: Array) -> tuple[Array, Array, Array]:
            del key
            after = next_obs(config, spec, state, state.params, obs, action)
            going = jnp.ones_like(after[..., 0])
            ended = jnp.zeros_like(going, bool) if terminal is None else terminal(after)
            return after, reward(obs, jnp.clip(action, -1.0, 1.0), after), jnp.where(ended, 0.0, going)

        return memoryless(forward)

    return Model(init, update, update, dynamics)
