"""A deterministic recurrent model of the next observation, as in the released code of SAC-SVG (`svg/dx.py`).

An encoder of (observation, action), a stack of gated recurrent units that starts at zero in the first state of a
roll-out, and a linear decoder of the change of the observation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array

from mbrl_jax.checks import check_fields, check_positive, check_widths
from mbrl_jax.networks import MLP
from mbrl_jax.optimisers import adam
from mbrl_jax.rollouts import begin, follow, unroll
from mbrl_jax.types import Dynamics, Imagined, Info, Key, Model, PyTree, Spec, Transition

__all__ = ["GRU", "Config", "Memory", "State", "dynamics", "loss", "make", "predicted"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyper-parameters of the recurrent model; defaults are SAC-SVG's (`config/train.yaml`).

    Raises:
      ValueError: a field breaks a rule of `checks.RULES`; a width of the encoder, `width` or `layers` is below 1.
    """

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
        check_fields(self)
        check_widths(self, "encoder", empty=True)
        check_positive(self, "width", "layers")


class State(NamedTuple):
    """Parameters and the optimiser's state."""

    params: PyTree
    opt: optax.OptState


Memory = tuple[Array, ...]
"""States of the recurrent units, `[B, width]` each."""


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
    """The change of the observation from a memory `[..., width]` per layer and (observation, action) `x[..., in]`."""

    encoder: tuple[int, ...]
    width: int
    layers: int
    out_dim: int

    @nn.compact
    def __call__(self, memory: Memory, x: Array) -> tuple[Memory, Array]:
        orthogonal = nn.initializers.orthogonal()
        top = MLP(self.encoder, self.width, nn.relu, orthogonal, name="encoder")(x)
        memories = []
        for layer in range(self.layers):
            top = GRU(self.width, name=f"gru_{layer}")(memory[layer], top)
            memories.append(top)
        return tuple(memories), nn.Dense(self.out_dim, kernel_init=orthogonal, name="decoder")(top)


def _network(config: Config, spec: Spec) -> _Network:
    return _Network(config.encoder, config.width, config.layers, spec.obs_dim)


def dynamics(config: Config, spec: Spec, params: PyTree) -> Dynamics[Memory]:
    """The model with these parameters; it knows no reward (0) and no end (discount 1)."""
    network = _network(config, spec)

    def start(key: Key, obs: Array) -> Memory:
        del key
        return tuple(jnp.zeros((*obs.shape[:-1], config.width), obs.dtype) for _ in range(config.layers))

    def step(key: Key, memory: Memory, obs: Array, action: Array) -> tuple[Memory, Imagined]:
        del key
        inputs = jnp.concatenate([obs, action], axis=-1)
        memory, change = cast(tuple[Memory, Array], network.apply(params, memory, inputs))
        return memory, Imagined(obs + change, jnp.zeros_like(obs[..., 0]), jnp.ones_like(obs[..., 0]))

    return Dynamics(start, step)


def predicted(model: Dynamics[Memory], obs: Array, actions: Array) -> Array:
    """Predicted observations `[batch, time, obs_dim]` after each of the actions `[batch, time, action_dim]`.

    Between steps gradients flow through the memory only, not through the predicted observation (SVG code: detach_xt).

    Args:
      obs: where they start, `[batch, obs_dim]`.
    """

    def step(key: Key, memory: Memory, obs: Array, action: Array) -> tuple[Memory, Imagined]:
        return model.step(key, memory, lax.stop_gradient(obs), action)

    # Neither the model nor the policy draws anything.
    key, policy = jax.random.key(0), follow(actions)
    detached = Dynamics(model.start, step)
    keys = jnp.broadcast_to(key, (actions.shape[1],))
    _, steps = unroll(keys, detached, policy, begin(key, detached, policy, obs), in_line=True)
    return jnp.swapaxes(steps.next_obs, 0, 1)


def loss(config: Config, spec: Spec, params: PyTree, windows: Transition) -> Array:
    """Mean squared error over rows, steps and entries of the predictions along `windows[batch, time, ...]`.

    Windows that the replay does not have (their discount is NaN, see `replay.sample_sequences`) have weight 0: an
    environment whose episodes are shorter than a window teaches the model nothing.
    """
    found = predicted(dynamics(config, spec, params), windows.obs[:, 0], windows.action)
    error = jnp.square(found - windows.next_obs).mean(axis=-1)
    return jnp.where(jnp.isfinite(windows.discount), error, 0.0).mean()


def make(config: Config, spec: Spec) -> Model[State, Transition]:
    """The model on windows `[updates, batch, time, ...]`: `fit` and `update` are the same gradient steps in turn."""
    optimiser = optax.chain(optax.clip_by_global_norm(config.clip), adam(config.learning_rate))
    network = _network(config, spec)

    def init(key: Key) -> State:
        memory = tuple(jnp.zeros((1, config.width)) for _ in range(config.layers))
        params = network.init(key, memory, jnp.zeros((1, spec.obs_dim + spec.action_dim)))
        return State(params, optimiser.init(params))

    def step(state: State, windows: Transition) -> tuple[State, Info]:
        error, grads = jax.value_and_grad(lambda params: loss(config, spec, params, windows))(state.params)
        updates, opt = optimiser.update(grads, state.opt, state.params)
        return State(optax.apply_updates(state.params, updates), opt), {"model/loss": error}

    def update(key: Key, state: State, windows: Transition) -> tuple[State, Info]:
        del key
        return lax.scan(step, state, windows, unroll=windows.reward.shape[0] == 1)

    return Model(init, update, update, lambda state: dynamics(config, spec, state.params))
