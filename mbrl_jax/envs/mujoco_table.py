"""Gym's MuJoCo tasks as data. Definitions: Gymnasium's `envs/mujoco/*_v4.py` and `*_v5.py`.

Names: `-v4` and `-v5` are Gymnasium's tasks. `-v2` is used where the papers' task is neither: Ant and Humanoid with
contact costs and all contact forces, and their truncated observations. The MJCF models are `gymnasium`'s own files.
Observation and action, with units: as in `mujoco_tasks`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mbrl_jax.envs.base import namespace
from mbrl_jax.envs.mujoco_tasks import (
    Fell,
    Frame,
    Observe,
    Reward,
    Task,
    in_disc,
    never,
    out_of,
    outside,
    posture,
    push,
    run,
    uniform,
    uniform_normal,
    unless,
)
from mbrl_jax.types import Values

__all__ = ["ALIASES", "TASKS"]


def _hopper_fell(obs: Values) -> Values:
    """z > 0.7, |angle| < 0.2, and every entry of the state from the angle on within ±100."""
    return outside(obs[..., 0], 0.7, 1e10) | outside(obs[..., 1], -0.2, 0.2) | outside(obs[..., 1:], -100, 100).any(-1)


def _walker_fell(obs: Values) -> Values:
    return outside(obs[..., 0], 0.8, 2.0) | outside(obs[..., 1], -1.0, 1.0)


def _ant_fell(obs: Values) -> Values:
    return out_of(obs[..., 0], 0.2, 1.0)


def _humanoid_fell(obs: Values) -> Values:
    return outside(obs[..., 0], 1.0, 2.0)


def _tipped(obs: Values) -> Values:
    return out_of(obs[..., 1], -0.2, 0.2)


def _fell(hidden: int, rule: Callable[[Values], Values]) -> Fell:
    """The rule on observations as one on frames; velocities count unclipped."""
    whole = posture(hidden)
    return lambda frame: rule(whole(frame))


def _alive(obs: Values, action: Values, next_obs: Values | None) -> Values:
    return 0.0 * obs[..., 0] + 1.0


def _distance(first: Values, second: Values | float) -> Values:
    return ((first - second) ** 2).sum(axis=-1) ** 0.5


def _square(values: Values) -> Values:
    return (values**2).sum(axis=-1)


def _torso_x(frame: Frame) -> Values:
    return frame.derived["xpos:torso"][..., 0]


def _com_x(frame: Frame) -> Values:
    return frame.derived["subtree_com:world"][..., 0]


def _ant_contact(frame: Frame) -> Values:
    forces = namespace(frame.qpos).clip(frame.derived["cfrc_ext"], -1.0, 1.0)
    return 5e-4 * (forces**2).sum(axis=(-2, -1))


def _humanoid_contact(frame: Frame) -> Values:
    return namespace(frame.qpos).minimum(5e-7 * (frame.derived["cfrc_ext"] ** 2).sum(axis=(-2, -1)), 10.0)


def _clipped_contacts(first: int) -> Observe:
    """Ant's observation with the contact forces of the bodies from `first` on, clipped to ±1."""
    plain = posture(2)

    def observe(frame: Frame) -> Values:
        xp = namespace(frame.qpos)
        forces = xp.clip(frame.derived["cfrc_ext"], -1.0, 1.0)[..., first:, :]
        return xp.concatenate([plain(frame), xp.reshape(forces, (*forces.shape[:-2], -1))], axis=-1)

    return observe


_SIDE = {"lookat": (0.0, 0.0, 1.15), "elevation": -20.0, "trackbodyid": 2}
_HALF_CHEETAH = Task(
    model="half_cheetah.xml",
    frame_skip=5,
    observe=posture(1),
    reward=run(control=0.1),
    terminated=lambda frame: never(frame.qpos),
    noise=uniform_normal(0.1),
    obs_terminal=never,
    gym=("HalfCheetah-v4",),
    camera={"trackbodyid": 1, "distance": 4.0},
)
_HOPPER = Task(
    model="hopper.xml",
    frame_skip=4,
    observe=posture(1, clip=10.0),
    reward=run(control=1e-3, healthy=1.0),
    terminated=_fell(1, _hopper_fell),
    noise=uniform(5e-3),
    obs_terminal=_hopper_fell,
    gym=("Hopper-v4",),
    camera={"distance": 3.0, **_SIDE},
)
_WALKER = Task(
    model="walker2d.xml",
    frame_skip=4,
    observe=posture(1, clip=10.0),
    reward=run(control=1e-3, healthy=1.0),
    terminated=_fell(1, _walker_fell),
    noise=uniform(5e-3),
    solver=8,
    obs_terminal=_walker_fell,
    gym=("Walker2d-v4",),
    camera={"distance": 4.0, **_SIDE},
)
_SWIMMER = Task(
    model="swimmer.xml",
    frame_skip=4,
    observe=posture(2),
    reward=run(control=1e-4),
    terminated=lambda frame: never(frame.qpos),
    noise=uniform(0.1),
    obs_terminal=never,
    gym=("Swimmer-v4",),
    camera={"trackbodyid": 1, "distance": 4.0, "elevation": -60.0},
)
_ANT = Task(
    model="ant.xml",
    frame_skip=5,
    observe=posture(2),
    reward=run(control=0.5, healthy=1.0, place=_torso_x),
    terminated=_fell(2, _ant_fell),
    noise=uniform_normal(0.1),
    derived=("xpos:torso",),
    carried=("xpos:torso",),
    solver=8,
    obs_terminal=_ant_fell,
    gym=("Ant-v4",),
    camera={"trackbodyid": 1, "distance": 4.0},
)
_ANT_CONTACT = replace(
    _ANT,
    observe=_clipped_contacts(0),
    observes_derived=True,
    reward=run(control=0.5, healthy=1.0, contact=_ant_contact, place=_torso_x),
    derived=("xpos:torso", "cfrc_ext"),
    gym=("Ant-v4", ("use_contact_forces", True)),
)
_HUMANOID = Task(
    model="humanoid.xml",
    frame_skip=5,
    observe=posture(2, derived=(("cinert", 0), ("cvel", 0), ("qfrc_actuator", 0), ("cfrc_ext", 0))),
    observes_derived=True,
    reward=run(control=0.1, speed=1.25, healthy=5.0, place=_com_x),
    terminated=_fell(2, _humanoid_fell),
    noise=uniform(0.01),
    derived=("subtree_com:world", "cinert", "cvel", "qfrc_actuator", "cfrc_ext"),
    carried=("subtree_com:world",),
    solver=8,
    obs_terminal=_humanoid_fell,
    gym=("Humanoid-v4",),
    camera={"trackbodyid": 1, "distance": 4.0, "lookat": (0.0, 0.0, 2.0), "elevation": -20.0},
)
_HUMANOID_CONTACT = replace(
    _HUMANOID, reward=run(control=0.1, speed=1.25, healthy=5.0, contact=_humanoid_contact, place=_com_x), gym=()
)
_REACHER_PLACES = ("xpos:fingertip", "xpos:target")


def _observe_reacher(axes: int) -> Observe:
    def observe(frame: Frame) -> Values:
        xp, joints = namespace(frame.qpos), frame.qpos[..., :2]
        gap = (frame.derived["xpos:fingertip"] - frame.derived["xpos:target"])[..., :axes]
        parts = [xp.cos(joints), xp.sin(joints), frame.qpos[..., 2:], frame.qvel[..., :2], gap]
        return xp.concatenate(parts, axis=-1)

    return observe


def _reach(frame: Frame, action: Values) -> Values:
    return -_distance(frame.derived["xpos:fingertip"], frame.derived["xpos:target"]) - _square(action)


_REACHER = Task(
    model="reacher.xml",
    frame_skip=2,
    observe=_observe_reacher(3),
    observes_derived=True,
    reward=lambda before, action, after, dt: _reach(before, action),
    terminated=lambda frame: never(frame.qpos),
    noise=in_disc,
    derived=_REACHER_PLACES,
    carried=_REACHER_PLACES,
    time_limit=50,
    obs_reward=lambda obs, action, next_obs: -_distance(obs[..., 8:], 0.0) - _square(action),
    obs_terminal=never,
    gym=("Reacher-v4",),
    camera={"distance": 0.65, "lookat": (0.0, 0.0, 0.0), "elevation": -60.0},
)
_PUSHER_PLACES = ("xpos:tips_arm", "xpos:object", "xpos:goal")


def _observe_pusher(frame: Frame) -> Values:
    places = [frame.derived[place] for place in _PUSHER_PLACES]
    return namespace(frame.qpos).concatenate([frame.qpos[..., :7], frame.qvel[..., :7], *places], axis=-1)


def _push_reward(obs: Values, action: Values) -> Values:
    tip, thing, goal = obs[..., 14:17], obs[..., 17:20], obs[..., 20:23]
    return -_distance(thing, goal) - 0.1 * _square(action) - 0.5 * _distance(thing, tip)


_PUSHER = Task(
    model="pusher_v5.xml",
    frame_skip=5,
    observe=_observe_pusher,
    observes_derived=True,
    reward=lambda before, action, after, dt: _push_reward(_observe_pusher(after), action),
    terminated=lambda frame: never(frame.qpos),
    noise=push,
    derived=_PUSHER_PLACES,
    time_limit=100,
    obs_reward=lambda obs, action, next_obs: _push_reward(next_obs, action),
    obs_terminal=never,
    gym=("Pusher-v5",),
    camera={"distance": 2.2, "lookat": (0.25, -0.25, -0.1)},
)
_PENDULUM = Task(
    model="inverted_pendulum.xml",
    frame_skip=2,
    observe=posture(0),
    reward=lambda before, action, after, dt: _alive(after.qpos, action, None),
    terminated=_fell(0, _tipped),
    noise=uniform(0.01),
    solver=1,
    obs_reward=_alive,
    obs_terminal=_tipped,
    gym=("InvertedPendulum-v4",),
    camera={"trackbodyid": 0, "distance": 2.04},
)


def _observe_double(forces: int) -> Observe:
    def observe(frame: Frame) -> Values:
        xp, angles = namespace(frame.qpos), frame.qpos[..., 1:]
        force = xp.clip(frame.derived["qfrc_constraint"], -10.0, 10.0)[..., :forces]
        parts = [frame.qpos[..., :1], xp.sin(angles), xp.cos(angles), xp.clip(frame.qvel, -10.0, 10.0), force]
        return xp.concatenate(parts, axis=-1)

    return observe


def _double_fell(frame: Frame) -> Values:
    return frame.derived["site_xpos:tip"][..., 2] <= 1


def _double_low(obs: Values) -> Values:
    """The same from sines and cosines of the angles: the tip at `0.6 cos(t1) + 0.6 cos(t1 + t2)`.

    Gym's height is that of the last Runge-Kutta stage, less than a tenth of a millimetre from this one.
    """
    cosine = obs[..., 3] * obs[..., 4] - obs[..., 1] * obs[..., 2]
    return 0.6 * (obs[..., 3] + cosine) <= 1


def _balance(bonus: Callable[[Frame], Values | float]) -> Reward:
    def reward(before: Frame, action: Values, after: Frame, dt: float) -> Values:
        tip, speeds = after.derived["site_xpos:tip"], after.qvel
        penalty = 0.01 * tip[..., 0] ** 2 + (tip[..., 2] - 2) ** 2
        return bonus(after) - penalty - (0.001 * speeds[..., 1] ** 2 + 0.005 * speeds[..., 2] ** 2)

    return reward


_DOUBLE = Task(
    model="inverted_double_pendulum.xml",
    frame_skip=5,
    observe=_observe_double(3),
    observes_derived=True,
    reward=_balance(lambda after: 10.0),
    terminated=_double_fell,
    noise=uniform_normal(0.1),
    derived=("site_xpos:tip", "qfrc_constraint"),
    obs_terminal=_double_low,
    gym=("InvertedDoublePendulum-v4",),
    camera={"distance": 2.2, "lookat": (0.0, 0.0, 0.55), "elevation": -30.0},
)

TASKS: dict[str, Task] = {
    "half_cheetah-v4": _HALF_CHEETAH,
    "half_cheetah-v5": replace(_HALF_CHEETAH, gym=("HalfCheetah-v5",)),
    "hopper-v4": _HOPPER,
    "hopper-v5": replace(_HOPPER, reward=run(control=1e-3, healthy=1.0, fallen=_HOPPER.terminated), gym=("Hopper-v5",)),
    "walker2d-v4": _WALKER,
    "walker2d-v5": replace(
        _WALKER,
        model="walker2d_v5.xml",
        reward=run(control=1e-3, healthy=1.0, fallen=_WALKER.terminated),
        gym=("Walker2d-v5",),
    ),
    "ant-v4": _ANT,
    "ant-v2": _ANT_CONTACT,
    "ant_truncated-v2": replace(_ANT_CONTACT, observe=posture(2), observes_derived=False, gym=()),
    "ant-v5": replace(
        _ANT_CONTACT,
        observe=_clipped_contacts(1),
        reward=run(control=0.5, healthy=1.0, fallen=_ANT.terminated, contact=_ant_contact, place=_torso_x),
        gym=("Ant-v5",),
    ),
    "humanoid-v4": _HUMANOID,
    "humanoid-v2": _HUMANOID_CONTACT,
    "humanoid_truncated-v2": replace(
        _HUMANOID_CONTACT, observe=posture(2), observes_derived=False, derived=("subtree_com:world", "cfrc_ext")
    ),
    "humanoid-v5": replace(
        _HUMANOID,
        observe=posture(2, derived=(("cinert", 1), ("cvel", 1), ("qfrc_actuator", 6), ("cfrc_ext", 1))),
        reward=run(
            control=0.1, speed=1.25, healthy=5.0, fallen=_HUMANOID.terminated, contact=_humanoid_contact, place=_com_x
        ),
        gym=("Humanoid-v5",),
    ),
    "swimmer-v4": _SWIMMER,
    "swimmer-v5": replace(_SWIMMER, gym=("Swimmer-v5",)),
    "reacher-v4": _REACHER,
    "reacher-v5": replace(
        _REACHER,
        observe=_observe_reacher(2),
        reward=lambda before, action, after, dt: _reach(after, action),
        carried=(),
        obs_reward=lambda obs, action, next_obs: -_distance(next_obs[..., 8:], 0.0) - _square(action),
        gym=("Reacher-v5",),
    ),
    # Gym's model for -v4 has an object lighter than air, which MuJoCo 3 and later cannot simulate as MuJoCo 2 did
    # (Gymnasium refuses to make it); -v4 here is its reward on the corrected model of -v5.
    "pusher-v4": replace(
        _PUSHER,
        reward=lambda before, action, after, dt: _push_reward(_observe_pusher(before), action),
        carried=_PUSHER_PLACES,
        obs_reward=lambda obs, action, next_obs: _push_reward(obs, action),
        gym=(),
    ),
    "pusher-v5": _PUSHER,
    "inverted_pendulum-v4": _PENDULUM,
    "inverted_pendulum-v5": replace(
        _PENDULUM,
        reward=lambda before, action, after, dt: unless(_PENDULUM.terminated(after), 1.0),
        obs_reward=lambda obs, action, next_obs: unless(_tipped(next_obs), 1.0),
        gym=("InvertedPendulum-v5",),
    ),
    "inverted_double_pendulum-v4": _DOUBLE,
    "inverted_double_pendulum-v5": replace(
        _DOUBLE,
        observe=_observe_double(1),
        reward=_balance(lambda after: unless(_double_fell(after), 10.0)),
        gym=("InvertedDoublePendulum-v5",),
    ),
}

_UNCHANGED = (
    *("half_cheetah", "hopper", "walker2d", "swimmer", "reacher", "pusher"),
    *("inverted_pendulum", "inverted_double_pendulum"),
)
ALIASES: dict[str, str] = {
    **{f"{name}-v2": f"{name}-v4" for name in _UNCHANGED},
    "ant_truncated_obs-v2": "ant_truncated-v2",
    "humanoid_truncated_obs-v2": "humanoid_truncated-v2",
}
"""Other names of tasks: those that are the same in Gym's -v2, and MBPO's for its truncated observations."""
