"""Made-up results and artefacts that use every part of the report."""

import numpy as np
import pandas as pd

from mbrl_jax import results
from mbrl_jax.report import Animation, Artefact, Claim, Figure, Table, Text, figures, select, statistics

ENVS = ("inverted_pendulum-v4", "pendulum-v1")


def learning_blocks(frame):
    drawn = figures.learning_curves(frame, algorithms=["mbpo", "sac"], references={ENVS[0]: {"best possible": 1000.0}})
    rows = []
    for env in ENVS:
        for name in ("mbpo", "sac"):
            found = statistics.aggregate(select.final(frame, name, env), repetitions=500)
            band = f"[{found.low:,.0f}, {found.high:,.0f}]"
            rows.append((env, name, float(found.estimate), band, 1000.0 if name == "mbpo" else np.nan))
    table = pd.DataFrame(rows, columns=["environment", "algorithm", "ours, IQM", "95 % interval", "printed"])
    return [
        Figure(drawn, "Evaluation return against environment steps; 8 seeds per line."),
        Table(table, "Final return, mean of the last tenth.", {"printed": "Figure 2, read off"}),
        Text("The `sac` line takes **one** update per step.\n\n- first\n- second <b>"),
    ]


def profile_blocks(frame):
    scores = {
        name: np.stack([select.final(frame, name, env) for env in ENVS], axis=1) / 1000.0 for name in ("mbpo", "sac")
    }
    found = {name: statistics.aggregate(one, repetitions=300) for name, one in scores.items()}
    horizon = np.arange(1, 21)
    error = {f"k = {k}": (horizon, 0.01 * k * 1.1**horizon) for k in (1, 5, 15)}
    frames = np.zeros((6, 40, 60, 3), np.uint8)
    for time, image in enumerate(frames):
        image[10:30, 8 * time : 8 * time + 12] = (36, 104, 210)
    return [
        Figure(
            [
                figures.performance_profile(scores, np.linspace(0, 1.2, 60), title="Performance profile"),
                figures.intervals(found, "IQM of normalised return", "Aggregate", {"solved": 1.0}),
                figures.lines(error, title="Model error", xlabel="horizon", ylabel="error", logy=True, markers=True),
            ],
            "Aggregates over both tasks.",
        ),
        Animation(figures.gif(frames), "A trained policy."),
    ]


def faster(frame):
    return select.times(frame, 900.0, "sac", "mbpo", env=ENVS[0])


FIGURE2 = Artefact(
    name="mbpo/figure2",
    title="Learning curves",
    paper="Janner et al. 2019, Figure 2",
    jobs=lambda profile: (),
    blocks=learning_blocks,
    claims=(
        Claim(
            text="MBPO needs fewer environment steps than SAC to reach 90 % of the best return",
            source="Section 5, Figure 2",
            gap=faster,
            unit="log ratio of median steps",
            note="Judged on the *pendulum* only.",
        ),
        Claim(
            text="SAC ends above MBPO on the pendulum",
            source="made up",
            gap=lambda frame: select.paired(frame, "sac", "mbpo", env=ENVS[1]),
            unit="return",
        ),
        Claim(
            text="MBPO and SAC differ at the end on the inverted pendulum",
            source="made up",
            gap=lambda frame: select.paired(frame, "mbpo", "sac", env=ENVS[0]),
            unit="return",
        ),
    ),
    note="Networks of 2 × 64 instead of 2 × 256 and *8 seeds*; see `SETUP`.",
)
PROFILE = Artefact(
    name="mbpo/profile",
    title="Aggregates",
    paper="Janner et al. 2019, aggregates",
    jobs=lambda profile: (),
    blocks=profile_blocks,
    claims=(
        Claim(
            text="The closed form equals the linear solve",
            source="Appendix A, Equation 9",
            gap=lambda frame: np.array([2e-6, 5e-6]),
            tolerance=1e-9,
        ),
    ),
    also=("mbpo/figure2",),
)
ABSENT = Artefact(
    name="mnm/figure3a",
    title="Lower bound on a gridworld",
    paper="Eysenbach et al. 2022, Figure 3a",
    jobs=lambda profile: (),
    blocks=lambda frame: [],
    claims=(Claim(text="The bound is tight", source="Section 4", gap=lambda frame: select.final(frame, "mnm")),),
)
ARTEFACTS = (FIGURE2, PROFILE, ABSENT)


def write_all(write):
    for env in ENVS:
        write("mbpo", env, speed=2.0, diverged={3: 4000} if env == ENVS[1] else {})
        write("sac", env, speed=0.75, top=980.0)


def learning_curve(seeds, budget, speed, top, noise, points=26, start=0.0):
    """A saturating curve per seed with noise that shrinks as it is learnt."""
    rng = np.random.default_rng(abs(hash((len(seeds), budget, speed))) % 2**32)
    steps = np.linspace(0, budget, points).astype(int)
    rows = []
    for seed in seeds:
        own = speed * np.exp(rng.normal(0, 0.15))
        curve = start + (top - start) / (1 + np.exp(-12 * (steps / budget - 0.4 / own)))
        curve = curve + rng.normal(0, noise, points)
        rows += [(seed, int(step), "eval/return_mean", float(value)) for step, value in zip(steps, curve, strict=True)]
    return pd.DataFrame(rows, columns=["seed", "env_step", "metric", "value"])


def writer(root):
    """A function that saves synthetic runs under `root`."""
    provenance = results.provenance()

    def save(algorithm, env="inverted_pendulum-v4", *, seeds=range(8), budget=5000, speed=1.0, top=1000.0, **changes):
        metrics = changes.pop("metrics", None)
        arrays = changes.pop("arrays", None)
        if metrics is None:
            metrics = learning_curve(list(seeds), budget, speed, top, 0.03 * top)
        facts = {
            "experiment": "mbpo/figure2",
            "algorithm": algorithm,
            "env": env,
            "engine": "jax",
            "seeds": list(seeds),
            "status": "finished",
            "profile": "laptop",
            "device": "cpu (2 cores)",
            "precision": "float32",
            "compile_seconds": 21.4,
            "run_seconds": 190.0 / speed,
            "updates": 10 * budget,
            **provenance,
            **changes,
        }
        run = results.run_id({name: facts[name] for name in ("experiment", "algorithm", "env", "seeds", "profile")})
        results.save(root, run, metrics, facts, arrays)
        return run

    return save
