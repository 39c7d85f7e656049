"""What the actor-critic learners share: values of stacked critics, a step of Adam, policies updated less often.

Ours, and without an equation of their own; the losses they step on are in `objectives.actor_critic`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array

from mbrl_jax.checks import check_positive, check_share, check_widths
from mbrl_jax.networks import MLP, apply
from mbrl_jax.optimisers import scale_by_adam
from mbrl_jax.types import Info, Key, PyTree, S, Transition

__all__ = ["adam", "check", "delayed", "descend", "in_turn", "values"]

Step = Callable[[Key, S, PyTree], tuple[S, Info]]
"""`step(key, state, batch) -> (state, info)`: one gradient step on one batch."""


def check(config: object) -> None:
    """Refuses a configuration in which `hidden`, `critics` (their number), `gamma` or `tau` is impossible.

    Raises:
      ValueError: a width of `hidden`, or `critics`, is below 1; `gamma` is outside [0, 1]; `tau` is outside (0, 1].
    """
    check_widths(config, "hidden")
    check_positive(config, "critics")
    check_share(config, "gamma")
    check_share(config, "tau", zero=False)


def values(critic: MLP, params: PyTree, obs: Array, action: Array) -> Array:
    """Values `[critics, batch]` of stacked critics at `obs[batch, obs_dim]` and `action[batch, action_dim]`."""
    inputs = jnp.concatenate([obs, action], axis=-1)
    return jax.vmap(partial(apply, critic), in_axes=(0, None))(params, inputs)[..., 0]


def adam(rates: Mapping[str, float | Array]) -> optax.GradientTransformation:
    """One Adam over a dict of parameters, with a learning rate, a scalar, for each entry.

    Adam is elementwise, so this equals one for each entry, in fewer kernels.
    """

    def scale(updates: PyTree, state: optax.OptState, params=None):
        return {name: jax.tree.map(lambda u, r=rates[name]: -r * u, tree) for name, tree in updates.items()}, state

    scaled = optax.GradientTransformation(lambda params: optax.EmptyState(), scale)
    return optax.chain(scale_by_adam(), scaled)


def descend(
    loss: Callable[[PyTree], tuple[Array, Info]],
    optimiser: optax.GradientTransformation,
    params: PyTree,
    opt: optax.OptState,
) -> tuple[PyTree, optax.OptState, Info]:
    """One step down the gradient of `loss(params) -> (loss, info)`: new parameters, optimiser state, info."""
    grads, info = jax.grad(loss, has_aux=True)(params)
    updates, opt = optimiser.update(grads, opt, params)
    return optax.apply_updates(params, updates), opt, info


def in_turn(step: Step[S], key: Key, state: S, batches: PyTree) -> tuple[S, Info]:
    """One step on each of `batches[steps, ...]`, one after the other; the info's leaves are `[steps]`.

    An info of numbers of one dtype is written as one array: a write per metric is an operation each on an accelerator.
    """
    count = jax.tree.leaves(batches)[0].shape[0]
    names: list[str] = []

    def body(state: S, inputs: tuple[Key, PyTree]) -> tuple[S, PyTree]:
        state, info = step(inputs[0], state, inputs[1])
        if {(x.shape, x.dtype) for x in info.values()} != {((), jnp.dtype(jnp.float32))}:
            return state, info
        names[:] = info
        return state, jnp.stack(list(info.values()))

    keys = jax.random.split(key, count)
    state, infos = lax.scan(body, state, (keys, batches), unroll=count == 1)
    return state, {name: infos[:, i] for i, name in enumerate(names)} if names else infos


def delayed(critic_step: Step[S], policy_step: Step[S], delay: int) -> Step[S]:
    """An update on batches `[updates, batch, ...]`: the critics learn from each, the policy from every `delay`-th.

    How often the policy is updated is thus the length of a scan, not a branch on a counter.

    Returns:
      `update(key, state, batches) -> (state, info)`; the critics' info is the mean over their steps.

    Raises:
      ValueError: when traced, if `delay` does not divide the number of batches.
    """

    def group(key: Key, state: S, batches: Transition) -> tuple[S, Info]:
        k_critic, k_policy = jax.random.split(key)
        state, info = in_turn(critic_step, k_critic, state, batches)
        state, policy_info = policy_step(k_policy, state, jax.tree.map(lambda x: x[-1], batches))
        return state, {**jax.tree.map(lambda x: x.mean(axis=0), info), **policy_info}

    def update(key: Key, state: S, batches: Transition) -> tuple[S, Info]:
        count = batches.reward.shape[0]
        if count % delay:
            raise ValueError(f"the number of batches must be a multiple of policy_delay, got {count} and {delay}")
        if count == delay:
            return group(key, state, batches)
        groups = jax.tree.map(lambda x: x.reshape(count // delay, delay, *x.shape[1:]), batches)
        return in_turn(group, key, state, groups)

    return update
