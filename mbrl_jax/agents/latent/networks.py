"""ALM's networks as functions of their parameters: encoder, latent model, reward, classifier, critics and policy.

Source: Ghugare et al., 2023, Appendix D, and their released code (`RajGhugare19/alm`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array

from mbrl_jax.checks import check_fields, check_not_negative, check_positive, check_share, check_widths
from mbrl_jax.networks import MLP, Diagonal, NormedMLP, bounded_diagonal, elu, perturbed
from mbrl_jax.types import Key, PyTree, Spec

__all__ = ["Config", "Encoder", "Nets", "PolicyHead", "gaussian_encoder", "mlp", "networks", "noisy_policy"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyper-parameters of ALM's networks and losses; defaults are the released code's (`cfgs/agent/alm.yaml`).

    Raises:
      ValueError: a field breaks a rule of `checks.RULES`; a width, `latent_dim`, `horizon` or `critics` is below 1;
        `gamma` or `trace` is outside [0, 1], `tau` outside (0, 1]; `coefficient` or `noise_limit` is negative;
        `std_bounds` are not increasing and positive.
    """

    latent_dim: int = 50
    """Entries of a representation z (Table 3)."""
    hidden: tuple[int, ...] = (512, 512)
    """Widths of encoder, actor, critics and reward (Appendix D)."""
    model_hidden: tuple[int, ...] = (1024, 1024)
    """Widths of the latent model (Appendix D)."""
    classifier_hidden: tuple[int, ...] = (512, 512)
    """Widths of the classifier (Appendix D); none makes it linear (Figure 16)."""
    horizon: int = 3
    """K: real steps in a training sequence and imagined steps of the policy (Sec. 5)."""
    critics: int = 2
    """Number of critics; their minimum enters targets and losses (ALM code)."""
    world_lr: float = 1e-4
    """Adam learning rate of encoder and model (Table 3)."""
    heads_lr: float = 1e-4
    """Adam learning rate of reward and classifier (Table 3)."""
    critics_lr: float = 1e-4
    """Adam learning rate of the critics (Table 3)."""
    actor_lr: float = 1e-4
    """Adam learning rate of the policy (Table 3)."""
    max_grad_norm: float = 100.0
    """Global norm to which each group's gradient is clipped (Table 3)."""
    gamma: float = 0.99
    """Discount factor γ per environment step (Table 3)."""
    tau: float = 5e-3
    """Target encoder and critics move this fraction of the way at every update (Table 3)."""
    trace: float = 0.95
    """λ, the weight of longer imagined roll-outs (Table 3)."""
    coefficient: float = 0.1
    """c, weight of the classifier's log-ratio in the policy's reward (Table 3; 1 in theory)."""
    noise_limit: float = 0.3
    """The policy's noise is clipped to ± this in losses, not when acting (Table 3)."""
    mean_limit: float = 30.0
    """Means of representations are squashed into ± this (ALM code)."""
    std_bounds: tuple[float, float] = (0.1, 10.0)
    """Smallest and largest standard deviation of a representation (ALM code)."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_positive(self, "latent_dim", "horizon", "critics")
        check_widths(self, "hidden")
        check_widths(self, "model_hidden", "classifier_hidden", empty=True)
        check_share(self, "gamma", "trace")
        check_share(self, "tau", zero=False)
        check_not_negative(self, "coefficient", "noise_limit")
        low, high = self.std_bounds
        if not 0 < low < high:
            raise ValueError(f"std_bounds must be increasing and positive, got {self.std_bounds}")


class Encoder(NamedTuple):
    """An encoder: `init(key) -> params`, `encode(params, obs[..., O]) -> Diagonal [..., dim]`, and its `dim`."""

    init: Callable[[Key], PyTree]
    encode: Callable[[PyTree, Array], Diagonal]
    dim: int


class PolicyHead(NamedTuple):
    """A policy π(a | z) over representations; actions lie in (-1, 1).

    Attributes:
      init: `init(key) -> params`.
      mean: `mean(params, z) -> action [..., A]`, without noise.
      draw: `draw(params, key, z, noise, limit) -> (action [..., A], log_prob [...])`. A policy without a density of
        its own adds noise of that standard deviation, clipped to ± limit unless that is None, and returns zeros.
      temperature: `temperature(params) -> α`, reward units per nat of entropy; zero without an entropy bonus.
      loss: `loss(params, log_prob [...]) -> scalar`, what the policy minimises besides the objective.
    """

    init: Callable[[Key], PyTree]
    mean: Callable[[PyTree, Array], Array]
    draw: Callable[[PyTree, Key, Array, Array, Array | float | None], tuple[Array, Array]]
    temperature: Callable[[PyTree], Array]
    loss: Callable[[PyTree, Array], Array]


class Nets(NamedTuple):
    """What each network computes from its own parameters; leading axes are free.

    Attributes:
      init: `init(key) -> params` of all groups.
      encode: `encode(params, obs) -> Diagonal`, e(z | s).
      predict: `predict(params, z, action) -> Diagonal`, m(z' | z, a).
      reward: `reward(params, z, action) -> [...]`.
      classify: `classify(params, z, action, next_z) -> logits [..., 2]`, class 1 is real.
      values: `values(params, z, action) -> [critics, ...]`.
      policy: the policy's functions.
    """

    init: Callable[[Key], dict[str, PyTree]]
    encode: Callable[[PyTree, Array], Diagonal]
    predict: Callable[[PyTree, Array, Array], Diagonal]
    reward: Callable[[PyTree, Array, Array], Array]
    classify: Callable[[PyTree, Array, Array, Array], Array]
    values: Callable[[PyTree, Array, Array], Array]
    policy: PolicyHead


def gaussian_encoder(config: Config, spec: Spec) -> Encoder:
    """The learned encoder e(z | s), a diagonal Gaussian (Appendix D)."""
    module = mlp(config.hidden, 2 * config.latent_dim)

    def init(key: Key) -> PyTree:
        return module.init(key, jnp.zeros((1, spec.obs_dim)))

    return Encoder(init, lambda params, obs: _limited(config, _call(module, params, obs)), config.latent_dim)


def mlp(hidden: tuple[int, ...], out_dim: int) -> MLP:
    """A network of the encoder's kind: ELU, orthogonal weights."""
    return MLP(hidden, out_dim, elu, nn.initializers.orthogonal())


def _limited(config: Config, outputs: Array) -> Diagonal:
    return bounded_diagonal(outputs, config.mean_limit, *config.std_bounds)


def _call(module: nn.Module, params: PyTree, *inputs: Array) -> PyTree:
    return module.apply(params, jnp.concatenate(inputs, axis=-1))


def noisy_policy(config: Config, spec: Spec, dim: int) -> PolicyHead:
    """ALM's policy: tanh of a network of the representation's `dim` entries, with scheduled noise (Appendix D)."""
    module = mlp(config.hidden, spec.action_dim)

    def mean(params: PyTree, z: Array) -> Array:
        return jnp.tanh(_call(module, params, z))

    def draw(params: PyTree, key: Key, z: Array, noise: Array, limit: Array | float | None) -> tuple[Array, Array]:
        return perturbed(key, mean(params, z), noise, limit), jnp.zeros_like(z[..., 0])

    return PolicyHead(
        init=lambda key: module.init(key, jnp.zeros((1, dim))),
        mean=mean,
        draw=draw,
        temperature=lambda params: jnp.zeros(()),
        loss=lambda params, log_prob: jnp.zeros(()),
    )


def networks(config: Config, spec: Spec, encoder: Encoder, policy: PolicyHead) -> Nets:
    """All networks of ALM for an environment with this `spec` (Appendix D; ALM code `models.py`)."""
    z, a = encoder.dim, spec.action_dim
    model, classifier = mlp(config.model_hidden, 2 * z), NormedMLP(config.classifier_hidden, 2)
    reward, critic = NormedMLP(config.hidden, 1), NormedMLP(config.hidden, 1)

    def init(key: Key) -> dict[str, PyTree]:
        k_encoder, k_model, k_reward, k_classifier, k_critics, k_actor = jax.random.split(key, 6)

        def fresh(module: nn.Module, k: Key, dim: int) -> PyTree:
            return module.init(k, jnp.zeros((1, dim)))

        return {
            "world": {"encoder": encoder.init(k_encoder), "model": fresh(model, k_model, z + a)},
            "heads": {
                "reward": fresh(reward, k_reward, z + a),
                "classifier": fresh(classifier, k_classifier, 2 * z + a),
            },
            "critics": tuple(fresh(critic, k, z + a) for k in jax.random.split(k_critics, config.critics)),
            "actor": policy.init(k_actor),
        }

    return Nets(
        init=init,
        encode=encoder.encode,
        predict=lambda params, z, action: _limited(config, _call(model, params, z, action)),
        reward=lambda params, z, action: _call(reward, params, z, action)[..., 0],
        classify=lambda params, z, action, next_z: _call(classifier, params, z, action, next_z),
        values=lambda params, z, action: jnp.stack([_call(critic, p, z, action)[..., 0] for p in params]),
        policy=policy,
    )
