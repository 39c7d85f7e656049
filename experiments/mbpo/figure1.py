"""Figure 1 of MBPO: how a model's error grows with the policy's divergence from the data, by amount of data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import lax

from experiments import measured
from experiments.mbpo import common
from experiments.measured import Measurement
from experiments.training import Chosen
from mbrl_jax import rollouts
from mbrl_jax.agents import sac as soft
from mbrl_jax.algorithms import sac
from mbrl_jax.data import replay
from mbrl_jax.data.rows import unpack
from mbrl_jax.jobs import Job
from mbrl_jax.models import ensemble
from mbrl_jax.report import figures, select, statistics
from mbrl_jax.report.artefact import Artefact, Block, Figure
from mbrl_jax.report.claims import Claim
from mbrl_jax.runner.run import Run
from mbrl_jax.types import Env, Key, Spec

NAME = "mbpo/figure1"
SOURCE = f"{common.PAPER}, Sec. 4.2 and Figure 1"


@dataclass(frozen=True, kw_only=True)
class Setup:
    """One profile of the measurement. The paper names neither the task nor any of these numbers.

    Attributes:
      env: the task.
      before: SAC iterations (of 250 environment steps) after which the policy becomes the data-collecting one.
      sizes: amounts of data collected with it, increasing.
      snapshots: policies looked at while SAC goes on.
      every: environment steps between them.
      probe: transitions of each of those policies on which model error and divergence are measured.
    """

    env: str
    before: int
    sizes: tuple[int, ...]
    snapshots: int
    every: int
    probe: int


SETUPS = {
    "smoke": Setup(env="pendulum-v1", before=1, sizes=(200, 400), snapshots=2, every=250, probe=200),
    "laptop": Setup(env="pendulum-v1", before=12, sizes=(500, 1000, 2000, 4000), snapshots=10, every=250, probe=1000),
    "paper": Setup(
        env="hopper-v4", before=200, sizes=(2000, 5000, 10_000, 20_000, 50_000), snapshots=20, every=1000, probe=5000
    ),
}


def _run_of(profile: str) -> Run:
    setup, size = SETUPS[profile], common.scale(profile)
    config = common.without_model(
        setup.env, size, updates_per_step=2, steps=setup.before * 250 + setup.snapshots * setup.every
    )
    (one,) = common.runs(NAME, profile, setup.env, MBPO=Chosen("sac", config))
    return one


def jobs(profile: str) -> list[Job]:
    """Measures all seeds in one program."""
    common.scale(profile)
    one, setup = _run_of(profile), SETUPS[profile]
    model = common.mbpo_config(setup.env, common.scale(profile)).model
    measure = partial(_measure, setup=setup, config=one.config, model_config=model)
    tabulate = partial(_table, setup=setup, seeds=one.seeds)
    return [measured.job(Measurement(one, {"setup": setup, "model": model}, ("setup",), measure, tabulate))]


def _measure(
    key: Key, env: Env, setup: Setup, config: sac.Config, model_config: ensemble.Config
) -> dict[str, jax.Array]:
    """One seed: train the data policy, fit a model per data size, then follow SAC and measure both."""
    unit = rollouts.normalised(env)
    algorithm = sac.make(config, env)
    k_init, k_before, k_data, k_fit, k_after, k_probe = jax.random.split(key, 6)
    state = lax.fori_loop(
        0, setup.before, lambda i, s: algorithm.step(jax.random.fold_in(k_before, i), s)[0], algorithm.init(k_init)
    )
    collector = state.agent
    data = _collect(k_data, unit, config.agent, collector, max(setup.sizes))
    learner = ensemble.make(model_config, unit.spec)

    def fit(n: jax.Array) -> ensemble.State:
        return learner.fit(k_fit, learner.init(k_fit), ensemble.Data(data, n))[0]

    models = lax.map(fit, jnp.asarray(setup.sizes, jnp.int32))

    def snapshot(state: sac.State, i: jax.Array) -> tuple[sac.State, dict[str, jax.Array]]:
        probe = _collect(jax.random.fold_in(k_probe, i), unit, config.agent, state.agent, setup.probe)
        errors = jax.vmap(lambda m: _error(model_config, unit.spec, m, probe))(models)
        found = {"kl": _divergence(config.agent, unit.spec, state.agent, collector, probe.obs), "model_error": errors}

        def advance(j: jax.Array, s: sac.State) -> sac.State:
            return algorithm.step(jax.random.fold_in(jax.random.fold_in(k_after, i), j), s)[0]

        return lax.fori_loop(0, setup.every // algorithm.env_steps, advance, state), found

    return lax.scan(snapshot, state, jnp.arange(setup.snapshots))[1]


def _collect(key: Key, env: Env, config: soft.Config, agent: soft.State, count: int) -> Any:
    """Transitions of the stochastic policy in the true environment, `[count, ...]`."""
    memory = replay.make(env.spec, count)
    stored = rollouts.collect(key, env, memory, soft.act(config, env.spec, agent), count)[1]
    return unpack(stored.rows.value, env.spec)


def _error(config: ensemble.Config, spec: Spec, model: ensemble.State, probe: Any) -> jax.Array:
    """Mean squared error of the elites' predictions, in variances of the predicted quantity over the probe."""
    shape = (config.elites, *probe.obs.shape)
    action = jnp.broadcast_to(probe.action, (config.elites, *probe.action.shape))
    mean, _ = ensemble.predict(config, spec, model, jnp.broadcast_to(probe.obs, shape), action, model.elites)
    truth = jnp.concatenate([probe.reward[:, None], probe.next_obs], axis=-1)
    change = truth - jnp.concatenate([jnp.zeros_like(truth[:, :1]), probe.obs], axis=-1)
    return (jnp.square(mean - truth).mean(axis=(0, 1)) / jnp.maximum(change.var(axis=0), 1e-8)).mean()


def _divergence(
    config: soft.Config, spec: Spec, policy: soft.State, collector: soft.State, obs: jax.Array
) -> jax.Array:
    """Mean KL divergence of the policy from the data-collecting one, in nats; tanh leaves it unchanged."""
    ours, theirs = soft.gaussian(config, spec, policy, obs), soft.gaussian(config, spec, collector, obs)
    return distrax.MultivariateNormalDiag(*ours).kl_divergence(distrax.MultivariateNormalDiag(*theirs)).mean()


def _table(found: dict[str, np.ndarray], setup: Setup, seeds: Sequence[int]) -> pd.DataFrame:
    rows = []
    for s, seed in enumerate(seeds):
        for i in range(setup.snapshots):
            at = {"seed": seed, "env_step": i * setup.every}
            for n, size in enumerate(setup.sizes):
                label = {"algorithm": f"{size:,} transitions", **at}
                rows.append({**label, "metric": "kl", "value": float(found["kl"][s, i])})
                rows.append({**label, "metric": "model_error", "value": float(found["model_error"][s, i, n])})
    return pd.DataFrame(rows)


def _labels(frame: pd.DataFrame) -> list[str]:
    return sorted(frame["algorithm"].unique(), key=lambda label: int(label.split()[0].replace(",", "")))


def _pairs(frame: pd.DataFrame, label: str) -> tuple[np.ndarray, np.ndarray]:
    """Divergence and model error of one data size, each `[seeds, snapshots]`."""
    kl, error = (select.curves(frame, label, metric=name, worst=np.inf).value for name in ("kl", "model_error"))
    return kl, error


def _slopes(frame: pd.DataFrame, label: str) -> np.ndarray:
    """dε_m/dε_π at ε_π = 0 per seed: least squares through the data policy's own error, over the nearer half."""
    kl, error = _pairs(frame, label)
    near = kl <= np.median(kl, axis=1, keepdims=True)
    x, y = np.where(near, kl, 0.0), np.where(near, error - error[:, :1], 0.0)
    return (x * y).sum(axis=1) / np.maximum((x * x).sum(axis=1), 1e-12)


def blocks(frame: pd.DataFrame) -> Sequence[Block]:
    """Panels a and b of the paper."""
    labels = _labels(frame)
    if not labels:
        raise select.MissingDataError("nothing has been measured")
    lines = {label: _binned(*_pairs(frame, label)) for label in labels}
    left = figures.lines(
        lines,
        title="Model error against divergence",
        xlabel="KL from the data policy / nats",
        ylabel="model error",
        logy=True,
    )
    sizes = np.array([int(label.split()[0].replace(",", "")) for label in labels])
    slopes = statistics.aggregate(np.stack([_slopes(frame, label) for label in labels], axis=1)[:, None, :])
    right = figures.lines(
        {"slope": (sizes, slopes)},
        title="Growth of the error at the data policy",
        xlabel="transitions in the training data",
        ylabel="d(error) / d(KL)",
        logx=True,
    )
    task, seeds = frame["env"].iloc[0], frame["seed"].nunique()
    caption = (
        f"{task}, {seeds} seeds. Left: error of models trained on different amounts of one policy's data (squared "
        "error in variances of what is predicted), on the states of later policies, binned by their divergence; IQM "
        "with 95 % intervals. Right: its local slope at zero divergence."
    )
    return [Figure([left, right], caption)]


def _binned(kl: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, statistics.Interval]:
    """Snapshots in order of divergence within each seed: mean divergence and error of each rank."""
    order = np.argsort(kl, axis=1)
    ranked = [np.take_along_axis(x, order, axis=1) for x in (kl, error)]
    return ranked[0].mean(axis=0), statistics.aggregate(ranked[1][:, None, :])


def _grows(frame: pd.DataFrame) -> np.ndarray:
    return _slopes(frame, _labels(frame)[0])


def _flatter_with_data(frame: pd.DataFrame) -> np.ndarray:
    labels = _labels(frame)
    return _slopes(frame, labels[0]) - _slopes(frame, labels[-1])


def _better_with_data(frame: pd.DataFrame) -> np.ndarray:
    labels = _labels(frame)
    first, last = (_pairs(frame, label)[1][:, 0] for label in (labels[0], labels[-1]))
    return np.log(first / last)


CLAIMS = (
    Claim(
        text="Model error grows with the policy's divergence from the data-collecting policy",
        source=f"{common.PAPER}, Sec. 4.2 and Figure 1a",
        gap=_grows,
        unit="variances per nat, smallest data set",
    ),
    Claim(
        text="More training data lowers the model error on the training distribution",
        source=f"{common.PAPER}, Figure 1a",
        gap=_better_with_data,
        unit="log ratio of errors, least to most data",
    ),
    Claim(
        text="The growth of the error with divergence decreases with the amount of data",
        source=f"{common.PAPER}, Figure 1b",
        gap=_flatter_with_data,
        unit="difference of slopes, least to most data",
    ),
)

ARTEFACT = Artefact(
    name=NAME,
    title="How far a model can be trusted: error against policy divergence",
    paper=f"{common.PAPER}, Figure 1",
    jobs=jobs,
    blocks=blocks,
    claims=CLAIMS,
    note="The paper gives neither the task nor the numbers behind this figure; ours are in the artefact's `SETUPS`.",
    on_request=("smoke",),
)
