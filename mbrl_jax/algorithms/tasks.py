"""What algorithms share about tasks: the settings of MBPO's released code, as numbers.

They are those of `examples/config/<env>/0.py` with the number of epochs of Janner et al., 2019, Table 1, which the code
leaves to the command line. `experiments/mbpo/table1.py` prints them beside the paper's table. Ant and Humanoid with all
observations, which MBPO's code does not have, share them with the truncated ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["PENDULUMS", "TASKS", "Task", "task"]

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
}
"""Settings by environment, versions left out. `pendulum` is ours: MBPO has no settings for it."""

_WHOLE = {"ant": "ant_truncated", "humanoid": "humanoid_truncated"}
"""Tasks with all observations, and whose settings they have: MBPO's code has the truncated ones only."""


def task(base: str) -> Task:
    """The settings of an environment, its version left out; the defaults where there are none."""
    return TASKS.get(_WHOLE.get(base, base), Task())
