"""Line drawings of the environments that have no bodies to render."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from mbrl_jax.envs.base import EnvState

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


DRAWINGS: dict[str, Draw] = {"pendulum-v1": _pendulum}
