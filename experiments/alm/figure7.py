"""Figure 7 of ALM: how long the latent model predicts the representations of a good trajectory, with and without KL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import lax

from experiments.alm import common, figure5, table1
from experiments.alm.ablation import planned as ablation_runs
from mbrl_jax import results, rollouts
from mbrl_jax.agents.latent import learner as latent
from mbrl_jax.algorithms import alm
from mbrl_jax.jobs import Cost, How, Job
from mbrl_jax.report import figures, select, statistics
from mbrl_jax.report.artefact import Artefact, Block, Figure
from mbrl_jax.report.claims import Claim
from mbrl_jax.runner import loop, program, record
from mbrl_jax.runner.run import Run
from mbrl_jax.types import Env, Key, Policy, PyTree

NAME = "alm/figure7"
SOURCE = f"{common.PAPER}, Appendix E and Figure 7"
LABELS = (common.ALM, "no KL")
TASKS = {"smoke": common.SHORT[0], "laptop": common.SHORT[0], "paper": "walker2d-v4"}
STEPS, HORIZON = 200, 30


def _guides(profile: str) -> dict[str, Run]:
    """The trained runs that are looked at, by label."""
    env = TASKS[profile]
    everything = [*table1.planned(profile), *ablation_runs(figure5.ABLATION, profile)]
    return {one.algorithm: one for one in everything if one.env == env and one.algorithm in LABELS}


def jobs(profile: str) -> list[Job]:
    """The runs that are looked at, then follows ALM's policy and predicts along its trajectories, seed by seed."""
    runs = _guides(profile)
    trained = dict(zip(runs, common.jobs(runs.values()), strict=True))
    after = tuple(trained[label].identity for label in LABELS)
    facts = {"experiment": NAME, "runs": list(after), "steps": STEPS}
    identity = results.run_id({**facts, "horizon": HORIZON, "until": "termination"})
    execute = partial(_execute, identity, runs)
    return [*trained.values(), Job(identity, NAME, f"predictions on {TASKS[profile]}", after, Cost(), execute)]


def _execute(identity: str, runs: dict[str, Run], root: Path, how: How) -> None:
    if results.finished(root, identity):
        return
    guide = runs[common.ALM]
    env = guide.environment()
    states = {label: loop.final_state(runs[label], root) for label in LABELS}
    tables = []
    measure = jax.jit(partial(_measure, guide.config, env))
    for i, seed in enumerate(guide.seeds):
        own = {label: program.lane(states[label], i).agent.learner for label in LABELS}
        found = jax.device_get(measure(jax.random.key(seed), own[common.ALM], own))
        tables += [_table(label, seed, found[label]) for label in LABELS]
    own_run = replace(guide, experiment=NAME)
    times = {"status": "finished", "compile_seconds": 0.0, "run_seconds": 0.0}
    results.save(root, identity, pd.concat(tables, ignore_index=True), record.facts(own_run, env) | times)


def _measure(
    config: alm.Config, env: Env, key: Key, guide: latent.State, agents: dict[str, latent.State]
) -> dict[str, dict[str, jax.Array]]:
    """Along one trajectory of the guide's policy: errors by horizon, spread of representations, first coordinates."""
    unit = rollouts.normalised(env)
    trajectory = _trajectory(key, unit, latent.mode(config.agent, unit.spec, guide))
    nets = latent.nets_of(config.agent, unit.spec)
    return {label: _errors(nets, agent.params["world"], *trajectory) for label, agent in agents.items()}


def _trajectory(key: Key, unit: Env, policy: Policy[tuple[()]]) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Observations and actions of `STEPS` steps, and whether the task had not ended before each, `[STEPS, ...]`."""

    def body(carry: tuple[PyTree, jax.Array], k: Key) -> tuple[tuple[PyTree, jax.Array], tuple[jax.Array, ...]]:
        state, valid = carry
        k_act, k_step = jax.random.split(k)
        action = rollouts.first_action(k_act, policy, state.obs[None])[0]
        following, transition = unit.step(k_step, state, action)
        return (following, valid & (transition.discount > 0)), (state.obs, action, valid)

    k_reset, k_run = jax.random.split(key)
    start = unit.reset(k_reset), jnp.ones((), bool)
    obs, action, valid = lax.scan(body, start, jax.random.split(k_run, STEPS))[1]
    return obs, action, valid


def _errors(nets: Any, params: PyTree, obs: jax.Array, action: jax.Array, valid: jax.Array) -> dict[str, jax.Array]:
    """Open-loop predictions (means) of the true representations (means of the online encoder).

    Only observations that are valid count. `error[h]` is the squared error after h steps, over all starts, as a share
    of the representations' variance along the trajectory, NaN where no start has as many steps before it; `spread`
    that variance over the encoder's own variance.
    """
    truth = nets.encode(params["encoder"], obs)
    starts = STEPS - HORIZON

    def over_valid(x: jax.Array) -> jax.Array:
        return jnp.where(valid[:, None], x, 0.0).sum(axis=0) / valid.sum().astype(x.dtype)

    def predict(z: jax.Array, h: jax.Array) -> tuple[jax.Array, jax.Array]:
        taken = lax.dynamic_slice_in_dim(action, h, starts)
        following = nets.predict(params["model"], z, taken).mean
        target, counts = (lax.dynamic_slice_in_dim(x, h + 1, starts) for x in (truth.mean, valid))
        each = jnp.square(following - target).sum(axis=-1)
        return following, jnp.where(counts, each, 0.0).sum() / counts.sum().astype(each.dtype)

    squared = lax.scan(predict, truth.mean[:starts], jnp.arange(HORIZON))[1]
    variance = over_valid(jnp.square(truth.mean - over_valid(truth.mean)[None])).sum()

    def step(z: jax.Array, a: jax.Array) -> tuple[jax.Array, jax.Array]:
        return (nets.predict(params["model"], z, a).mean,) * 2

    imagined = lax.scan(step, truth.mean[0], action[:-1])[1]
    prediction = jnp.concatenate([truth.mean[:1, 0], imagined[:, 0]])
    return {
        "error": squared / jnp.maximum(variance, 1e-12),
        "spread": variance / over_valid(jnp.square(truth.std)).sum(),
        "truth": jnp.where(valid, truth.mean[:, 0], jnp.nan),
        "prediction": jnp.where(valid, prediction, jnp.nan),
    }


def _table(label: str, seed: int, found: dict[str, np.ndarray]) -> pd.DataFrame:
    first = {"error": 1, "spread": 0, "truth": 0, "prediction": 0}
    rows = []
    for metric, values in found.items():
        values = np.atleast_1d(values)
        steps = first[metric] + np.arange(len(values))
        rows.append(pd.DataFrame({"env_step": steps, "metric": metric, "value": values.astype(float)}))
    return pd.concat(rows).assign(algorithm=label, seed=seed)


def _own(frame: pd.DataFrame) -> pd.DataFrame:
    rows = pd.DataFrame(frame[frame["experiment"] == NAME])
    if rows.empty:
        raise select.MissingDataError("nothing has been measured")
    return rows


def blocks(frame: pd.DataFrame) -> Sequence[Block]:
    """The first coordinate along a trajectory (left), and the error against the horizon (right)."""
    own = _own(frame)
    panels = []
    for label in LABELS:
        found = {name: select.curves(own, label, metric=name) for name in ("truth", "prediction")}
        lines = {name: (one.env_step, one.value[0]) for name, one in found.items()}
        panels.append(figures.lines(lines, title=f"{label}: first coordinate", xlabel="step", ylabel="z₀"))
    bands = {label: _band(select.curves(own, label, metric="error", worst=np.inf)) for label in LABELS}
    panels.append(
        figures.lines(
            bands,
            title="Error of open-loop prediction",
            xlabel="steps ahead",
            ylabel="share of variance",
            logy=True,
            references={"the mean": 1.0},
        )
    )
    spreads = {label: select.final(own, label, metric="spread") for label in LABELS}
    said = "; ".join(f"{label} {statistics.iqm(value):.3g}" for label, value in spreads.items())
    caption = (
        f"{own['env'].iloc[0]}, trajectories of {common.ALM}'s policy. Left: the first seed's representation and what "
        f"the model predicts from the first step on. Right: IQM over {own['seed'].nunique()} seeds with 95 % "
        f"intervals. Variance of the representations along a trajectory over the encoder's own: {said}."
    )
    return [Figure(panels, caption)]


def _band(errors: select.Curves) -> tuple[np.ndarray, statistics.Interval]:
    """The errors' IQM as far ahead as every seed's trajectory has steps."""
    kept = ~np.isnan(errors.value).any(axis=0)
    if not kept.any():
        raise select.MissingDataError("a seed's trajectory ends at its first step")
    return errors.env_step[kept], statistics.aggregate(errors.value[:, None, kept])


def _error(frame: pd.DataFrame, label: str, steps: int) -> np.ndarray:
    """Every seed's error so many steps ahead."""
    found = select.curves(_own(frame), label, metric="error", worst=np.inf)
    value = found.value[:, found.env_step == steps]
    if value.shape[1] != 1 or np.isnan(value).any():
        raise select.MissingDataError(f"not every seed's trajectory has {steps} steps before it ends")
    return value[:, 0]


def _accurate(steps: int):
    return lambda frame: 1.0 - _error(frame, common.ALM, steps)


def _without_is_worse(frame: pd.DataFrame) -> np.ndarray:
    without, ours = (_error(frame, label, 2) for label in ("no KL", common.ALM))
    with np.errstate(divide="ignore"):
        return np.log(without / ours)


def _degenerate(frame: pd.DataFrame) -> np.ndarray:
    own = _own(frame)
    spread = [select.final(own, label, metric="spread") for label in (common.ALM, "no KL")]
    return np.log(spread[0] / np.maximum(spread[1], 1e-30))


ARTEFACT = Artefact(
    on_request=common.ON_REQUEST,
    name=NAME,
    title="Predicting representations along a good trajectory",
    paper=f"{common.PAPER}, Figure 7",
    jobs=jobs,
    blocks=blocks,
    claims=(
        Claim(
            text="The model predicts representations up to about 20 steps ahead: better than their mean does",
            source=SOURCE,
            gap=_accurate(20),
            unit="share of the variance to spare",
        ),
        Claim(
            text="Without the KL term predictions two steps ahead are already worse",
            source=SOURCE,
            gap=_without_is_worse,
            unit="log ratio of errors",
        ),
        Claim(
            text="Without the KL term representations degenerate: they vary less between states",
            source=SOURCE,
            gap=_degenerate,
            unit="log ratio of spreads",
        ),
    ),
    note=common.SCALED_DOWN
    + " The paper shows HalfCheetah, the paper profile here Walker2d, on which both are trained. A trajectory counts "
    "up to its termination.",
)
