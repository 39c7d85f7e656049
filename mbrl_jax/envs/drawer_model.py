"""Meta-World's drawer and the hand that opens it, as an MJCF of our own.

Lengths, masses and contacts are those of Meta-World's model (Yu et al., "Meta-World", 2019; `sawyer_drawer_open_v2`),
whose seven-jointed arm follows a mocap body by a weld: here the hand is a mass on three slides with a servo that
answers a moving target as that hand does. Metres, kilograms. The drawer stands at x = 0: the task adds
the place it was put.
"""

from __future__ import annotations

__all__ = ["drawer"]

HAND_MASS = 6.0
"""Mass on the slides, kg: with the servo's stiffness it sets how far the hand pulls the drawer beyond its end."""
RATE, DAMPING = 37.0, 0.95
"""Natural frequency (rad/s) and damping ratio of the hand's servo, fitted to the measured response to a ramp."""
_BLADE = 'type="box" size=".015 .003 .045" condim="4" margin=".001" solimp=".95 .99 .01" solref=".01 1"'
_WOOD = 'rgba=".55 .70 .50 1"'
_FRONT = 'rgba=".62 .78 .57 1"'


def _finger(name: str, side: int, low: float, high: float) -> str:
    """A blade and, on the inside, its rubber pad; it slides along y against a heavy damper."""
    joint = f'<joint name="{name}" type="slide" axis="0 1 0" range="{low} {high}" armature="100" damping="1000"/>'
    blade = f'<geom name="{name}_blade" {_BLADE} mass=".01" rgba=".3 .3 .35 1"/>'
    inside = f'pos="0 {-side * 0.003} 0" friction="2 .1 .002"'
    pad = f'<geom name="{name}_pad" {_BLADE} {inside} mass=".01" rgba=".2 .2 .2 1"/>'
    return f'<body name="{name}" pos="0 {side * 0.05} 0">{joint}{blade}{pad}</body>'


def _case() -> str:
    walls = (
        ("-.11 0 0", ".008 .1 .084"),
        (".11 0 0", ".008 .1 .084"),
        ("0 .092 -.008", ".102 .008 .076"),
        ("0 -.008 -.07", ".102 .092 .014"),
        ("0 0 .076", ".102 .1 .008"),
    )
    return "".join(f'<geom type="box" pos="{at}" size="{size}" {_WOOD}/>' for at, size in walls)


def _slide() -> str:
    panels = (
        ("0 -.082 .008", ".1 .008 .052"),
        ("0 .082 .008", ".1 .008 .052"),
        ("-.092 0 .008", ".008 .074 .052"),
        (".092 0 .008", ".008 .074 .052"),
        ("0 0 -.052", ".1 .09 .008"),
    )
    boxes = "".join(f'<geom type="box" pos="{at}" size="{size}" mass=".04" {_FRONT}/>' for at, size in panels)
    rods = (("bar", "-.05 -.15 0 .05 -.15 0"), ("left", "-.05 -.15 0 -.05 -.09 0"), ("right", ".05 -.15 0 .05 -.09 0"))
    handle = "".join(
        f'<geom name="{name}" type="capsule" size=".009" fromto="{ends}" mass=".06" condim="3" solimp=".99 .99 .01" '
        f'solref=".01 1" rgba=".85 .85 .88 1"/>'
        for name, ends in rods
    )
    # The end of the slide is soft, as MuJoCo's limits are unless told otherwise: 0.16 m is not enough for success.
    joint = '<joint name="drawer" type="slide" axis="0 1 0" range="-.16 0" damping="2" armature=".001"/>'
    return f'<body name="drawer" pos="0 -.01 .006">{joint}{boxes}{handle}</body>'


def drawer() -> str:
    """The MJCF of hand and drawer; joints: hand x, y, z, the two fingers, the drawer. Fingers touch the handle only."""
    stiffness, damping = HAND_MASS * RATE**2, 2 * DAMPING * HAND_MASS * RATE
    axes = {"x": "1 0 0", "y": "0 1 0", "z": "0 0 1"}
    slides = "".join(f'<joint name="{name}" type="slide" axis="{axis}"/>' for name, axis in axes.items())
    servos = "".join(f'<position joint="{name}" kp="{stiffness}" kv="{damping}"/>' for name in axes)
    grips = "".join(
        f'<position joint="{name}" kp="400" ctrlrange="-1 1" ctrllimited="true"/>' for name in ("near", "far")
    )
    mix = 'condim="4" friction="2 2 .1 .002 .002" margin=".001" solref=".01 1" solimp=".97 .99 .01"'
    pairs = "".join(
        f'<pair geom1="{finger}_{part}" geom2="{rod}" {mix if part == "pad" else mix.replace("2 2 .1", "1 1 .1")}/>'
        for finger in ("near", "far")
        for part in ("blade", "pad")
        for rod in ("bar", "left", "right")
    )
    return f"""
<mujoco model="drawer">
  <compiler autolimits="true"/>
  <option timestep=".0025"/>
  <visual><headlight ambient=".45 .45 .45" diffuse=".5 .5 .5" specular=".1 .1 .1"/></visual>
  <default><geom contype="0" conaffinity="0"/></default>
  <worldbody>
    <light pos=".3 0 1.2" dir="-.3 .5 -1"/>
    <geom type="box" pos="0 .6 -.02" size=".6 .5 .02" rgba=".80 .76 .70 1"/>
    <body name="hand" gravcomp="1">
      {slides}
      <geom type="box" pos="0 0 .06" size=".012 .06 .01" mass="{HAND_MASS}" rgba=".6 .6 .65 1"/>
      <geom type="capsule" size=".02" fromto="0 0 .07 0 0 .25" mass=".0001" rgba=".6 .25 .25 1"/>
      {_finger("near", -1, 0.0, 0.04)}
      {_finger("far", 1, -0.03, 0.0)}
    </body>
    <body pos="0 .9 .084">{_case()}{_slide()}</body>
    <site name="goal" pos="0 .54 .09" size=".015" rgba=".2 .8 .2 .6"/>
  </worldbody>
  <actuator>{servos}{grips}</actuator>
  <contact>{pairs}</contact>
</mujoco>"""
