"""Learning curves as their authors published them, drawn dashed behind ours."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["CURVES", "Published", "published"]


class Published(NamedTuple):
    """A curve of a paper.

    Attributes:
      method: whose curve it is, as it is printed.
      env_step: `[points]`, increasing, as the authors count them.
      value: evaluation return `[points]`.
      source: where the numbers are from, how they were read, and what is known of the difference from our task.
    """

    method: str
    env_step: np.ndarray
    value: np.ndarray
    source: str


def _curve(method: str, thousands: tuple[float, ...], value: tuple[float, ...], source: str) -> Published:
    return Published(method, 1000.0 * np.asarray(thousands), np.asarray(value, float), source)


_MBPO = (
    "the authors' runs as plotted in the repository Xingyu-Lin/mbpo_pytorch, digitised to about ±30; its step axis "
    "seems to hold the 5,000 random steps that ours leaves out"
)
_TD3 = "TD3's authors, gym's version 1 of the task, mean of 10 seeds (sfujim/TD3, learning_curves)"
_HOPPER = ((10, 20, 30, 40, 50, 60, 70, 80, 100, 119), (346, 541, 706, 908, 1732, 2654, 3090, 3128, 3325, 3387))
_WALKER = ((20, 40, 60, 75, 100, 125, 150, 200, 250, 299), (387, 622, 1518, 1959, 3498, 3549, 4052, 4079, 4510, 4928))
_BUDGETS = (25, 100, 300, 1000)

CURVES: dict[tuple[str, str], Published] = {
    ("hopper-v4", "mbpo"): _curve("MBPO", *_HOPPER, _MBPO),
    ("walker2d-v4", "mbpo"): _curve("MBPO", *_WALKER, _MBPO),
    ("half_cheetah-v4", "td3"): _curve("TD3", _BUDGETS, (1327, 5514, 7697, 9567), _TD3),
    ("hopper-v4", "td3"): _curve("TD3", _BUDGETS, (178, 660, 2410, 3391), _TD3),
    ("walker2d-v4", "td3"): _curve("TD3", _BUDGETS, (293, 770, 3336, 4413), _TD3),
    ("reacher-v4", "td3"): _curve("TD3", _BUDGETS, (-4.8, -4.6, -4.1, -4.2), _TD3),
    ("inverted_pendulum-v4", "td3"): _curve("TD3", _BUDGETS, (1000, 1000, 1000, 1000), _TD3),
}
"""By environment and label in lower case."""


def published(env: str, label: str, until: float) -> Published | None:
    """The published curve of a method on a task, as far as a step, its last point interpolated; None if there is none.

    Args:
      env: the environment.
      label: the label of our curve.
      until: the last environment step that is drawn.
    """
    found = CURVES.get((env, label.lower()))
    if found is None or until <= found.env_step[0]:
        return None
    before = found.env_step < until
    end = min(until, float(found.env_step[-1]))
    step = np.append(found.env_step[before & (found.env_step < end)], end)
    return found._replace(env_step=step, value=np.interp(step, found.env_step, found.value))
