"""Exact algebra of finite MDPs: the ground truth that every objective is tested against."""

from mbrl_jax.tabular.divergence import kl_divergence, log_ratio, product_or_zero, total_variation
from mbrl_jax.tabular.evaluate import (
    Control,
    action_value,
    expected_return,
    expected_reward,
    greedy,
    iterate,
    occupancy,
    policy_transition,
    return_variance,
    state_action_occupancy,
    state_marginals,
    state_value,
    value_iteration,
)
from mbrl_jax.tabular.mdp import MDP, make, make_dynamics, make_policy, with_model
from mbrl_jax.tabular.sample import random_mdp, random_model, random_policy
from mbrl_jax.tabular.trajectories import (
    Paths,
    enumerate_paths,
    log_probability,
    path_rewards,
    step_log_probability,
    step_ratio,
    truncated_geometric,
)

__all__ = [
    "MDP",
    "Control",
    "Paths",
    "action_value",
    "enumerate_paths",
    "expected_return",
    "expected_reward",
    "greedy",
    "iterate",
    "kl_divergence",
    "log_probability",
    "log_ratio",
    "make",
    "make_dynamics",
    "make_policy",
    "occupancy",
    "path_rewards",
    "policy_transition",
    "product_or_zero",
    "random_mdp",
    "random_model",
    "random_policy",
    "return_variance",
    "state_action_occupancy",
    "state_marginals",
    "state_value",
    "step_log_probability",
    "step_ratio",
    "total_variation",
    "truncated_geometric",
    "value_iteration",
    "with_model",
]
