"""Figure 4 of MBPO: compounding error of model roll-outs, and returns under the model against real ones."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import lax

from experiments.mbpo import common, figure2
from mbrl_jax import results, rollouts
from mbrl_jax.agents import sac
from mbrl_jax.algorithms import mbpo
from mbrl_jax.jobs import Cost, How, Job
from mbrl_jax.models import ensemble
from mbrl_jax.report import figures, select, statistics
from mbrl_jax.report.artefact import Artefact, Block, Figure
from mbrl_jax.report.claims import Claim
from mbrl_jax.runner import loop, program, record
from mbrl_jax.runner.run import Run
from mbrl_jax.runner.seeds import over_seeds
from mbrl_jax.types import Dynamics, Env, Key, Policy

NAME = "mbpo/figure4"
SOURCE = f"{common.PAPER}, Sec. 6.2 and Figure 4"
TASKS = {"smoke": "inverted_pendulum-v4", "laptop": "pendulum-v1", "paper": "hopper-v4"}
STEPS = 450
"""Length of the paper's hopping sequence; the episode's length where that is shorter."""
DRAWS = 1000
"""Open-loop model roll-outs of the same actions, as in the paper."""
STARTS = 16
"""Start states whose real and imagined returns are compared."""


def _trained(profile: str) -> Run:
    """Figure 2's MBPO run on this task."""
    return next(r for r in figure2.planned(profile) if r.algorithm == "MBPO" and r.env == TASKS[profile])


def jobs(profile: str) -> list[Job]:
    """Measures the final models and policies of a run of Figure 2's."""
    trained = _trained(profile)
    (first,) = common.jobs([trained])
    identity = results.run_id({"experiment": NAME, "of": first.identity, "steps": STEPS, "draws": DRAWS})
    execute = partial(_execute, identity, trained)
    return [first, Job(identity, NAME, f"roll-outs of {first.title}", (first.identity,), Cost(), execute)]


def _execute(identity: str, trained: Run, root: Path, how: How) -> None:
    if results.finished(root, identity):
        return
    env = trained.environment()
    state = loop.final_state(trained, root)
    own = jax.tree.map(
        lambda x, lane: x if lane else jnp.broadcast_to(x, (len(trained.seeds), *x.shape)),
        state,
        program.batched(state),
    )
    own = jax.tree.map(lambda x: x[: len(trained.seeds)], own)
    steps = min(STEPS, env.spec.time_limit)
    measured = over_seeds(partial(_measure, env=env, config=trained.config, steps=steps), trained.seeds, own)
    curves = measured.value
    table = pd.concat([_long(name, rows, trained.seeds) for name, rows in curves["curves"].items()], ignore_index=True)
    facts = record.facts(trained, env) | {
        "experiment": NAME,
        "algorithm": "MBPO",
        "status": "finished",
        "compile_seconds": measured.compile_seconds,
        "run_seconds": measured.run_seconds,
    }
    results.save(root, identity, table, facts, curves["sequence"])


def _measure(key: Key, state: mbpo.State[mbpo.Learning], env: Env, config: mbpo.Config, steps: int) -> dict[str, Any]:
    """One seed: real episodes of its deterministic policy, the same actions and the same policy under its model."""
    unit = rollouts.normalised(env)
    policy = sac.mode(config.agent, unit.spec, state.agent.policy)
    model = ensemble.make(config.model, unit.spec, terminal=env.terminal).dynamics(state.agent.model)
    k_reset, k_real, k_open, k_closed = jax.random.split(key, 4)
    start = jax.vmap(env.reset)(jax.random.split(k_reset, STARTS))
    real = _real(k_real, unit, policy, start, steps)
    draws = jnp.broadcast_to(start.obs[0], (DRAWS, unit.spec.obs_dim))
    repeated = jnp.broadcast_to(real["action"][:, 0], (DRAWS, *real["action"][:, 0].shape))
    opened = _imagine(k_open, model, rollouts.follow(repeated), draws, steps)
    closed = _imagine(k_closed, model, policy, start.obs, steps)
    spread = jnp.maximum(real["obs"][:, 0].std(axis=0), 1e-6)
    error = jnp.sqrt(jnp.square((opened["obs"] - real["obs"][:, :1]) / spread).mean(axis=-1))
    alive = real["alive"][:, 0] > 0
    curves = {
        "model/error": jnp.where(alive, jnp.median(error, axis=1), jnp.nan),
        "return/real": jnp.cumsum(real["reward"].mean(axis=1)),
        "return/model": jnp.cumsum(closed["reward"].mean(axis=1)),
    }
    totals = jnp.stack([real["reward"].sum(axis=0), closed["reward"].sum(axis=0)])
    middle, width = opened["obs"].mean(axis=1), opened["obs"].std(axis=1)
    sequence = {"real": real["obs"][:, 0], "mean": middle, "std": width, "totals": totals, "alive": alive}
    return {"curves": curves, "sequence": sequence}


def _real(key: Key, env: Env, policy: Policy[tuple[()]], start: Any, steps: int) -> dict[str, jax.Array]:
    """Episodes in the true environment, `[steps, starts, ...]`; rewards after the end are 0."""

    def body(carry, t):
        state, alive = carry
        action = rollouts.first_action(key, policy, state.obs)
        state, moved = jax.vmap(env.step)(jax.random.split(jax.random.fold_in(key, t), STARTS), state, action)
        out = {"obs": moved.next_obs, "action": action, "reward": alive * moved.reward, "alive": alive}
        return (state, alive * moved.discount), out

    return lax.scan(body, (start, jnp.ones(STARTS)), jnp.arange(steps))[1]


def _imagine(key: Key, model: Dynamics[Any], policy: Policy[Any], obs: jax.Array, steps: int) -> dict[str, jax.Array]:
    """Model roll-outs, `[steps, batch, ...]`; rewards after the model says the episode ended are 0."""
    k_start, k_steps = jax.random.split(key)
    start = rollouts.begin(k_start, model, policy, obs)
    _, taken = rollouts.unroll(jax.random.split(k_steps, steps), model, policy, start)
    alive = jnp.concatenate([jnp.ones_like(taken.discount[:1]), jnp.cumprod(taken.discount, axis=0)[:-1]])
    return {"obs": taken.next_obs, "reward": alive * taken.reward}


def _long(name: str, rows: np.ndarray, seeds: Sequence[int]) -> pd.DataFrame:
    count, steps = rows.shape
    columns = {
        "seed": np.repeat(seeds, steps),
        "env_step": np.tile(np.arange(1, steps + 1), count),
        "metric": name,
        "value": rows.reshape(-1).astype(np.float64),
    }
    return pd.DataFrame(columns).dropna()


def blocks(frame: pd.DataFrame) -> Sequence[Block]:
    """The paper's three panels: the roll-out under the model, its error, and returns."""
    task, stored = frame["env"].iloc[0], select.arrays(frame, "MBPO")
    seeds = frame["seed"].nunique()
    return [
        Figure(
            _sequence_panels(stored),
            f"{task}, first seed: observation entries along one real episode (solid) and the mean of {DRAWS:,} "
            "open-loop model roll-outs of the same actions; the band is one standard deviation (paper: panels a, b).",
        ),
        Figure(
            [_error_panel(frame), _return_panel(frame)],
            f"{task}: left, distance of the open-loop roll-outs from the real episode in standard deviations of the "
            f"observation; right, cumulative return of the same policy under the model and in the real environment "
            f"from the same {STARTS} start states (paper: panel c). IQM over {seeds} seeds with 95 % intervals.",
        ),
    ]


def _sequence_panels(stored: dict[str, np.ndarray]) -> list[Any]:
    length = int(stored["alive"][0].sum())
    time = np.arange(1, length + 1)
    panels = []
    for entry in range(min(3, stored["real"].shape[-1])):
        real, mean, std = (stored[name][0, :length, entry] for name in ("real", "mean", "std"))
        band = statistics.Interval(mean, mean - std, mean + std)
        lines = {"model": (time, band), "real": (time, real)}
        panels.append(figures.lines(lines, title=f"observation entry {entry}", xlabel="step", ylabel="value"))
    return panels


def _error_panel(frame: pd.DataFrame) -> Any:
    found = select.curves(frame, "MBPO", metric="model/error", worst=np.inf)
    kept = ~np.isnan(found.value).any(axis=0)
    band = statistics.aggregate(found.value[:, None, kept])
    lines = {"model": (found.env_step[kept], band)}
    return figures.lines(lines, title="Compounding error", xlabel="step", ylabel="standard deviations")


def _return_panel(frame: pd.DataFrame) -> Any:
    lines = {}
    for label, metric in (("model", "return/model"), ("real", "return/real")):
        found = select.curves(frame, "MBPO", metric=metric)
        lines[label] = (found.env_step, statistics.aggregate(found.value[:, None, :]))
    return figures.lines(lines, title="Returns of the same policy", xlabel="step", ylabel="cumulative return")


def _underestimates(frame: pd.DataFrame) -> np.ndarray:
    return select.final(frame, "MBPO", metric="return/real") - select.final(frame, "MBPO", metric="return/model")


def _compounds(frame: pd.DataFrame) -> np.ndarray:
    error = select.curves(frame, "MBPO", metric="model/error").value
    last = np.array([row[np.isfinite(row)][-1] for row in error])
    return np.log(last / error[:, 0])


def _correlates(frame: pd.DataFrame) -> np.ndarray:
    totals = select.arrays(frame, "MBPO")["totals"]
    varied = [t for t in totals if (t.std(axis=1) > 0).all()]
    if not varied:
        raise select.MissingDataError("all start states give the same return, so nothing can correlate")
    return np.array([np.corrcoef(t)[0, 1] if (t.std(axis=1) > 0).all() else np.nan for t in totals]) - 0.5


CLAIMS = (
    Claim(text="Model returns underestimate real returns", source=SOURCE, gap=_underestimates, unit="return"),
    Claim(
        text="Model errors compound along a roll-out",
        source=SOURCE,
        gap=_compounds,
        unit="log ratio of last to first error",
    ),
    Claim(
        text="Returns under the model and in the real environment are highly correlated",
        source=SOURCE,
        gap=_correlates,
        unit="correlation above 0.5",
        note="Ours: the correlation over start states exceeds 0.5. The paper shows curves of one policy.",
    ),
)

ARTEFACT = Artefact(
    name=NAME,
    title="Compounding model error, and whether the policy exploits the model",
    paper=f"{common.PAPER}, Figure 4",
    jobs=jobs,
    blocks=blocks,
    claims=CLAIMS,
    note=common.SCALED_DOWN + " The laptop profile shows the pendulum where the paper shows Hopper.",
)
