"""Draws the picture of docs/mnm.md, what label smoothing does to MnM's model: `.venv/bin/python docs/smoothing.py`."""

from __future__ import annotations

from pathlib import Path

import jax.numpy as jnp
import matplotlib
import numpy as np
from matplotlib.figure import Figure

from mbrl_jax.report import theme
from mbrl_jax.theory import mnm_smoothing

FILE = Path(__file__).parent / "images" / "mnm" / "smoothing.png"
SMOOTHING = {
    0.0: theme.ALGORITHMS["truth"],
    0.01: theme.EXTRA["x3"],
    0.05: theme.EXTRA["x0"],
    0.1: theme.ALGORITHMS["mnm"],
}
"""Amounts of label smoothing, and their colours."""


def main() -> None:
    """Writes `docs/images/mnm/smoothing.png`."""
    with matplotlib.rc_context(theme.RC):
        figure = Figure(figsize=(9.6, 3.5), layout="constrained")
        left, right = figure.subplots(1, 2)
        slopes, shifts = jnp.linspace(0.0, 3.0, 1201), jnp.linspace(0.0, 5.0, 501)
        for alpha, tone in SMOOTHING.items():
            line = {"color": tone.light, "linewidth": 1.8}
            rests = np.asarray(mnm_smoothing.resting_shift(slopes, alpha))
            at = np.isfinite(rests)
            left.plot(slopes[at], rests[at], label=f"smoothing {alpha:g}", **line)
            right.plot(shifts, mnm_smoothing.pull(shifts, alpha), **line)
            if alpha:
                most = float(mnm_smoothing.largest_slope(alpha))
                top = float(rests[at][-1])
                left.plot([most, most], [top, 5.0], linestyle=":", **line)
                # The lowest one's label stands left of its line, where there is room.
                side = {"ha": "right", "xytext": (-4, 0)} if alpha == max(SMOOTHING) else {"xytext": (4, 0)}
                where = {"xy": (most, 4.8), "textcoords": "offset points", "color": tone.light, **side}
                left.annotate(f"{most:.2f}", **where)
        left.set(title="Where the model comes to rest", xlabel="slope of the value, nats per σ", ylim=(0, 5.0))
        left.set_ylabel("shift of the model, σ")
        right.set(title="How strongly the classifier holds it", xlabel="shift of the model, σ", ylim=(0, 3.0))
        right.set_ylabel("pull, nats per σ")
        left.legend(frameon=False, loc="lower right")
        FILE.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(FILE, dpi=130, facecolor="white")


if __name__ == "__main__":
    main()
