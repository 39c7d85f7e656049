"""Table 1: what four lower bounds for model-based RL can do, checked on random MDPs instead of asserted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import lax

from experiments import exact
from mbrl_jax import tabular
from mbrl_jax.jobs import Job
from mbrl_jax.report import Artefact, Block, Claim, Table, Text
from mbrl_jax.theory import mnm, prior_bounds

__all__ = ["ARTEFACT"]

NAME = "mnm/table1"
ENV = "random MDPs"
COUNT = 2000
PROPERTIES = ("holds globally", "efficient to compute", "unified objective", "tight at optimality")
PAPER = {
    "Luo et al.": (False, True, False, False),
    "Kearns & Singh": (True, False, False, True),
    "MnM (Eq. 2)": (True, True, True, False),
    "MnM (Eq. 10)": (True, True, True, True),
}
MEANING = {
    "holds globally": "largest excess of the bound over the return, any policy and model",
    "efficient to compute": "largest change of the bound when the model changes at actions never taken",
    "unified objective": "largest drop of the bound when the model improves on what the method fits it to",
    "tight at optimality": "largest distance from the return at the best model",
}
ZERO, CLEAR = 1e-8, 1e-3
"""A ✓ means: nowhere above ZERO; a ✗ means: above CLEAR somewhere. All numbers are relative to the return's size."""


def _fitted(mdp: tabular.MDP, policy: jax.Array, model: jax.Array, proposal: jax.Array) -> jax.Array:
    """The model or a proposal, whichever has the higher likelihood on the policy's true transitions."""
    visits = tabular.state_action_occupancy(mdp, policy)

    def likelihood(step: jax.Array) -> jax.Array:
        return jnp.sum(visits[..., None] * tabular.product_or_zero(mdp.transition, jnp.log(step)))

    return jnp.where(likelihood(proposal) > likelihood(model), proposal, model)


def _inspect(key: jax.Array) -> dict[str, jax.Array]:
    """`[4]` per bound for one random MDP, policy, reference policy and model; larger is worse."""
    keys = jax.random.split(key, 5)
    mdp = tabular.random_mdp(keys[0], 4, 3, scale=2.0, dtype=jnp.float64)
    policy, reference = (tabular.greedy(tabular.random_policy(k, mdp, scale=2.0)) for k in keys[1:3])
    model, proposal = (tabular.random_model(k, mdp, scale=1.0) for k in keys[3:])
    taken = policy[..., None] > 0
    elsewhere, better = jnp.where(taken, model, proposal), _fitted(mdp, policy, model, proposal)
    truth = tabular.expected_return(mdp, policy)

    def relative(excess: jax.Array) -> jax.Array:
        return excess / jnp.maximum(1, jnp.abs(truth))

    luo = partial(_local_bound, mdp, policy)
    singh, simple = (
        partial(_of_model, bound, mdp, policy) for bound in (prior_bounds.simulation_bound, mnm.lower_bound)
    )
    learned = partial(_of_model, partial(mnm.optimal_discount_bound, length=200), mdp, policy)
    tilted = mnm.tilted_model(mdp.transition, mdp.discount * mnm.lower_bound_values(mdp, model, policy))
    far = prior_bounds.reference_policy_bound(mdp, model, policy, reference)
    excess = [relative(far - truth), relative(singh(model) - truth)]
    excess += [bound(model) - jnp.log(truth) for bound in (simple, learned)]
    moved = [jnp.abs(bound(elsewhere) - bound(model)) for bound in (luo, singh, simple, learned)]
    drops = [relative(bound(model) - bound(better)) for bound in (luo, singh)]
    tight, drop = _trajectory_bound(mdp, policy, model)
    best = mnm.best_model(mdp, policy)
    gaps = [relative(truth - luo(mdp.transition)), relative(truth - singh(mdp.transition))]
    gaps += [jnp.log(truth) - mdp.initial @ best.value, tight]
    columns = (excess, moved, [*drops, simple(model) - simple(tilted), drop], gaps)
    return {name: jnp.stack(values) for name, values in zip(PROPERTIES, columns, strict=True)}


def _of_model(bound: Callable[..., jax.Array], mdp: tabular.MDP, policy: jax.Array, model: jax.Array) -> jax.Array:
    return bound(mdp, model, policy)


def _local_bound(mdp: tabular.MDP, policy: jax.Array, model: jax.Array) -> jax.Array:
    """Luo et al.'s bound with the policy as its own reference."""
    return prior_bounds.reference_policy_bound(mdp, model, policy, policy)


def _trajectory_bound(mdp: tabular.MDP, policy: jax.Array, model: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Eq. 14 on three-step trajectories: distance from the truth at Eq. 15 and 16, drop on the way there."""
    paths = tabular.enumerate_paths(4, 3, 3)
    rewards = tabular.path_rewards(mdp, paths)
    returns = mnm.finite_return(rewards, mdp.discount)
    log_p = tabular.log_probability(mdp, policy, paths)
    log_q = tabular.log_probability(tabular.with_model(mdp, model), policy, paths)
    horizon = mnm.optimal_horizon(rewards, mdp.discount)
    best = mnm.optimal_trajectories(log_p, returns)
    start = mnm.trajectory_bound(log_p, log_q, horizon, rewards, mdp.discount)
    end = mnm.trajectory_bound(log_p, best, horizon, rewards, mdp.discount)
    return jnp.abs(jax.nn.logsumexp(log_p + jnp.log(returns)) - end), start - end


def jobs(profile: str) -> list[Job]:
    """Checks every property on random MDPs (2,000; smoke: 50)."""
    count = exact.by_profile(profile, 50, COUNT)
    return [exact.job(exact.Task(NAME, profile, {"count": count}, 1, partial(_program, count), _tabulate))]


def _program(count: int) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    def worst(keys: jax.Array) -> dict[str, jax.Array]:
        found = lax.map(_inspect, keys, batch_size=50)
        return {name: values.max(axis=0) for name, values in found.items()}

    return worst, (jax.random.split(jax.random.key(0), count),)


def _tabulate(out: dict[str, np.ndarray]) -> Iterable[pd.DataFrame]:
    for row, bound in enumerate(PAPER):
        for name, values in out.items():
            yield exact.table(bound, name, values[row : row + 1, None], [0], ENV)


def _worst(frame: pd.DataFrame, bound: str, name: str) -> float:
    return float(exact.pick(frame, NAME, name, bound).iloc[0, 0])


def blocks(frame: pd.DataFrame) -> list[Block]:
    """The paper's table with our measurements in it."""
    marks, numbers = [], []
    for name in PROPERTIES:
        measured = {bound: _worst(frame, bound, name) for bound in PAPER}
        verdict = {bound: "✓" if value <= ZERO else "✗" if value > CLEAR else "?" for bound, value in measured.items()}
        paper = {f"{bound} (paper)": "✓" if PAPER[bound][PROPERTIES.index(name)] else "✗" for bound in PAPER}
        marks.append({"property": name, **verdict, **paper})
        numbers.append({"property": name, "measured as": MEANING[name], **measured})
    caption = f"Measured on {COUNT} random MDPs (profile smoke: 50); ✓ where nothing exceeds {ZERO:g}."
    printed = {f"{bound} (paper)": "Table 1" for bound in PAPER}
    return [
        Table(pd.DataFrame(marks), caption, paper=printed),
        Table(pd.DataFrame(numbers), "Worst cases; relative to the return for the first two, nats for MnM."),
        Text(
            "Luo et al.'s bound is written with values: the discrepancy is the mean of |V(s') − E V| over real "
            "transitions of a reference policy. “Efficient” is read as: computable from what the policy visits. "
            "“Unified” is read as: improving what the method fits its model to (the likelihood for the two earlier "
            "bounds, the bound itself for MnM) never lowers the bound. Eq. 10's tightness is that of its "
            "trajectory-dependent form (Eq. 14–16)."
        ),
    ]


def _gap(bound: str, name: str, promised: bool) -> Callable[[pd.DataFrame], np.ndarray]:
    def gap(frame: pd.DataFrame) -> np.ndarray:
        value = _worst(frame, bound, name)
        return np.array([ZERO - value if promised else value - CLEAR])

    return gap


CLAIMS = tuple(
    Claim(
        text=f"{bound}: {name} – {'yes' if promised else 'no'}",
        source="Table 1",
        gap=_gap(bound, name, promised),
        unit="to spare",
        tolerance=0.0,
    )
    for bound, row in PAPER.items()
    for name, promised in zip(PROPERTIES, row, strict=True)
)

ARTEFACT = Artefact(
    name=NAME,
    title="Lower bounds for model-based RL compared",
    paper="Eysenbach et al. 2022, Table 1",
    jobs=jobs,
    blocks=blocks,
    claims=CLAIMS,
    note="A ✗ needs one counterexample, a ✓ is the absence of one among all draws.",
)
