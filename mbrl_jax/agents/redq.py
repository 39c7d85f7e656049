"""REDQ as a learner: soft actor-critic with an ensemble of critics and targets from random subsets (Chen et al., 2021).

Actor, critics and temperature are those of `agents/sac.py`, whose `Config` it takes; `critics` is the ensemble's N.
"""

from __future__ import annotations

from functools import partial

import jax
import optax
from jaxtyping import Array

from mbrl_jax.agents import critics, sac
from mbrl_jax.types import Agent, Info, Key, PyTree, Spec, Transition

__all__ = ["average_targets", "make", "subset_targets"]

POLICY = ("actor", "log_temperature")


def subset_targets(config: sac.Config, spec: Spec, subset: int) -> sac.Targets:
    """One-step soft targets with the minimum over `subset` of the target critics, drawn anew for every batch.

    Only the critics drawn are computed. Source: Chen et al., 2021 (in-target minimisation over M of N); released code,
    `redq/algos/redq_sac.py`.
    """
    one_step = sac.bootstrap(config, spec)

    def targets(key: Key, state: sac.State, batch: Transition) -> sac.Regression:
        k_subset, k_action = jax.random.split(key)
        drawn = jax.random.choice(k_subset, config.critics, (subset,), replace=False)
        return one_step(k_action, state._replace(target=jax.tree.map(lambda leaf: leaf[drawn], state.target)), batch)

    return targets


def _average(value: Array) -> Array:
    """The mean over all critics, as one row: what the actor climbs."""
    return value.mean(axis=0, keepdims=True)


def average_targets(config: sac.Config, spec: Spec) -> sac.Targets:
    """One-step soft targets with the mean over all target critics ("AVG" of Chen et al., 2021)."""
    return sac.bootstrap(config, spec, _average)


def make(
    config: sac.Config, spec: Spec, subset: int = 2, policy_delay: int = 20, targets: sac.Targets | None = None
) -> Agent[sac.State]:
    """REDQ on transitions whose actions lie in [-1, 1].

    `update` takes a multiple of `policy_delay` batches: on each, all critics learn from a target of their own random
    subset's minimum and the targets follow; after every `policy_delay`-th, actor and temperature are updated on it,
    with the mean over all critics. The state's `opt` is a pair: of the critics, of the policy.

    Args:
      subset: M, the critics whose minimum is the target.
      policy_delay: updates of the critics per update of the policy.
      targets: what the critics are fitted to instead.

    Source: Chen et al., "Randomized Ensembled Double Q-Learning: Learning Fast Without a Model", 2021, and the released
    code, which takes the policy's gradient at the critics before the last of their updates; here it is taken after it.

    Raises:
      ValueError: unless 1 <= `subset` <= `config.critics`.
    """
    if not 1 <= subset <= config.critics:
        raise ValueError(f"need 1 <= subset <= critics, got subset={subset}, critics={config.critics}")
    rates, regression = sac.rates(config), targets or subset_targets(config, spec, subset)
    of_critics, of_policy = critics.adam(rates), critics.adam(rates)

    def init(key: Key) -> sac.State:
        params, target = sac.fresh(config, spec, key)
        opt = of_critics.init({"critic": params["critic"]}), of_policy.init({name: params[name] for name in POLICY})
        return sac.State(params, target, opt)

    def critic_step(key: Key, state: sac.State, batch: Transition) -> tuple[sac.State, Info]:
        loss = partial(sac.critic_loss, config=config, spec=spec, fit=regression(key, state, batch))
        own = {"critic": state.params["critic"]}
        own, opt, info = critics.descend(loss, of_critics, own, state.opt[0])
        target = optax.incremental_update(own["critic"], state.target, config.tau)
        return sac.State({**state.params, **own}, target, (opt, state.opt[1])), info

    def policy_step(key: Key, state: sac.State, batch: Transition) -> tuple[sac.State, Info]:
        def loss(own: PyTree) -> tuple[Array, Info]:
            return sac.policy_loss({**state.params, **own}, config, spec, key, batch.obs, _average)

        own = {name: state.params[name] for name in POLICY}
        own, opt, info = critics.descend(loss, of_policy, own, state.opt[1])
        return state._replace(params={**state.params, **own}, opt=(state.opt[0], opt)), info

    update = critics.delayed(critic_step, policy_step, policy_delay)
    return Agent(init, update, partial(sac.act, config, spec), partial(sac.mode, config, spec))
