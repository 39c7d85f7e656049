"""Line drawings of the environments that have no bodies to render."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from mbrl_jax.envs.base import EnvState
from mbrl_jax.envs.gridworld import MAP

__all__ = ["DRAWINGS"]

Draw = Callable[[EnvState, int, int], np.ndarray]
INK, ROD, LIGHT = (40, 40, 48), (204, 77, 77), (222, 222, 228)


class _Canvas:
    """A white picture with a coordinate system: the origin at `centre`, `scale` pixels per unit, y upwards."""

    def __init__(self, height: int, width: int, extent: float, centre: tuple[float, float] = (0.5, 0.5)):
        self.image = Image.new("RGB", (width, height), "white")
        self._draw = ImageDraw.Draw(self.image)
        self._origin = (centre[0] * width, (1 - centre[1]) * height)
        self._scale = min(height, width) / (2 * extent)

    def _place(self, point: Any) -> tuple[float, float]:
        return (self._origin[0] + self._scale * float(point[0]), self._origin[1] - self._scale * float(point[1]))

    def line(self, points: list[Any], colour: tuple[int, int, int] = INK, width: float = 0.02) -> None:
        pixels = max(1, round(width * self._scale))
        self._draw.line([self._place(point) for point in points], fill=colour, width=pixels, joint="curve")

    def disc(self, centre: Any, radius: float, colour: tuple[int, int, int] = INK) -> None:
        x, y = self._place(centre)
        r = radius * self._scale
        self._draw.ellipse([x - r, y - r, x + r, y + r], fill=colour)

    def box(self, low: Any, high: Any, colour: tuple[int, int, int] = INK) -> None:
        (x0, y0), (x1, y1) = self._place(low), self._place(high)
        self._draw.rectangle([min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)], fill=colour)

    def pixels(self) -> np.ndarray:
        return np.asarray(self.image)


def _pendulum(state: EnvState, height: int, width: int) -> np.ndarray:
    canvas = _Canvas(height, width, extent=1.3)
    cosine, sine, _ = np.asarray(state.obs, float)
    canvas.line([(0, 0), (-sine, cosine)], ROD, width=0.2)
    for end in ((0, 0), (-sine, cosine)):
        canvas.disc(end, 0.1, ROD)
    canvas.disc((0, 0), 0.05)
    return canvas.pixels()


def _cartpole(state: EnvState, height: int, width: int) -> np.ndarray:
    canvas = _Canvas(height, width, extent=1.8, centre=(0.5, 0.3))
    place, _, angle, _ = np.asarray(state.obs, float)
    canvas.line([(-9, 0), (9, 0)], LIGHT)
    canvas.box((place - 0.25, -0.15), (place + 0.25, 0.15))
    canvas.line([(place, 0), (place + np.sin(angle), np.cos(angle))], ROD, width=0.1)
    return canvas.pixels()


def _acrobot(state: EnvState, height: int, width: int) -> np.ndarray:
    canvas = _Canvas(height, width, extent=2.3)
    c1, s1, c2, s2, _, _ = np.asarray(state.obs, float)
    elbow = np.array([s1, -c1])
    tip = elbow + np.array([s1 * c2 + c1 * s2, -(c1 * c2 - s1 * s2)])
    canvas.line([(-9, 1), (9, 1)], LIGHT)
    canvas.line([(0, 0), elbow, tip], ROD, width=0.15)
    for joint in ((0, 0), elbow):
        canvas.disc(joint, 0.1)
    return canvas.pixels()


def _car(state: EnvState, height: int, width: int) -> np.ndarray:
    canvas = _Canvas(height, width, extent=1.0, centre=(0.62, 0.45))
    xs = np.linspace(-1.2, 0.6, 60)
    canvas.line(list(zip(xs, 0.45 * np.sin(3 * xs), strict=True)), width=0.02)
    canvas.line([(0.45, 0.45 * np.sin(1.35)), (0.45, 0.75)], ROD)
    place = float(state.obs[0])
    canvas.disc((place, 0.45 * np.sin(3 * place) + 0.07), 0.07, ROD)
    return canvas.pixels()


def _grid(state: EnvState, height: int, width: int) -> np.ndarray:
    size = len(MAP)
    canvas = _Canvas(height, width, extent=size / 2 + 0.2)
    here = int(np.argmax(state.obs))
    colours = {"#": INK, "G": (120, 180, 120)}
    cells = [(r, c) for r in range(size) for c in range(size)]
    free = [cell for cell in cells if MAP[cell[0]][cell[1]] != "#"]
    for r, c in cells:
        x, y = c - size / 2, size / 2 - r
        canvas.box((x + 0.03, y - 0.97), (x + 0.97, y - 0.03), colours.get(MAP[r][c], LIGHT))
    canvas.disc((free[here][1] - size / 2 + 0.5, size / 2 - free[here][0] - 0.5), 0.3, ROD)
    return canvas.pixels()


DRAWINGS: dict[str, Draw] = {
    "pendulum-v1": _pendulum,
    "mbbl_pendulum-v0": _pendulum,
    "cartpole-v1": _cartpole,
    "mbbl_cartpole-v0": _cartpole,
    "acrobot-v1": _acrobot,
    "mbbl_acrobot-v0": _acrobot,
    "mountain_car_continuous-v0": _car,
    "gridworld-v0": _grid,
}
