"""The D'Claw as an MJCF of our own: three fingers of three servos each, above a valve with three arms.

Lengths, angles, masses and gains are those of ROBEL's models (Ahn et al., "ROBEL: Robotics benchmarks for learning with
low-cost robots", 2019; `google-research/robel-scenes`), whose meshes are for the eye only. Metres, kilograms, radians.
"""

from __future__ import annotations

import math

__all__ = ["FINGERS", "claw"]

FINGERS = {"FF": ((0.03, -0.052, 0.003), 0.52), "MF": ((0.03, 0.052, 0.003), 2.6), "TH": ((-0.06, 0.0, 0.003), -1.57)}
"""Place of each finger's base on the mount, whose z axis points down, and how it is turned about that axis."""

_ARMS = {"arm0": ((0.038, 0.0), 0.0), "arm1": ((-0.019, 0.034), 2.0944), "arm2": ((-0.019, -0.034), -2.0944)}
"""Centre of each arm of the valve at angle 0, and its direction."""
_TIPS = tuple(f"{finger}_tip" for finger in FINGERS)
_TIP = 'rgba=".93 .93 .9 1"'
_METAL = 'rgba=".25 .26 .3 1"'
_VALVE = 'rgba=".80 .30 .30 1"'


def _box(size: tuple[float, float, float], z: float, mass: float, more: str, x: float = 0.0, y: float = 0.0) -> str:
    numbers = f'size="{size[0]} {size[1]} {size[2]}" pos="{x} {y} {z}" mass="{mass}"'
    return f'<geom type="box" {numbers} {more}/>'


def _clamp(swapped: bool) -> str:
    """The bracket that a joint turns: a bridge between two cheeks on the motor's axis."""
    bridge, cheek = (0.0214, 0.0125, 0.003), (0.0012, 0.011, 0.016)
    if not swapped:
        bridge, cheek = (bridge[1], bridge[0], bridge[2]), (cheek[1], cheek[0], cheek[2])
    sides = [(0.02 * side, 0.0) if swapped else (0.0, 0.02 * side) for side in (1, -1)]
    cheeks = "".join(_box(cheek, 0.013, 0.002, _METAL, x, y) for x, y in sides)
    return _box(bridge, 0.026, 0.003, _METAL) + cheeks


def _link(swapped: bool) -> str:
    """A bracket and the next joint's motor."""
    motor = _box((0.0175, 0.015, 0.024), 0.056, 0.093, _METAL)
    return motor + _clamp(swapped) + _box((0.019, 0.014, 0.006), 0.033, 0.005, _METAL)


def _finger(name: str) -> str:
    (x, y, z), turn = FINGERS[name]
    capsule = (
        f'<geom name="{name}_tip" type="capsule" size=".011 .02" pos="0 0 .053" mass=".018" class="plastic" {_TIP}/>'
    )
    foot = _box((0.0245, 0.014, 0.003), 0.03, 0.007, f'class="plastic" {_TIP}')
    return f"""
    <body name="{name}_base" pos="{x} {y} {z}" euler="0 0 {turn}">
      {_box((0.024, 0.0175, 0.015), 0.014, 0.093, _METAL, x=0.012)}
      <body name="{name}_1" pos="0 0 .01425" euler="0 0 3.14">
        <joint name="{name}_1" axis="0 1 0" range="-.45 1.35" class="servo"/>
        {_link(False)}
        <body name="{name}_2" pos="0 0 .0675">
          <joint name="{name}_2" axis="1 0 0" range="-2 2" class="servo"/>
          {_link(True)}
          <body name="{name}_3" pos="0 0 .068">
            <joint name="{name}_3" axis="1 0 0" range="-2 2" class="servo"/>
            {_clamp(True)}{capsule}{foot}
            <site name="{name}" pos="0 0 .076" size=".004" rgba=".3 .6 .3 1"/>
          </body>
        </body>
      </body>
    </body>"""


def _valve() -> str:
    arms = "".join(
        f'<geom name="{name}" type="capsule" size=".021 .035" pos="{x} {y} .054" '
        f'zaxis="{math.cos(turn)} {math.sin(turn)} 0" class="plastic" {_VALVE}/>'
        for name, ((x, y), turn) in _ARMS.items()
    )
    hub = f'<geom name="hub" type="cylinder" size=".02 .0275" pos="0 0 .027" class="plastic" {_VALVE}/>'
    mark = '<site name="mark" type="box" size=".03 .003 .001" pos=".045 0 .0755" rgba="1 1 1 1"/>'
    foot = f'<geom type="box" size=".031 .031 .02" pos="0 0 .02" contype="0" conaffinity="0" {_METAL}/>'
    joint = '<joint name="valve" axis="0 0 1" range="-6.28 6.28" class="servo"/>'
    return f'{foot}<body name="valve" pos="0 0 .0481">{joint}{arms}{hub}{mark}</body>'


def _pairs(valve: bool) -> str:
    """Fingertips with each other, and with the arms and the hub of the valve."""
    chosen = [(a, b) for i, a in enumerate(_TIPS) for b in _TIPS[i + 1 :]]
    if valve:
        chosen += [(tip, part) for tip in _TIPS for part in (*_ARMS, "hub")]
    given = 'condim="3" friction=".2 .2 .005 .0001 .0001" margin=".0005"'
    return "".join(f'<pair geom1="{a}" geom2="{b}" {given}/>' for a, b in chosen)


def claw(*, valve: bool, full: bool) -> str:
    """The MJCF of the claw.

    Args:
      valve: with a valve below it, as for turning; else the claw hangs 35 mm lower and alone.
      full: contacts of everything with everything, elliptic friction cones and torsional friction, as ROBEL has it,
        which MJX cannot simulate; else the fingertips' alone (15 pairs), with pyramidal cones.
    """
    collides = 'contype="1" conaffinity="1"' if full else 'contype="0" conaffinity="0"'
    cone = "elliptic" if full else "pyramidal"
    servos = "".join(
        f'<position joint="{finger}_{joint}" kp="2" ctrlrange="{-limit} {limit}" ctrllimited="true"/>'
        for finger in FINGERS
        for joint, limit in ((1, 0.48), (2, 1.57), (3, 1.57))
    )
    contacts = "" if full else f"<contact>{_pairs(valve)}</contact>"
    return f"""
<mujoco model="dclaw">
  <compiler angle="radian"/>
  <option timestep=".0025" iterations="50" tolerance="1e-10" solver="Newton" cone="{cone}"/>
  <visual>
    <headlight ambient=".45 .45 .45" diffuse=".5 .5 .5" specular=".1 .1 .1"/>
    <quality shadowsize="2048"/>
  </visual>
  <default>
    <geom {collides} condim="4" margin=".0005"/>
    <default class="servo"><joint limited="true" damping=".1" armature=".001"/></default>
    <default class="plastic"><geom friction=".2 .005 .0001"/></default>
  </default>
  <worldbody>
    <light pos=".3 -.3 1" dir="-.3 .3 -1"/>
    <geom type="plane" size="1 1 .1" condim="3" margin="0" rgba=".85 .87 .9 1" {collides}/>
    <body name="mount" pos="0 0 {0.335 if valve else 0.30}" euler="3.14 0 0">
      <geom type="cylinder" size=".075 .004" mass=".11" rgba=".7 .75 .8 .35"/>
      {"".join(_finger(name) for name in FINGERS)}
    </body>
    {_valve() if valve else ""}
  </worldbody>
  <actuator>{servos}</actuator>
  {contacts}
</mujoco>"""
