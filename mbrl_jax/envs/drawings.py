"""Line drawings of the environments that have no bodies to render."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mbrl_jax.envs.base import EnvState
from mbrl_jax.envs.gridworld import MAP
from mbrl_jax.envs.probes import PROBES

__all__ = ["DRAWINGS"]

Draw = Callable[[EnvState, int, int], np.ndarray]
INK, ROD, LIGHT, TREE = (40, 40, 48), (204, 77, 77), (222, 222, 228), (92, 156, 100)
Point = Sequence[float] | np.ndarray
"""A place `(x, y)`."""


class _Canvas:
    """A white picture with a coordinate system: the origin at `centre`, `scale` pixels per unit, y upwards."""

    def __init__(self, height: int, width: int, extent: float, centre: tuple[float, float] = (0.5, 0.5)):
        self.image = Image.new("RGB", (width, height), "white")
        self._draw = ImageDraw.Draw(self.image)
        self._origin = (centre[0] * width, (1 - centre[1]) * height)
        self._scale = min(height, width) / (2 * extent)

    def _place(self, point: Point) -> tuple[float, float]:
        return (self._origin[0] + self._scale * float(point[0]), self._origin[1] - self._scale * float(point[1]))

    def line(self, points: list[Point], colour: tuple[int, int, int] = INK, width: float = 0.02) -> None:
        pixels = max(1, round(width * self._scale))
        self._draw.line([self._place(point) for point in points], fill=colour, width=pixels, joint="curve")

    def disc(self, centre: Point, radius: float, colour: tuple[int, int, int] = INK) -> None:
        x, y = self._place(centre)
        r = radius * self._scale
        self._draw.ellipse([x - r, y - r, x + r, y + r], fill=colour)

    def box(self, low: Point, high: Point, colour: tuple[int, int, int] = INK) -> None:
        (x0, y0), (x1, y1) = self._place(low), self._place(high)
        self._draw.rectangle([min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)], fill=colour)

    def car(self, centre: Point, heading: float, colour: tuple[int, int, int], length: float, width: float) -> None:
        """A box that points along `heading`, with a light front."""
        ahead = np.array([np.cos(heading), np.sin(heading)])
        middle = np.asarray(centre, float)
        self.line([middle - 0.5 * length * ahead, middle + 0.5 * length * ahead], colour, width)
        self.line([middle + 0.2 * length * ahead, middle + 0.3 * length * ahead], LIGHT, 0.8 * width)

    def text(self, centre: Point, words: str, size: float = 0.2) -> None:
        """Words around a point; `size` is the letters' height in units."""
        font = ImageFont.load_default(max(1, round(size * self._scale)))
        self._draw.text(self._place(centre), words, fill=INK, font=font, anchor="mm")

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


def _swing_up(state: EnvState, height: int, width: int) -> np.ndarray:
    canvas = _Canvas(height, width, extent=1.8)
    place, angle, _, _ = np.asarray(state.obs, float)
    canvas.line([(-2.5, 0), (2.5, 0)], LIGHT)
    canvas.box((place - 0.2, -0.1), (place + 0.2, 0.1))
    canvas.line([(place, 0), (place - 0.6 * np.sin(angle), -0.6 * np.cos(angle))], ROD, width=0.1)
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


def _icy_road(state: EnvState, height: int, width: int) -> np.ndarray:
    """The road under the car; the line ahead of it is where it will be after a step like the last.

    The picture follows a car off the road half the way, so that both stay in it.
    """
    x, y, speed, slip = np.asarray(state.obs, float)
    canvas = _Canvas(height, width, extent=5.0, centre=(0.4, 0.5 - y / 20))
    canvas.box((-50, -1), (50, 1), LIGHT)
    for mark in range(-20, 21):
        place = mark - x % 1
        canvas.line([(place, -0.05), (place + 0.4, -0.05)], (255, 255, 255), width=0.1)
    for mark in range(-20, 21, 5):
        canvas.disc((mark + 5 - x % 5, 1.5), 0.15, TREE)
        canvas.disc((mark + 5 - x % 5, -1.5), 0.15, TREE)
    colour = ROD if abs(y) > 1 else INK
    canvas.line([(0, y), (speed, y + slip)], colour, width=0.08)
    canvas.car((0, y), np.arctan2(slip, max(speed, 1e-6)), colour, 1.2, 0.7)
    return canvas.pixels()


def _intersection(state: EnvState, height: int, width: int) -> np.ndarray:
    canvas = _Canvas(height, width, extent=10.5)
    obs = np.asarray(state.obs, float)
    canvas.box((-4, -50), (4, 50), LIGHT)
    canvas.box((-50, -4), (50, 4), LIGHT)
    for near, far in ((4, 50), (-50, -4)):
        canvas.line([(0, near), (0, far)], (255, 255, 255), width=0.15)
        canvas.line([(near, 0), (far, 0)], (255, 255, 255), width=0.15)
    for (x, y, _, _, heading), colour in zip(obs.reshape(2, 5), ((110, 120, 140), TREE), strict=True):
        canvas.car((x, y), heading, ROD if state.physics.collided else colour, 2.2, 1.2)
    return canvas.pixels()


def _regulator(state: EnvState, height: int, width: int) -> np.ndarray:
    """The mass on its line and a mark at the best place; the line from it is where it will be in half a second."""
    canvas = _Canvas(height, width, extent=0.75)
    place, speed = np.asarray(state.obs, float)
    canvas.line([(-9, -0.1), (9, -0.1)], LIGHT)
    canvas.line([(0, -0.2), (0, -0.1)], TREE, width=0.03)
    canvas.box((place - 0.08, -0.09), (place + 0.08, 0.07), ROD)
    canvas.line([(place, -0.01), (place + 0.5 * speed, -0.01)], width=0.03)
    return canvas.pixels()


def _probe(state: EnvState, height: int, width: int) -> np.ndarray:
    """The observation as a bar from 0, and as a number beside the steps taken."""
    canvas = _Canvas(height, width, extent=1.5, centre=(0.375, 0.4))
    seen = float(state.obs[0])
    canvas.box((0, 0), (seen, 0.5), ROD)
    canvas.line([(-1.2, 0), (2.2, 0)])
    for mark in (-1, 0, 1, 2):
        canvas.line([(mark, -0.08), (mark, 0)])
        canvas.text((mark, -0.25), str(mark))
    canvas.text((0.5, 1.0), f"observed {seen:.1f}, step {int(state.t)}", 0.25)
    return canvas.pixels()


DRAWINGS: dict[str, Draw] = {
    "pendulum-v1": _pendulum,
    "mbbl_pendulum-v0": _pendulum,
    "cartpole-v1": _cartpole,
    "mbbl_cartpole-v0": _cartpole,
    "pets_cartpole-v0": _swing_up,
    "acrobot-v1": _acrobot,
    "mbbl_acrobot-v0": _acrobot,
    "mountain_car_continuous-v0": _car,
    "gridworld-v0": _grid,
    "icy_road-v0": _icy_road,
    "intersection-v0": _intersection,
    "lqr-v0": _regulator,
    **dict.fromkeys(PROBES, _probe),
}
