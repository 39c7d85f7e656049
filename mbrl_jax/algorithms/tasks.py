"""What algorithms share about tasks: the settings of MBPO's released code, as numbers.

They are those of `examples/config/<env>/0.py` with the number of epochs of Janner et al., 2019, Table 1, which the code
leaves to the command line. `experiments/mbpo/table1.py` prints them beside the paper's table. Ant and Humanoid with all
observations, which MBPO's code does not have, share them with the truncated ones. The lengths of runs on the tasks of
"Mismatched no more" (Eysenbach et al., 2022) are ours, its updates per step are its Table 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["MISMATCH", "PENDULUMS", "TASKS", "Task", "Updates", "task"]

PENDULUMS = ("inverted_pendulum", "inverted_double_pendulum", "pendulum")
"""Tasks with short runs: epochs of 250 steps and a warm-up of 500 (MBPO code).

After it the released code updates no policy before 1,000 transitions are there (`min_pool_size`); ours begins at 500.
"""


class Task(NamedTuple):
    """Settings of one task.

    Attributes:
      steps: environment steps of a run, the warm-up not counted.
      entropy: MBPO's target entropy in nats; None: −action_dim.
      updates: policy updates per environment step, G.
      schedule: roll-out lengths (a, b, x, y): from x to y over epochs a to b.
      warmup: uniformly random steps before learning.
      epoch: environment steps per epoch.
      model_train_freq: environment steps between model fits.
      retain_epochs: epochs for which imagined transitions are kept.
      model_width: width of the model's four hidden layers.
    """

    steps: int = 125_000
    entropy: float | None = None
    updates: int = 20
    schedule: tuple[int, int, int, int] = (20, 150, 1, 15)
    warmup: int = 5_000
    epoch: int = 1_000
    model_train_freq: int = 250
    retain_epochs: int = 1
    model_width: int = 200


ROBOTIC = (
    "dclaw_pose_random",
    "dclaw_turn_random",
    "dclaw_screw_fixed",
    "dclaw_screw_random",
    "drawer_open",
    "pusher",
)
"""Tasks of Eysenbach et al., 2022, with runs of 200,000 steps: the paper does not say how long its own are."""


def _pendulum(updates: int, entropy: float) -> Task:
    return Task(20_000, entropy, updates, (1, 15, 1, 1), warmup=500, epoch=250)


TASKS: Mapping[str, Task] = {
    "inverted_pendulum": _pendulum(10, -0.05),
    "inverted_double_pendulum": _pendulum(20, -0.5),
    "hopper": Task(125_000, -1.0),
    "walker2d": Task(300_000, -3.0, schedule=(20, 150, 1, 1)),
    "half_cheetah": Task(400_000, -3.0, 40, (20, 150, 1, 1)),
    "ant_truncated": Task(300_000, -4.0, schedule=(20, 100, 1, 25)),
    "humanoid_truncated": Task(
        300_000, -2.0, schedule=(20, 300, 1, 25), model_train_freq=1000, retain_epochs=5, model_width=400
    ),
    "pendulum": _pendulum(20, -1.0),
    **dict.fromkeys(ROBOTIC, Task(200_000)),
}
"""Settings by environment, versions left out. `pendulum` and the robotic ones are ours: MBPO has none for them."""


class Updates(NamedTuple):
    """Gradient updates per environment step of one task, by method; None where the paper did not run it."""

    sac: int | None
    mbpo: int
    mnm: int


MISMATCH: Mapping[str, Updates] = {
    "half_cheetah": Updates(None, 40, 20),
    "hopper": Updates(None, 40, 20),
    "walker2d": Updates(None, 40, 20),
    "drawer_open": Updates(40, 40, 40),
    "dclaw_pose_random": Updates(20, 20, 20),
    "dclaw_turn_random": Updates(40, 40, 40),
    "dclaw_screw_fixed": Updates(40, 40, 40),
    "dclaw_screw_random": Updates(40, 40, 40),
}
"""Eysenbach et al., 2022, Table 2, tuned for each method and task. Pusher, which their Figure 5 shows, is not in it."""

_WHOLE = {"ant": "ant_truncated", "humanoid": "humanoid_truncated"}
"""Tasks with all observations, and whose settings they have: MBPO's code has the truncated ones only."""


def task(base: str) -> Task:
    """The settings of an environment, its version left out; the defaults where there are none."""
    return TASKS.get(_WHOLE.get(base, base), Task())
