"""What MnM's artefacts on continuous control share: methods, tasks, sizes, and where each run is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from experiments import training
from experiments.training import Chosen
from mbrl_jax import envs
from mbrl_jax.algorithms import mnm, preset, sac
from mbrl_jax.algorithms.tasks import MISMATCH
from mbrl_jax.checks import nearest
from mbrl_jax.jobs import Job
from mbrl_jax.models import adversarial
from mbrl_jax.runner.run import Run

__all__ = [
    "BEST",
    "CHEETAH",
    "CLAW",
    "DRAWER",
    "FARAHMAND",
    "FREE",
    "FULL",
    "GYM",
    "HOPPER",
    "INVERTED",
    "LOOKED_INTO",
    "MBPO",
    "MNM",
    "NO_LOGGED",
    "NO_VALUE",
    "PAPER",
    "POSE",
    "PUSHER",
    "SAC",
    "SCALED_DOWN",
    "SCREW_FIXED",
    "SCREW_RANDOM",
    "SMALL_CLASSIFIER",
    "TITLES",
    "TURN",
    "VAML",
    "VMBPO",
    "WEIGHTED",
    "Scale",
    "Wanted",
    "also",
    "chosen",
    "errors_and_values",
    "home",
    "jobs",
    "longer",
    "planned",
    "scale",
    "title",
]

PAPER = "Eysenbach et al. 2022"
MNM, FULL, MBPO, SAC, VMBPO = "MnM-approx", "MnM with log-odds in the reward", "MBPO, one-step", "SAC", "VMBPO"
VAML, FARAHMAND, WEIGHTED = "VAML of Figure 6", "VAML of Farahmand", "value-weighted likelihood"
NO_VALUE, NO_LOGGED, SMALL_CLASSIFIER = "MnM-approx, c = 0", "MBPO, own actions only", "MnM-approx, classifier 256"
FREE = "MnM-approx, c over the range"
METHODS: Mapping[str, str] = {
    MNM: "mnm",
    FULL: "mnm_full",
    MBPO: "mnm_mbpo",
    VMBPO: "vmbpo",
    VAML: "mnm_vaml",
    FARAHMAND: "mnm_iter_vaml",
    WEIGHTED: "mnm_weighted",
    NO_VALUE: "mnm",
    NO_LOGGED: "mnm_mbpo",
    SMALL_CLASSIFIER: "mnm",
    FREE: "mnm",
}
"""Labels, and the algorithm behind each; SAC's is its own."""

INVERTED, HOPPER, CHEETAH, PUSHER = "inverted_pendulum-v4", "hopper-v4", "half_cheetah-v4", "pusher-v5"
GYM = (HOPPER, "walker2d-v4", CHEETAH)
POSE, TURN = "dclaw_pose_random-v0", "dclaw_turn_random-v0"
SCREW_FIXED, SCREW_RANDOM = "dclaw_screw_fixed-v0", "dclaw_screw_random-v0"
CLAW = (POSE, TURN, SCREW_FIXED, SCREW_RANDOM)
DRAWER = "drawer_open-v2"
LOOKED_INTO = (SCREW_FIXED, DRAWER, INVERTED, POSE)
"""Tasks whose model errors and values are drawn: two of the paper's, two of a laptop."""
TITLES: Mapping[str, str] = {
    INVERTED: "Inverted pendulum",
    HOPPER: "Hopper",
    "walker2d-v4": "Walker2d",
    CHEETAH: "HalfCheetah",
    PUSHER: "Pusher",
    POSE: "D'Claw pose",
    TURN: "D'Claw turn",
    SCREW_FIXED: "D'Claw screw, fixed",
    SCREW_RANDOM: "D'Claw screw, random",
    DRAWER: "Drawer",
}
BEST: Mapping[str, float] = {INVERTED: 1.0, POSE: 0.0, TURN: 60.0, SCREW_FIXED: 60.0, SCREW_RANDOM: 60.0, DRAWER: 5.0}
"""The largest reward of a step, where there is one: no discounted return is above it divided by 1 − γ."""

FIRST = "mnm/figure4a"
HOMES: Mapping[str, str] = {
    VAML: "mnm/figure6",
    FARAHMAND: "mnm/figure6",
    WEIGHTED: "mnm/figure6",
    FULL: "mnm/figure10",
    NO_VALUE: "mnm/slope",
    FREE: "mnm/slope",
    NO_LOGGED: "mnm/table2",
    SMALL_CLASSIFIER: "mnm/table2",
}
"""The artefact under whose name a method's runs are kept, where that does not go by the task."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The sizes of one profile.

    Attributes:
      seeds: seeds per method, all in one program.
      eval_every: environment steps between evaluations.
      eval_episodes: episodes per evaluation.
      steps: environment steps of a run; None for the preset's.
      small: whether networks, phases and updates are those of `mnm.small`.
    """

    seeds: int
    eval_every: int
    eval_episodes: int
    steps: int | None = None
    small: bool = True


SCALES = {
    "smoke": Scale(seeds=2, eval_every=250, eval_episodes=1, steps=250),
    "laptop": Scale(seeds=6, eval_every=250, eval_episodes=5, steps=3_000),
    "paper": Scale(seeds=6, eval_every=5_000, eval_episodes=30, small=False),
}
SCALED_DOWN = (
    "The laptop profile has small networks (three members of 2x64, classifier of 2x128, 2x64 policy and critics), "
    "batches of 128, learning rates of 1e-3, 1,000 random steps, 3,000 batches before the policy learns, values in the "
    "model's loss after 6,000, 5 updates per step and 3,000 steps (2,000 on D'Claw's pose); reward scale 0.1 and c = 1 "
    "as in the paper profile, which is the paper's scale with lengths of runs that the paper does not give. "
)
OWN: Mapping[str, Mapping[str, int]] = {
    HOPPER: {"steps": 15_000, "warmup_steps": 2_000, "pretraining": 10_000, "value_after": 20_000},
    POSE: {"steps": 2_000},
}
"""What tasks have in the laptop profile in the place of its settings."""
TINY = adversarial.Config(members=2, hidden=(8,), classifier_hidden=(8,), reward_hidden=(8,))


def scale(profile: str) -> Scale:
    """The sizes of a profile. Raises ValueError, naming the nearest, if there is none of that name."""
    if profile not in SCALES:
        raise ValueError(nearest(profile, SCALES, "profile"))
    return SCALES[profile]


def title(env: str) -> str:
    """A task as headings name it."""
    return TITLES[env]


def longer(length: int) -> str:
    """The label of MnM-approx with roll-outs of several steps."""
    return f"{MNM}, {length} steps"


def _base(env: str) -> str:
    return env.rpartition("-")[0]


def _sized(label: str, env: str, profile: str) -> mnm.Config:
    """The settings of a method of MnM's loop at the sizes of a profile."""
    size, base, method = scale(profile), _base(env), METHODS.get(label, "mnm")
    if not size.small:
        config = preset(method, env)
        return replace(config, steps=size.steps or config.steps)
    config = replace(mnm.small(base), steps=size.steps or mnm.small(base).steps)
    if profile != "smoke":
        return replace(config, **OWN.get(env, {}))
    agent = replace(config.agent, hidden=(8,))
    return replace(config, warmup_steps=100, updates_per_step=1, pretraining=20, batch=32, model=TINY, agent=agent)


def _without_model(env: str, profile: str) -> sac.Config:
    """SAC with the steps, batches and policy of MnM, and in the paper profile with Table 2's updates per step."""
    like, base = _sized(MNM, env, profile), _base(env)
    updates = MISMATCH[base].sac if base in MISMATCH and not scale(profile).small else None
    agent = mnm.settled(like, envs.make(env).spec).agent
    return sac.Config(
        steps=like.steps,
        warmup_steps=like.warmup_steps,
        steps_per_iteration=like.steps_per_iteration,
        updates_per_step=updates or like.updates_per_step,
        batch=like.batch,
        agent=agent,
    )


def chosen(label: str, env: str, profile: str) -> Chosen:
    """A method on a task at the sizes of a profile."""
    if label == SAC:
        return Chosen("sac", _without_model(env, profile))
    config = _sized(label, env, profile)
    changes: Mapping[str, object] = {
        NO_VALUE: {"value_coefficient": 0.0},
        FREE: {"range_power": 1.0},
        NO_LOGGED: {"logged_fraction": 0.0},
        SMALL_CLASSIFIER: {"model": replace(config.model, classifier_hidden=(256, 256))},
    }.get(label, {})
    if label.startswith(f"{MNM}, ") and label.endswith(" steps"):
        changes = {"rollout_length": int(label.split()[-2])}
    return Chosen(METHODS.get(label, "mnm"), replace(config, **changes))


def home(label: str, env: str) -> str:
    """The experiment under which a run is kept, so that artefacts that show the same run share it."""
    if label.endswith(" steps"):
        return "mnm/figure12"
    by_task = "mnm/figure4b" if env in CLAW else "mnm/figure7" if env == DRAWER else FIRST
    return HOMES.get(label, "mnm/figure5" if env == PUSHER else by_task)


Wanted = Sequence[tuple[str, str]]
"""Labels with tasks."""


def planned(profile: str, wanted: Wanted) -> list[Run]:
    """A run for each label and task."""
    size = scale(profile)
    return [
        run
        for label, env in wanted
        for run in training.runs(home(label, env), profile, env, size, {label: chosen(label, env, profile)})
    ]


def jobs(profile: str, wanted: Wanted) -> list[Job]:
    """The runs as jobs."""
    return training.jobs(planned(profile, wanted))


def errors_and_values(profile: str) -> Wanted:
    """MnM-approx and its twin on the tasks of Figures 8 and 9 (`LOOKED_INTO`)."""
    tasks = LOOKED_INTO[:2] if profile == "paper" else LOOKED_INTO[2:]
    return [(label, env) for env in tasks for label in (MNM, MBPO)]


def also(name: str, wanted: Wanted) -> tuple[str, ...]:
    """The other experiments under which an artefact's runs are kept."""
    return tuple(sorted({home(label, env) for label, env in wanted} - {name}))
