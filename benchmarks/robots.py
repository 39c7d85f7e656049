# pyright: reportAttributeAccessIssue=false
# (MuJoCo ships no type stubs for its compiled half.)
"""Our robots beside the packages' own bodies: `python -m benchmarks.robots`; needs a package index and a few minutes.

Fetches ROBEL's and Meta-World's wheels without installing them, compiles their XML in the C engine, and steps those
bodies and ours from the same states with the same actions; our tasks' functions drive both. ROBEL's trained policy for
`DClawScrewRandom` and Meta-World's scripted hand play on both. Nothing of the packages is kept.
"""

from __future__ import annotations

import argparse
import io
import pickle
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from benchmarks import common
from mbrl_jax.envs import mujoco_drawer
from mbrl_jax.envs.mujoco_drawer import scripted
from mbrl_jax.envs.mujoco_envs import load_model
from mbrl_jax.envs.mujoco_robots import ROBOT_TASKS
from mbrl_jax.envs.mujoco_tasks import MEMORY, Frame, Task

WHEELS = ("robel==0.1.2", "metaworld==3.1.1")
XML = {
    "dclaw": "robel/robel-scenes/dclaw/dclaw3xh.xml",
    "dclaw_valve": "robel/dclaw/assets/dclaw3xh_valve3_v0.xml",
    "drawer": "metaworld/assets/sawyer_xyz/sawyer_drawer.xml",
}
"""The originals' models by the name of ours."""
POLICY = "robel/scripts/data/softlearning/DClawScrewRandom-v0-policy.pkl"
FINGERS = tuple(f"{finger}J{i}{j}" for i, finger in enumerate(("FF", "MF", "TH"), 1) for j in range(3))
STEPS, EPISODES = 20, 30

Act = Callable[[int, np.ndarray], np.ndarray]
"""`act(t, obs [O]) -> [A]`."""


class Body(NamedTuple):
    """A model and where the task's joints and actuators are in it."""

    model: mujoco.MjModel
    positions: np.ndarray
    speeds: np.ndarray
    actuators: np.ndarray


class Episode(NamedTuple):
    """What happened: `obs [T, O]`, `qpos [T, nq]` of the task's joints, `reward [T]`."""

    obs: np.ndarray
    qpos: np.ndarray
    reward: np.ndarray


def fetch(folder: Path) -> None:
    """Unpacks the wheels there; the XML declaration that follows a comment, which is not well-formed, is taken out."""
    subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, *WHEELS], check=True)
    for wheel in folder.glob("*.whl"):
        zipfile.ZipFile(wheel).extractall(folder)
    for path in folder.rglob("*.xml"):
        path.write_text(re.sub(r"<\?xml[^>]*\?>", "", path.read_text()))


def originals(folder: Path) -> dict[str, Body]:
    """The packages' bodies, with Meta-World's weld as it was: MuJoCo measures it otherwise today."""
    weld = folder / XML["drawer"]
    found = '<weld body1="mocap" body2="hand" solref="0.02 1"'
    text = weld.read_text()
    if found not in text:
        raise ValueError(f"{weld} was expected to hold {found}")
    weld.write_text(text.replace(found, f'{found} relpose="0 0 0 -1 0 0 0" torquescale="5"'))
    models = {name: mujoco.MjModel.from_xml_path(str(folder / path)) for name, path in XML.items()}
    valve = (*FINGERS, "valve_OBJRx")
    return {
        "dclaw": _body(models["dclaw"], FINGERS, FINGERS),
        "dclaw_valve": _body(models["dclaw_valve"], valve, FINGERS),
        "drawer": _body(models["drawer"], ("r_close", "l_close", "goal_slidey"), ()),
    }


def _body(model: mujoco.MjModel, joints: Sequence[str], actuators: Sequence[str]) -> Body:
    ids = [model.joint(name).id for name in joints]
    return Body(
        model, model.jnt_qposadr[ids], model.jnt_dofadr[ids], np.array([model.actuator(a).id for a in actuators])
    )


def ours(name: str) -> Body:
    """Our body of that name, whose joints and actuators are the task's."""
    model = load_model(name)
    return Body(model, np.arange(model.nq), np.arange(model.nv), np.arange(model.nu))


def started(task: Task, episode: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions, speeds and the task's memory at the start of an episode, the same for every body."""
    assert task.memory is not None
    like = load_model(task.model)
    key = jax.random.key(episode)
    qpos, qvel = task.noise(key, jnp.asarray(like.qpos0), like.nv)
    memory = task.memory.start(jax.random.fold_in(key, 1), qpos)
    return np.asarray(qpos, float), np.asarray(qvel, float), np.asarray(memory, float)


def play(task: Task, body: Body, episode: int, act: Act, steps: int) -> Episode:
    """An episode of a task on a body."""
    assert task.memory is not None and task.control is not None
    qpos, qvel, memory = started(task, episode)
    data, dt = mujoco.MjData(body.model), body.model.opt.timestep * task.frame_skip
    data.qpos[body.positions], data.qvel[body.speeds] = qpos, qvel
    mujoco.mj_forward(body.model, data)

    def frame() -> Frame:
        return Frame(data.qpos[body.positions].copy(), data.qvel[body.speeds].copy(), {MEMORY: memory})

    rows = []
    for t in range(steps):
        before = frame()
        action = act(t, np.asarray(task.observe(before)))
        data.ctrl[body.actuators] = task.control(before, action, dt)
        mujoco.mj_step(body.model, data, nstep=task.frame_skip)
        memory = np.asarray(task.memory.step(before, action, frame(), dt))
        after = frame()
        rows.append((task.observe(after), after.qpos, task.reward(before, action, after, dt)))
    return Episode(*(np.asarray(column) for column in zip(*rows, strict=True)))


def opened(task: Task, body: Body, episode: int, act: Act, steps: int) -> Episode:
    """`play` for Meta-World's own drawer: a mocap body moves the hand, and the drawer is put where it stands."""
    _, _, memory = started(task, episode)
    model, data = body.model, mujoco.MjData(body.model)
    place = memory[0]
    model.body("drawer").pos[:] = (place, 0.9, 0.0)
    mocap = np.asarray(mujoco_drawer.HAND, float)

    def advance(grip: float) -> None:
        data.mocap_pos[0], data.mocap_quat[0], data.ctrl[:] = mocap, (1, 0, 1, 0), (grip, -grip)
        mujoco.mj_step(model, data, nstep=task.frame_skip)

    def view() -> np.ndarray:
        mujoco.mj_kinematics(model, data)
        gap = np.linalg.norm(data.site("rightEndEffector").xpos - data.site("leftEndEffector").xpos)
        handle = data.body("drawer_link").xpos + np.array((0.0, -0.16, 0.0))
        return np.concatenate([data.body("hand").xpos, [np.clip(gap / 0.1, 0.0, 1.0)], handle, [1], np.zeros(10)])

    for _ in range(50):  # its reset
        advance(-1.0)
    data.qpos[body.positions[-1]] = data.qvel[body.speeds[-1]] = 0.0
    seen, rows = view(), []
    for t in range(steps):
        before = seen
        action = np.clip(act(t, np.concatenate([before, before, np.zeros(3)])), -1.0, 1.0)
        mocap = np.clip(mocap + action[:3] / 100.0, mujoco_drawer.LOW, mujoco_drawer.HIGH)
        advance(action[3])
        seen = view()
        obs = np.concatenate([seen, before, np.zeros(3)])
        assert task.obs_reward is not None
        rows.append((obs, data.qpos[body.positions].copy(), task.obs_reward(obs, action, obs)))
    return Episode(*(np.asarray(column) for column in zip(*rows, strict=True)))


class _Blank:
    """Stands for a class that is not read."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Numbers(pickle.Unpickler):
    """Reads arrays and nothing else: every other class of a pickle becomes an empty one."""

    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] in ("numpy", "collections"):
            return super().find_class(module, name)
        return type(name, (_Blank,), {})


def trained(path: Path) -> Act:
    """ROBEL's policy as a function: two layers of rectified units, then the hyperbolic tangent of the mean."""
    held = _Numbers(io.BytesIO(path.read_bytes())).load()
    arrays = [np.asarray(a, float) for a in held["weights"]]
    layers = list(zip(arrays[::2], arrays[1::2], strict=True))

    def act(t: int, obs: np.ndarray) -> np.ndarray:
        x = obs
        for weight, bias in layers[:-1]:
            x = np.maximum(x @ weight + bias, 0.0)
        weight, bias = layers[-1]
        return np.tanh((x @ weight + bias)[:9])

    return act


def chance(episode: int, width: int) -> Act:
    """Uniformly random actions, the same for every body."""
    drawn = np.random.default_rng(episode).uniform(-1.0, 1.0, (STEPS, width))
    return lambda t, obs: drawn[t]


def apart(first: Sequence[Episode], second: Sequence[Episode], entries: slice) -> dict[str, Any]:
    """How far apart bodies are in entries of the observation after some steps: median and largest over episodes."""

    def spread(values: np.ndarray) -> dict[str, float]:
        return {"median": float(np.median(values)), "largest": float(values.max())}

    gap = np.array([np.abs(a.obs - b.obs)[:, entries].max(axis=1) for a, b in zip(first, second, strict=True)])
    pay = np.array([abs(a.reward.sum() - b.reward.sum()) for a, b in zip(first, second, strict=True)])
    return {"after": {str(n): spread(gap[:, n - 1]) for n in (1, 5, STEPS)}, "return": spread(pay)}


def score(task: Task, paths: Sequence[Episode]) -> dict[str, float]:
    """Mean return with its standard error, and the share of steps in success."""
    assert task.obs_scores is not None
    total = np.array([p.reward.sum() for p in paths])
    success = np.mean([np.mean(task.obs_scores(p.obs)["success"]) for p in paths])
    error = total.std(ddof=1) / len(total) ** 0.5
    return {"mean": float(total.mean()), "error": float(error), "success": float(success)}


def measure(folder: Path) -> dict[str, Any]:
    """Everything: roll-outs of `STEPS` random actions, and the returns of the policies that ship with the packages."""
    bodies, found = originals(folder), {"roll-outs": {}, "policies": {}}
    for name in ("dclaw_pose_random-v0", "dclaw_turn_random-v0", "dclaw_screw_random-v0"):
        task = ROBOT_TASKS[name]
        theirs = [play(task, bodies[task.model], e, chance(e, 9), STEPS) for e in range(EPISODES)]
        for model in (task.model, f"{task.model}_full"):
            body = ours(model)
            mine = [play(task, body, e, chance(e, 9), STEPS) for e in range(EPISODES)]
            found["roll-outs"][f"{name} {model}"] = apart(theirs, mine, slice(0, 9))
    task, act = ROBOT_TASKS["dclaw_screw_random-v0"], trained(folder / POLICY)
    played = {"original": bodies["dclaw_valve"]} | {name: ours(name) for name in ("dclaw_valve", "dclaw_valve_full")}
    for model, body in played.items():
        paths = [play(task, body, e, act, task.time_limit) for e in range(EPISODES)]
        found["policies"][f"trained policy, dclaw_screw_random-v0, {model}"] = score(task, paths)
    task, body = ROBOT_TASKS["drawer_open-v2"], ours("drawer")
    theirs, mine = (
        [run(task, of, e, chance(e, 4), STEPS) for e in range(EPISODES)]
        for run, of in ((opened, bodies["drawer"]), (play, body))
    )
    found["roll-outs"]["drawer_open-v2 drawer"] = apart(theirs, mine, slice(0, 3))
    for model, run, of in (("original", opened, bodies["drawer"]), ("drawer", play, body)):
        paths = [run(task, of, e, lambda t, obs: np.asarray(scripted(obs)), task.time_limit) for e in range(EPISODES)]
        found["policies"][f"scripted hand, drawer_open-v2, {model}"] = score(task, paths)
    return found


def main(arguments: Sequence[str] | None = None) -> Path:
    """Measures, prints, and writes `benchmarks/results/robots.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=common.FOLDER, help="folder for the JSON file")
    options = parser.parse_args(arguments)
    jax.config.update("jax_platforms", "cpu")
    facts = common.machine()
    with tempfile.TemporaryDirectory() as folder:
        fetch(Path(folder))
        found = measure(Path(folder))
    for name, row in found["roll-outs"].items():
        steps = ", ".join(f"{n}: {v['median']:.1e} / {v['largest']:.1e}" for n, v in row["after"].items())
        print(f"{name:50s} apart after {steps}; returns {row['return']['median']:.2g} / {row['return']['largest']:.2g}")
    for name, row in found["policies"].items():
        print(f"{name:60s} {row['mean']:8.1f} ± {row['error']:.1f}, success {row['success']:.3f}")
    content = {"versions": {"mujoco": mujoco.__version__, "wheels": WHEELS}, "steps": STEPS, "episodes": EPISODES}
    return common.write("robots", {**content, "machine": facts, "measured": found}, options.out)


if __name__ == "__main__":
    main()
