"""MBPO (Janner et al., 2019, Algorithm 2): fit an ensemble, branch short model roll-outs, improve SAC on them.

The defaults follow the authors' released code where it differs from the paper; docs/mbpo.md lists the differences.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from mbrl_jax import rollouts
from mbrl_jax.agents import sac
from mbrl_jax.algorithms.tasks import task
from mbrl_jax.checks import check_arguments, check_fields, check_positive, check_share
from mbrl_jax.data import replay
from mbrl_jax.data.rows import unpack
from mbrl_jax.data.slabs import SlabsState, make_slabs
from mbrl_jax.loops import off_policy
from mbrl_jax.loops.off_policy import State
from mbrl_jax.models import ensemble
from mbrl_jax.types import Algorithm, Dynamics, Env, Info, Key, Method, PyTree, Shared, Spec, Transition

__all__ = ["Config", "Learning", "ModelObjective", "State", "Targets", "make", "rollout_length", "value_expansion"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Hyper-parameters of MBPO; defaults are the released code's for Hopper (`config/hopper/0.py`).

    Raises:
      ValueError: a field breaks a rule of `checks.RULES`; `steps` or `epoch_length` is no positive multiple of
        `model_train_freq`; `warmup_steps`, `updates_per_step`, `batch`, `rollout_batch` or `retain_epochs` is below 1;
        `real_fraction` is outside [0, 1]; `rollout_schedule` (a, b, x, y) has not 0 <= a < b, or a length below 1.
    """

    steps: int = 125_000
    """Environment steps of the run, the random warm-up not counted (Janner et al. 2019, Table 1: epochs x 1000)."""
    warmup_steps: int = 5_000
    """Uniformly random steps before learning; 500 for the pendulums (MBPO code, which then waits for 1,000 in all)."""
    epoch_length: int = 1_000
    """Environment steps per epoch, the unit of the roll-out schedule (Janner et al. 2019, Table 1)."""
    model_train_freq: int = 250
    """Environment steps between model fits; each is followed by one branched roll-out (MBPO code)."""
    updates_per_step: int = 20
    """Policy updates G per environment step (Janner et al. 2019, Table 1)."""
    batch: int = 256
    """Transitions per update, real and imagined together (MBPO code)."""
    real_fraction: float = field(default=0.05, metadata={"static": True})
    """Share of real transitions in a batch, rounded down to whole ones (MBPO code; Algorithm 2 has none)."""
    rollout_batch: int = 100_000
    """Start states of a branched roll-out: 400 per environment step (Janner et al. 2019, Table 1: M)."""
    rollout_schedule: tuple[int, int, int, int] = (20, 150, 1, 15)
    """(a, b, x, y): the roll-out length goes linearly from x to y over epochs a to b (Table 1; code for Hopper)."""
    retain_epochs: int = 1
    """Epochs for which imagined transitions are kept (MBPO code)."""
    replay_capacity: int = 1_000_000
    """Real transitions kept; never more than the run can collect (MBPO code)."""
    model: ensemble.Config = field(default_factory=ensemble.Config)
    """The ensemble's hyper-parameters."""
    agent: sac.Config = field(default_factory=partial(sac.Config, target_entropy=-1.0))
    """The policy learner's hyper-parameters (target entropy −1 for Hopper: Janner et al. 2019, Table 1 and code)."""

    def __post_init__(self) -> None:
        check_fields(self)
        rollouts.check_steps(self.steps, self.model_train_freq, self.warmup_steps)
        if self.epoch_length % self.model_train_freq:
            raise ValueError(
                "epoch_length must be a multiple of model_train_freq, "
                f"got {self.epoch_length} and {self.model_train_freq}"
            )
        start, end, low, high = self.rollout_schedule
        if not (0 <= start < end and low >= 1 and high >= 1):
            raise ValueError(f"rollout_schedule needs 0 <= a < b and lengths >= 1, got {self.rollout_schedule}")
        check_share(self, "real_fraction")
        check_positive(self, "updates_per_step", "batch", "rollout_batch", "retain_epochs", "epoch_length")

    @property
    def real_batch(self) -> int:
        """Real transitions in a batch."""
        return int(self.batch * self.real_fraction)

    @property
    def slots(self) -> int:
        """Branched roll-outs whose transitions are kept."""
        return self.retain_epochs * (self.epoch_length // self.model_train_freq)

    @property
    def longest_rollout(self) -> int:
        """The longest roll-out within this run."""
        epochs = (0, (self.steps - 1) // self.epoch_length)
        return max(int(rollout_length(self, epoch)) for epoch in epochs)


def rollout_length(config: Config, epoch: Array | int) -> Array | np.ndarray:
    """Roll-out length k `[...]` at `epoch [...]`, a whole number (Janner et al., 2019, Table 1, caption; code).

    Whole-number arithmetic: the released code's floats can fall one short where the line meets an integer.
    """
    start, end, low, high = config.rollout_schedule
    clip = np.clip if isinstance(epoch, int) else jnp.clip
    return low + clip(epoch - start, 0, end - start) * (high - low) // (end - start)


class Learning(NamedTuple):
    """What learns: imagined transitions (`SlabsState`, or empty), model, policy and the iteration number."""

    imagined: PyTree
    model: ensemble.State
    policy: sac.State
    iteration: Shared


Targets = Callable[[sac.Config, Spec, Dynamics[PyTree]], sac.Targets]
"""`targets(config, spec, dynamics) -> Targets`: what the critics are fitted to, given the model."""
ModelObjective = Callable[[sac.Config, Spec, sac.State], ensemble.Objective]
"""`objective(config, spec, policy) -> Objective`: what the model is fitted to, given the policy and its critics."""


def value_expansion(horizon: int) -> Targets:
    """Targets by model value expansion over `horizon` steps; use with `real_fraction=1` (Figure 3)."""
    return partial(sac.expansion, horizon=horizon)


@check_arguments
def make(
    config: Config, env: Env, targets: Targets | None = None, objective: ModelObjective | None = None
) -> Algorithm[State[Learning]]:
    """MBPO on `env`; one iteration fits the model, branches roll-outs, then acts `model_train_freq` times.

    Args:
      targets: what the critics are fitted to, given the model; one-step soft targets if None. With `real_fraction=1`
        no roll-outs are branched.
      objective: what the model is fitted to, given the policy; likelihood if None.
    """
    spec = rollouts.normalised(env).spec
    memory = replay.of_run(config, spec)
    slabs = make_slabs(spec, config.slots, config.longest_rollout, config.rollout_batch)
    model, policy = ensemble.make(config.model, spec, terminal=env.terminal), sac.make(config.agent, spec)
    dreams = config.real_batch < config.batch

    def init(key: Key) -> Learning:
        k_model, k_policy = jax.random.split(key)
        imagined = slabs.init() if dreams else ()
        return Learning(imagined, model.init(k_model), policy.init(k_policy), Shared(jnp.zeros((), jnp.int32)))

    def prepare(key: Key, now: Learning, stored: replay.ReplayState) -> tuple[Learning, Info]:
        """Fits the model to all real transitions, then branches roll-outs from them."""
        k_fit, k_dream = jax.random.split(key)
        fitted_to = ensemble.STANDARD if objective is None else objective(config.agent, spec, now.policy)
        learner = ensemble.make(config.model, spec, fitted_to, env.terminal)
        data = ensemble.Data(unpack(stored.rows.value, spec), stored.size.value)
        fitted, info = learner.fit(k_fit, now.model, data)
        now = now._replace(model=fitted)
        if dreams:
            imagined, failures = dream(k_dream, now, stored)
            now, info = now._replace(imagined=imagined), {**info, "model/failures": failures}
        return now._replace(iteration=Shared(now.iteration.value + 1)), info

    def dream(key: Key, now: Learning, stored: replay.ReplayState) -> tuple[SlabsState, Array]:
        """Branched roll-outs in the slot of the oldest ones, and how many rows of them were not finite."""
        k_start, k_branch = jax.random.split(key)
        iteration = now.iteration.value
        slot = iteration % config.slots
        horizon = jnp.asarray(rollout_length(config, iteration * config.model_train_freq // config.epoch_length))
        starts = memory.sample(k_start, stored, (config.rollout_batch,)).obs

        def write(into: SlabsState, h: Array, rows: Array, count: Array) -> SlabsState:
            return slabs.write(into, slot, h, rows, count)

        into = slabs.clear(now.imagined, slot)
        dynamics = model.dynamics(now.model)
        return rollouts.branch(k_branch, dynamics, policy.act(now.policy), starts, horizon, write, into)

    def batches(key: Key, stored: replay.ReplayState, imagined: SlabsState) -> Transition:
        """All batches of one environment step in one gather per source, `[updates_per_step, batch, ...]`."""
        k_real, k_dream = jax.random.split(key)
        real = memory.sample(k_real, stored, (config.updates_per_step, config.real_batch))
        if not dreams:
            return real
        shape = (config.updates_per_step, config.batch - config.real_batch)
        return jax.tree.map(lambda *x: jnp.concatenate(x, axis=1), real, slabs.sample(k_dream, imagined, shape))

    def improve(key: Key, now: Learning, stored: replay.ReplayState) -> tuple[Learning, Info]:
        k_sample, k_update = jax.random.split(key)
        fitted_to = None if targets is None else targets(config.agent, spec, model.dynamics(now.model))
        agent = sac.make(config.agent, spec, fitted_to)
        state, info = agent.update(k_update, now.policy, batches(k_sample, stored, now.imagined))
        return now._replace(policy=state), info

    return off_policy.make(
        env,
        memory,
        Method(init, lambda now: policy.act(now.policy), lambda now: policy.mode(now.policy), improve, prepare),
        warmup_steps=config.warmup_steps,
        steps_per_iteration=config.model_train_freq,
    )


ABOUT = "Model-based policy optimisation (Janner et al. 2019)"
VERSION = 2
"""2: one loop for all off-policy methods, which changed the random streams."""


def preset(base: str) -> Config:
    """The released code's settings of a task (`algorithms.tasks`), the defaults where there are none."""
    like = task(base)
    return Config(
        steps=like.steps,
        warmup_steps=like.warmup,
        epoch_length=like.epoch,
        model_train_freq=like.model_train_freq,
        updates_per_step=like.updates,
        rollout_schedule=like.schedule,
        retain_epochs=like.retain_epochs,
        model=ensemble.Config(hidden=(like.model_width,) * 4),
        agent=sac.Config(target_entropy=like.entropy),
    )
