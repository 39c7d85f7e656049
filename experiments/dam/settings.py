"""What the sensitivity table varies, by profile and environment: one `Setting` per row.

Sizes that the laptop profile economises on are kept apart from what the paper leaves open: the first must not decide a
verdict, the second may, and then the verdict hangs on a guess.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from experiments.dam import common
from mbrl_jax.models import fitting

__all__ = ["CORRECTED", "SETTINGS", "SIZES", "UNCORRECTED", "Setting", "known"]

UNCORRECTED = tuple(method for method, (correction, _) in common.METHODS.items() if not correction)
"""Methods without a discriminator."""
CORRECTED = (("correction", (1.0,)), common.SWEEP[1])
"""The other two, as a sweep."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One way to differ from Table 1, and how much evidence it gets.

    Attributes:
      name: as the table shows it.
      kind: nearer to the paper profile's sizes (`fuller`), further from them (`smaller`), not given in the paper
        (`open`), or Table 1's own setting with other seeds (`same`).
      planning: changes of `dam.Planning`, tried with the models that Table 1 has fitted.
      weights: numbers that only the discriminator's weights depend on, by dotted name; tried in the same way.
      trained: whether changed weights are used from the first round on, in a run of its own.
      config: changes of `dam.Config` by dotted name, in a run of its own.
      world: settings of the environment, in a run of its own.
      seeds: seeds of each cell.
      first_seed: the first of them; not 0 needs runs of its own.
      further: how many seeds more the methods without a discriminator get after these, in a run of its own.
      episodes: evaluation episodes of each seed.
    """

    name: str
    kind: Literal["fuller", "smaller", "same", "open"] = "open"
    planning: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    trained: bool = False
    config: dict[str, Any] = field(default_factory=dict)
    world: tuple[tuple[str, float], ...] = ()
    seeds: int
    episodes: int
    first_seed: int = 0
    further: int = 0

    @property
    def own(self) -> bool:
        """Whether it needs runs of its own."""
        return self.trained or bool(self.config or self.world or self.first_seed)

    @property
    def same(self) -> tuple[str, ...]:
        """Methods that it does not change."""
        return UNCORRECTED if self.weights else ()


_SIGMA = {"planning.sigmoid": 1.0}
_CLIP = {"planning.weight_clip": 2.0}
_MEAN_ONE = {"planning.self_normalised": 1.0, "discriminator.noise": 0.0}
_NOISE = {"planning.self_normalised": 0.0, "discriminator.noise": 0.2}
_BOTH = {"planning.self_normalised": 1.0, "discriminator.noise": 0.2}

_BLIND = {"search": "random_shooting"}
_PARTS = ("model", "discriminator")
_WIDER = {f"{part}.hidden": (128, 128) for part in _PARTS}


def _sized(env: str, warmup: int, episodes: int) -> dict[str, Any]:
    """Other numbers of episodes before and in each of the ten rounds."""
    return {"warmup_episodes": warmup, "episodes": episodes, "steps": 10 * episodes * common.WORLDS[env].STEPS}


def _fitted(fit: fitting.Config) -> dict[str, Any]:
    """Other fits of both networks."""
    return {f"{part}.fit": fit for part in _PARTS}


def _lasting(factor: float) -> dict[str, Any]:
    """Fits of so many times as many steps as IcyRoad's at the same rates, with as many times the patience."""
    usual = common.config(common.scale("laptop")["icy_road-v0"], "icy_road-v0", "unimodal")
    return {
        f"{part}.fit.{name}": int(factor * getattr(getattr(usual, part).fit, name))
        for part in _PARTS
        for name in ("patience", "max_steps")
    }


_ICY_MANY: dict[str, Any] = {"seeds": 20, "episodes": 10}
_ICY_FEW: dict[str, Any] = {"seeds": 8, "episodes": 10}
_ICY = (
    Setting(name="40 particles", kind="fuller", planning={"particles": 40}, **_ICY_MANY),
    Setting(name="48 random sequences", kind="smaller", planning=_BLIND | {"sequences": 48}, **_ICY_MANY),
    Setting(name="5 particles", kind="smaller", planning={"particles": 5}, **_ICY_MANY),
    Setting(name="one particle (Algorithm 1)", planning={"particles": 1}, **_ICY_MANY),
    Setting(name="horizon 3", planning={"horizon": 3}, **_ICY_MANY),
    Setting(name="weights σ(logit)", weights=_SIGMA, **_ICY_MANY),
    Setting(name="products up to e²", weights=_CLIP, **_ICY_MANY),
    Setting(name="self-normalised weights", weights=_MEAN_ONE, **_ICY_MANY),
    Setting(name="instance noise 0.2", weights=_NOISE, trained=True, **_ICY_FEW),
    Setting(name="swerve probability 0.6", world=(("swerve_probability", 0.6),), **_ICY_FEW),
)
_CROSS_MANY: dict[str, Any] = {"seeds": 20, "episodes": 6}
_CROSS_FEW: dict[str, Any] = {"seeds": 8, "episodes": 8}
_CROSS = (
    Setting(name="96 sequences", kind="fuller", planning={"sequences": 96}, **_CROSS_MANY),
    Setting(name="8 particles", kind="fuller", planning={"particles": 8}, **_CROSS_MANY),
    Setting(name="16 sequences", kind="smaller", planning={"sequences": 16}, **_CROSS_MANY),
    Setting(name="one particle (Algorithm 1)", planning={"particles": 1}, **_CROSS_MANY),
    Setting(name="weights σ(logit)", weights=_SIGMA, **_CROSS_MANY),
    Setting(name="products up to e²", weights=_CLIP, **_CROSS_MANY),
    Setting(name="self-normalised weights", weights=_MEAN_ONE, trained=True, **_CROSS_FEW),
    Setting(name="instance noise 0.2", weights=_NOISE, trained=True, **_CROSS_FEW),
    Setting(name="both of these", weights=_BOTH, trained=True, **_CROSS_FEW),
)
_SMOKE: dict[str, Any] = {"seeds": 2, "episodes": 2}
_FULL: dict[str, Any] = {"seeds": 20, "episodes": 50}
SETTINGS: dict[str, dict[str, tuple[Setting, ...]]] = {
    # Each setting is two programs to compile, more than a minute for all kinds of them; tests build the others.
    "smoke": {"icy_road-v0": (Setting(name="one particle (Algorithm 1)", planning={"particles": 1}, **_SMOKE),)},
    "laptop": {"icy_road-v0": _ICY, "intersection-v0": _CROSS},
    "paper": {
        "icy_road-v0": (
            Setting(name="100 particles", kind="fuller", planning={"particles": 100}, **_FULL),
            *(replace(one, **_FULL) for one in _ICY if one.kind == "open"),
        ),
        "intersection-v0": (
            Setting(name="2,000 sequences", kind="fuller", planning={"sequences": 2000}, **_FULL),
            Setting(name="horizon 20", planning={"horizon": 20}, **_FULL),
            Setting(name="acceleration 0.5", world=(("acceleration", 0.5),), **_FULL),
            *(replace(one, **_FULL) for one in _CROSS if one.kind == "open"),
        ),
    },
}

_ICY_LESS = _sized("icy_road-v0", 20, 10) | _lasting(0.5)
_ICY_MORE = _sized("icy_road-v0", 80, 40) | _lasting(2)
_ICY_MODELS: dict[str, Any] = {"seeds": 20, "episodes": 30}
_ICY_SIZED: dict[str, Any] = {**_ICY_MODELS, "further": 40}
_ICY_SIZES = (
    Setting(name="other seeds", kind="same", first_seed=20, **_ICY_SIZED),
    Setting(name="half the data, shorter fits", kind="smaller", config=_ICY_LESS, **_ICY_MODELS),
    Setting(name="networks 2×128", kind="fuller", config=_WIDER, **_ICY_SIZED),
    Setting(name="twice the data, longer fits", kind="fuller", config=_ICY_MORE, **_ICY_SIZED),
    Setting(name="Gaussians from e⁻³ up", config={"model.log_std": (-3.0, 2.0)}, **_ICY_MODELS),
    Setting(name="40 more seeds", kind="same", first_seed=100, seeds=40, episodes=30),
)
_CROSS_MORE = _sized("intersection-v0", 20, 4) | _fitted(common.MIDDLE)
_CROSS_SIZED: dict[str, Any] = {"seeds": 20, "episodes": 8, "further": 60}
_CROSS_SIZES = (
    Setting(name="other seeds", kind="same", first_seed=20, **_CROSS_SIZED),
    Setting(name="networks 2×128", kind="fuller", config=_WIDER, **_CROSS_SIZED),
    Setting(name="twice the data, longer fits", kind="fuller", config=_CROSS_MORE, **_CROSS_SIZED),
)
SIZES: dict[str, dict[str, tuple[Setting, ...]]] = {
    "smoke": {"icy_road-v0": (Setting(name="other seeds", kind="same", seeds=2, first_seed=2, episodes=2, further=2),)},
    "laptop": {"icy_road-v0": _ICY_SIZES, "intersection-v0": _CROSS_SIZES},
}
"""Rows of the same table that take too long for every run of the laptop profile (`dam/sizes`)."""


def known(env: str) -> list[Setting]:
    """All settings of an environment in any profile."""
    return [one for profiles in (SETTINGS, SIZES) for rows in profiles.values() for one in rows.get(env, ())]
