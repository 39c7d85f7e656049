"""A deterministic recurrent model of the next observation, as in the released code of SAC-SVG (`svg/dx.py`).

An encoder of (observation, action), a stack of gated recurrent units that starts at zero in the first state of a
roll-out, and a linear decoder of the change of the observation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array

from mbrl_jax.networks import MLP
from mbrl_jax.types import Key, Learner, PyTree, Spec, Transition, check_not_negative, check_positive, check_widths

__all__ = ["GRU", "Config", "Model", "State", "make", "model", "unroll"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyper-parameters of the recurrent model; defaults are SAC-SVG's (`config/train.yaml`)."""

    encoder: tuple[int, ...] = (512, 512)
    """Widths of the encoder's hidden layers (SVG code: xu_enc)."""
    width: int = 512
    """Width of a recurrent unit and of the encoder's output (SVG code: rec_latent_dim)."""
    layers: int = 2
    """Recurrent units, one on top of the other (SVG code: rec_num_layers)."""
    learning_rate: float = 1e-3
    """Adam learning rate (SVG code)."""
    clip: float = 1.0
    """Largest global norm of the gradient (SVG code: clip_grad_norm)."""

    def __post_init__(self) -> None:
        check_widths(self, "encoder", empty=True)
        check_positive(self, "width", "layers")
        check_not_negative(self, "clip")


class State(NamedTuple):
    """Parameters and the optimiser's state."""

    params: PyTree
    opt: optax.OptState


class Model(NamedTuple):
    """A recurrent model as pure functions.

    Attributes:
      start: `start(obs[batch, obs_dim]) -> memory` at the first observation of a roll-out.
      step: `step(memory, obs, action[batch, action_dim]) -> (memory, next_obs)`, differentiable in all of them.
    """

    start: Callable[[Array], PyTree]
    step: Callable[[PyTree, Array, Array], tuple[PyTree, Array]]


def _uniform(key: Key, shape: tuple[int, ...], dtype=jnp.float32) -> Array:
    """Uniform in ±1/√width for weights `[width, 3 width]` and biases `[3 width]` of a recurrent unit (PyTorch's)."""
    width = shape[0] if len(shape) == 2 else shape[0] // 3
    return jax.random.uniform(key, shape, dtype, -(width**-0.5), width**-0.5)


class GRU(nn.Module):
    """One gated recurrent unit: r, z = σ(·), n = tanh(W x + r ⊙ U h), next h = (1 − z) ⊙ n + z ⊙ h.

    One product for the three gates of x and one for those of h, both with biases. Input and state are `width` wide.
    """

    width: int

    @nn.compact
    def __call__(self, memory: Array, x: Array) -> Array:
        """Maps `memory[..., width]` and `x[..., width]` to the next memory."""
        gates = [nn.Dense(3 * self.width, kernel_init=_uniform, bias_init=_uniform, name=n) for n in ("input", "state")]
        x_reset, x_keep, x_new = jnp.split(gates[0](x), 3, axis=-1)
        h_reset, h_keep, h_new = jnp.split(gates[1](memory), 3, axis=-1)
        keep = nn.sigmoid(x_keep + h_keep)
        new = jnp.tanh(x_new + nn.sigmoid(x_reset + h_reset) * h_new)
        return (1.0 - keep) * new + keep * memory


class _Network(nn.Module):
    """The change of the observation from `memory[layers, ..., width]` and (observation, action) `x[..., in_dim]`."""

    encoder: tuple[int, ...]
    width: int
    layers: int
    out_dim: int

    @nn.compact
    def __call__(self, memory: Array, x: Array) -> tuple[Array, Array]:
        orthogonal = nn.initializers.orthogonal()
        top = MLP(self.encoder, self.width, nn.relu, orthogonal, name="encoder")(x)
        memories = []
        for layer in range(self.layers):
            top = GRU(self.width, name=f"gru_{layer}")(memory[layer], top)
            memories.append(top)
        return jnp.stack(memories), nn.Dense(self.out_dim, kernel_init=orthogonal, name="decoder")(top)


def _network(config: Config, spec: Spec) -> _Network:
    return _Network(config.encoder, config.width, config.layers, spec.obs_dim)


def model(config: Config, spec: Spec, params: PyTree) -> Model:
    """The model with these parameters."""
    network = _network(config, spec)

    def start(obs: Array) -> Array:
        return jnp.zeros((config.layers, *obs.shape[:-1], config.width), obs.dtype)

    def step(memory: Array, obs: Array, action: Array) -> tuple[Array, Array]:
        inputs = jnp.concatenate([obs, action], axis=-1)
        memory, change = cast(tuple[Array, Array], network.apply(params, memory, inputs))
        return memory, obs + change

    return Model(start, step)


def unroll(dynamics: Model, obs: Array, actions: Array) -> Array:
    """Predicted observations `[batch, time, obs_dim]` after each of the actions `[batch, time, action_dim]`.

    Between steps gradients flow through the memory only, not through the predicted observation (SVG code: detach_xt).
    """
    memory, predicted = dynamics.start(obs), []
    for t in range(actions.shape[1]):
        memory, obs = dynamics.step(memory, lax.stop_gradient(obs), actions[:, t])
        predicted.append(obs)
    return jnp.stack(predicted, axis=1)


def loss(config: Config, spec: Spec, params: PyTree, windows: Transition) -> Array:
    """Mean squared error over rows, steps and entries of the predictions along `windows[batch, time, ...]`.

    Windows that the replay does not have (their discount is NaN, see `replay.sample_sequences`) have weight 0: an
    environment whose episodes are shorter than a window teaches the model nothing.
    """
    predicted = unroll(model(config, spec, params), windows.obs[:, 0], windows.action)
    error = jnp.square(predicted - windows.next_obs).mean(axis=-1)
    return jnp.where(jnp.isfinite(windows.discount), error, 0.0).mean()


def make(config: Config, spec: Spec) -> Learner:
    """The model as a learner: `update(key, state, windows)` is one gradient step on `windows[batch, time, ...]`."""
    optimiser = optax.chain(optax.clip_by_global_norm(config.clip), optax.adam(config.learning_rate))
    network = _network(config, spec)

    def init(key: Key) -> State:
        memory = jnp.zeros((config.layers, 1, config.width))
        params = network.init(key, memory, jnp.zeros((1, spec.obs_dim + spec.action_dim)))
        return State(params, optimiser.init(params))

    def update(key: Key, state: State, windows: Transition) -> tuple[State, dict[str, Array]]:
        del key
        error, grads = jax.value_and_grad(lambda params: loss(config, spec, params, windows))(state.params)
        updates, opt = optimiser.update(grads, state.opt, state.params)
        return State(optax.apply_updates(state.params, updates), opt), {"model/loss": error}

    return Learner(init, update)
