"""Variants of ALM, each a `Parts` with one function replaced; the paper's ablations (Sec. 5.3, Appendix E).

What is only a number needs no entry here: no classifier is `coefficient=0` (Figure 5a), the length of roll-outs is
`horizon` (Figure 5b), a linear classifier is `classifier_hidden=()` (Figure 16).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from mbrl_jax.agents.latent import learner as latent
from mbrl_jax.agents.latent.learner import Context, Loss, Parts
from mbrl_jax.agents.latent.networks import Config, Encoder, PolicyHead, gaussian_encoder, mlp
from mbrl_jax.networks import Diagonal, draw, sample
from mbrl_jax.objectives import actor_critic
from mbrl_jax.objectives import latent as objectives
from mbrl_jax.types import Info, Key, PyTree, Spec

__all__ = [
    "VARIANTS",
    "cloning",
    "entropic_policy",
    "identity_encoder",
    "likelihood",
    "model_free",
    "plain_encoder",
    "untrained",
    "value_predicting",
    "with_decoder",
]

LARGE = 10_000.0
"""a of Appendix A.8."""
TEMPERATURE = 0.1
"""α before training of the policy with an entropy bonus; the paper does not give it, SAC-SVG's code has 0.1."""
FLOOR = 1e-3
"""The plain logarithm is taken of nothing smaller: the paper assumes positive rewards, predictions need not be."""


def _without_divergence(reward: Array, divergence: Array, value: Array) -> Array:
    return objectives.model_loss(reward, jnp.zeros_like(divergence), value)


def _without_value(reward: Array, divergence: Array, value: Array) -> Array:
    return objectives.model_loss(reward, divergence, jnp.zeros_like(value))


def _log(x: Array) -> Array:
    return jnp.log(jnp.maximum(x, FLOOR))


def _shifted_log(x: Array) -> Array:
    return objectives.log_reward(x, LARGE)


def _model_loss_of(transform: Callable[[Array], Array]) -> Callable[..., Array]:
    """Eq. 7 with the transformed reward and value.

    Eq. 6 (a) has the reward's logarithm times 1 − γ. That factor is left out, as in the authors' code of this
    experiment (`RajGhugare19/alm` at 108d795, `positive_reward`, `total_positive_reward`); the paper prints no formula.
    """
    return lambda reward, divergence, value: objectives.model_loss(transform(reward), divergence, transform(value))


def _policy_loss_of(transform: Callable[[Array], Array]) -> Callable[..., Array]:
    return lambda reward, ratio, value, *numbers: objectives.policy_loss(
        transform(reward), ratio, transform(value), *numbers
    )


def model_free(config: Config) -> Loss:
    """TD3's policy loss −min Q(z, π(z)) on ALM's representation (Figure 5c); here the critics do see the action."""

    def loss(params: PyTree, key: Key, ctx: Context) -> tuple[Array, Info]:
        k_z, k_act = jax.random.split(key)
        z = sample(k_z, ctx.now)
        action, _ = latent.explored(config, ctx, params, k_act, z)
        value = ctx.nets.values(ctx.state.params["critics"], z, action).min(axis=0)
        return -value.mean(), {"alm/actor_loss": -value.mean()}

    return loss


def cloning(config: Config, weight: float = 1.0) -> Loss:
    """ALM's policy loss plus the behaviour-cloning term of offline data (Appendix A.7), for the first action.

    With a Gaussian policy and behaviour of the same standard deviation σ the term is ½ ‖μ(z) − a‖² / σ², up to what
    does not depend on the policy. σ is the policy's noise, which `alm.offline` holds constant: on ALM's schedule of
    exploration the term's weight would grow a hundredfold, of which A.7 knows nothing. The first action's term is the
    one that the bound cannot do without (docs/theory.md).

    Args:
      weight: factor of the term; 1 in theory.
    """
    base = latent.svg(config)

    def loss(params: PyTree, key: Key, ctx: Context) -> tuple[Array, Info]:
        k_base, k_z = jax.random.split(key)
        total, info = base(params, k_base, ctx)
        mean = ctx.nets.policy.mean(params, sample(k_z, ctx.now))
        error = 0.5 * jnp.square((mean - ctx.data.batch.action) / ctx.data.noise).sum(axis=-1).mean()
        return total + weight * error, {**info, "alm/cloning_loss": error}

    return loss


def identity_encoder(config: Config, spec: Spec) -> Encoder:
    """The observation itself with the smallest standard deviation: what remains resembles MnM (Figure 13)."""

    def encode(params: PyTree, obs: Array) -> Diagonal:
        del params
        return Diagonal(obs, jnp.full_like(obs, config.std_bounds[0]))

    return Encoder(lambda key: {}, encode, spec.obs_dim)


def plain_encoder(config: Config, spec: Spec) -> Encoder:
    """The observation itself without any spread: no representation at all."""
    del config
    return Encoder(lambda key: {}, lambda params, obs: Diagonal(obs, jnp.zeros_like(obs)), spec.obs_dim)


def untrained(config: Config) -> Loss:
    """A loss of encoder and model that is nothing: they stay as they are, and nothing should depend on them."""
    del config

    def loss(params: PyTree, key: Key, ctx: Context) -> tuple[Array, Info]:
        zero = jnp.zeros_like(ctx.data.noise)
        return zero, {"alm/world_loss": zero}

    return loss


def with_decoder(config: Config, spec: Spec) -> Encoder:
    """The learned encoder with a decoder beside it, for `likelihood`."""
    inner = gaussian_encoder(config, spec)
    decoder = mlp(config.hidden, spec.obs_dim)

    def init(key: Key) -> PyTree:
        k_encoder, k_decoder = jax.random.split(key)
        return {"net": inner.init(k_encoder), "decoder": decoder.init(k_decoder, jnp.zeros((1, config.latent_dim)))}

    return Encoder(init, lambda params, obs: inner.encode(params["net"], obs), inner.dim)


def likelihood(config: Config) -> Loss:
    """Representation and model that maximise the likelihood of observations (Figure 15); use with `with_decoder`.

    The decoder is a Gaussian of unit variance, so the loss of a sequence is the sum of ½‖s_t − d(z_t)‖² over its K + 1
    observations and of the consistency terms; reward and value are left out.
    """

    def loss(params: PyTree, key: Key, ctx: Context) -> tuple[Array, Info]:
        terms, z, last = latent.rollout(params, key, ctx)
        sequences = ctx.data.sequences
        obs = jnp.concatenate([sequences.obs[:, :1], sequences.next_obs], axis=1).swapaxes(0, 1)
        decoder = mlp(config.hidden, obs.shape[-1])
        decoded = decoder.apply(params["encoder"]["decoder"], jnp.concatenate([z, last[None]]))
        error = 0.5 * jnp.square(obs - jnp.asarray(decoded)).sum(axis=-1)
        each = (error.sum(axis=0) + terms.divergence.sum(axis=0)) * latent.unbroken(sequences)
        return each.mean(), {"alm/world_loss": each.mean(), "alm/reconstruction": error.mean()}

    return loss


def entropic_policy(config: Config, spec: Spec, dim: int) -> PolicyHead:
    """SAC's policy on representations: squashed Gaussian, learned temperature, target entropy −A nats (Table 5).

    It explores by its own spread instead of scheduled noise.
    """
    module = mlp(config.hidden, 2 * spec.action_dim)

    def outputs(params: PyTree, z: Array) -> Array:
        return jnp.asarray(module.apply(params["net"], z))

    def init(key: Key) -> PyTree:
        fresh = module.init(key, jnp.zeros((1, dim)))
        return {"net": fresh, "log_temperature": jnp.log(jnp.asarray(TEMPERATURE, jnp.float32))}

    def own_loss(params: PyTree, log_prob: Array) -> Array:
        entropy = -float(spec.action_dim)
        return actor_critic.temperature_loss(params["log_temperature"], log_prob.reshape(-1), entropy).mean()

    return PolicyHead(
        init=init,
        mean=lambda params, z: jnp.tanh(outputs(params, z)[..., : spec.action_dim]),
        draw=lambda params, key, z, noise, limit: draw(key, outputs(params, z)),
        temperature=lambda params: jnp.exp(params["log_temperature"]),
        loss=own_loss,
    )


def value_predicting(config: Config, steps: int | None = None) -> Loss:
    """ALM's loss plus the temporal-difference error of the critics at the sequence's representations.

    Args:
      steps: at how many of the K representations, from the first on: 1 trains the encoder alone to predict values
        (Figure 18), None, all of them, encoder and model (Figure 19). The critics are not changed by it.
    """
    base = latent.aligned(config)

    def loss(params: PyTree, key: Key, ctx: Context) -> tuple[Array, Info]:
        k_base, k_value = jax.random.split(key)
        total, info = base(params, k_base, ctx)
        error = _value_error(config, params, k_value, ctx, steps or config.horizon)
        return total + error, {**info, "alm/value_error": error}

    return loss


def _value_error(config: Config, params: PyTree, key: Key, ctx: Context, steps: int) -> Array:
    """Mean over rows of Σ_t Σ_i ½ (Q_i(z_t, a_t) − y_t)² with targets from the real next observations.

    The paper prints no formula; it is the sum over the sequence, as every other term of Eq. 7.
    """
    nets, state = ctx.nets, ctx.state
    k_roll, k_next, k_act = jax.random.split(key, 3)
    _, z, _ = latent.rollout(params, k_roll, ctx)
    sequences = jax.tree.map(lambda x: x.swapaxes(0, 1)[:steps], ctx.data.sequences)
    next_z = sample(k_next, nets.encode(state.target["encoder"], sequences.next_obs))
    next_action, _ = latent.explored(config, ctx, state.params["actor"], k_act, next_z)

    def flat(x: Array) -> Array:
        return x.reshape(*x.shape[:-2], -1)

    next_value = flat(nets.values(state.target["critics"], next_z, next_action))
    reward, discount = flat(sequences.reward), config.gamma * flat(sequences.discount)
    target = actor_critic.soft_target(reward, discount, next_value, jnp.zeros_like(reward), jnp.zeros(()))
    value = flat(nets.values(state.params["critics"], z[:steps], sequences.action))
    return actor_critic.critic_loss(value, lax.stop_gradient(target)).sum() / sequences.reward.shape[1]


def _world(objective: Callable[..., Array]) -> Parts:
    return Parts(world=partial(latent.aligned, objective=objective))


VARIANTS: Mapping[str, Parts] = {
    "ALM": latent.STANDARD,
    "no KL": _world(_without_divergence),
    "no value": _world(_without_value),
    "TD3 loss": Parts(actor=model_free),
    "cloning": Parts(actor=cloning),
    "entropy": Parts(policy=entropic_policy),
    "TD3, same architecture": Parts(encoder=plain_encoder, world=untrained, actor=model_free),
    "log, model only": _world(_model_loss_of(_log)),
    "log": Parts(
        world=partial(latent.aligned, objective=_model_loss_of(_log)),
        actor=partial(latent.svg, objective=_policy_loss_of(_log)),
    ),
    "shifted log": Parts(
        world=partial(latent.aligned, objective=_model_loss_of(_shifted_log)),
        actor=partial(latent.svg, objective=_policy_loss_of(_shifted_log)),
    ),
    "identity encoder": Parts(encoder=identity_encoder),
    "likelihood": Parts(encoder=with_decoder, world=likelihood),
    "value prediction, encoder": Parts(world=partial(value_predicting, steps=1)),
    "value prediction": Parts(world=value_predicting),
}
"""Variants by name, with ALM itself."""
