"""Planning with a model: what a sequence of actions is worth (`value`), and searching for a good one (`search`)."""

from mbrl_jax.planners.planning import afresh, warm_started
from mbrl_jax.planners.proposals import Proposal, all_sequences, box, choices
from mbrl_jax.planners.search import (
    Plan,
    Planner,
    Score,
    Search,
    cold,
    cross_entropy,
    exhaustive,
    mppi,
    random_shooting,
)
from mbrl_jax.planners.value import Correction, Scored, estimate, estimate_all

__all__ = [
    "Correction",
    "Plan",
    "Planner",
    "Proposal",
    "Score",
    "Scored",
    "Search",
    "afresh",
    "all_sequences",
    "box",
    "choices",
    "cold",
    "cross_entropy",
    "estimate",
    "estimate_all",
    "exhaustive",
    "mppi",
    "random_shooting",
    "warm_started",
]
