# pyright: reportAttributeAccessIssue=false
# (MuJoCo ships no type stubs for its compiled half.)
"""Pictures of environment states, drawn off screen: MuJoCo's own renderer, or simple line drawings for the rest."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image

from mbrl_jax.checks import resolved
from mbrl_jax.envs import bits, drawings
from mbrl_jax.envs.base import EnvState
from mbrl_jax.envs.mujoco_mbbl import MBBL_TASKS
from mbrl_jax.envs.mujoco_robots import ROBOT_TASKS
from mbrl_jax.envs.mujoco_table import TASKS
from mbrl_jax.envs.mujoco_tasks import Task
from mbrl_jax.types import Env, PyTree

__all__ = ["render", "save"]

_BACKENDS = ("egl", "osmesa", "glfw")
_BACKGROUND = (232, 236, 241)
"""Colour behind the bodies; MuJoCo's own is black, and so are the skies of Gym's models."""


def render(env: Env, states: EnvState, *, height: int = 240, width: int = 320) -> np.ndarray:
    """Frames uint8 `[T, height, width, 3]` of states with one leading axis, such as a scan over `env.step` collects.

        >>> env = mb.make_env("pendulum")
        >>> states = jax.vmap(env.reset)(jax.random.split(jax.random.key(0), 3))
        >>> mb.render(env, states, height=60, width=80).shape
        (3, 60, 80, 3)

    The GL library for MuJoCo tasks is the one `MUJOCO_GL` names, or the first that works of EGL, OSMesa and GLFW.

    Raises:
      ValueError: if the states have no single leading axis, or the task has no drawing.
      RuntimeError: if no GL library is there; the message says how to get one.
    """
    if np.ndim(states.t) != 1:
        raise ValueError(f"states must have one leading axis (time), got t of shape {np.shape(states.t)}")
    states = jax.device_get(states)
    tasks = {**TASKS, **MBBL_TASKS, **ROBOT_TASKS}
    if env.spec.name in tasks:
        return _render_bodies(tasks[env.spec.name], states, height, width)
    if env.spec.name in drawings.DRAWINGS:
        draw = drawings.DRAWINGS[env.spec.name]
        return np.stack([draw(_at(states, i), height, width) for i in range(len(states.t))])
    raise ValueError(f"the environment must have a drawing, got {env.spec.name!r}, which has none")


def save(frames: np.ndarray, path: str | os.PathLike[str], *, fps: float = 25.0) -> Path:
    """Writes frames uint8 `[T, H, W, 3]` as `.gif`, as `.mp4` (needs the program ffmpeg), or the last as `.png`.

    Args:
      fps: frames per second.

    Raises:
      ValueError: if the frames or the file's suffix are not of these kinds.
      RuntimeError: for an mp4 without ffmpeg.
    """
    path, frames = resolved(path), np.asarray(frames)
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not len(frames):
        raise ValueError(f"frames must be uint8 [T, H, W, 3] with T >= 1, got {frames.dtype} {frames.shape}")
    if path.suffix == ".png":
        Image.fromarray(frames[-1]).save(path, optimize=True)
    elif path.suffix == ".gif":
        images = [Image.fromarray(frame).quantize(64) for frame in frames]
        images[0].save(path, save_all=True, append_images=images[1:], duration=1000 / fps, loop=0, optimize=True)
    elif path.suffix == ".mp4":
        _save_mp4(frames, path, fps)
    else:
        raise ValueError(f"a picture's suffix must be .gif, .mp4 or .png, got {path.name!r}")
    return path


def _save_mp4(frames: np.ndarray, path: Path, fps: float) -> None:
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        raise RuntimeError(f"an .mp4 needs the program ffmpeg, which is not on PATH; save {path.stem}.gif instead")
    height, width = frames.shape[1:3]
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(fps), "-i", "-"]
    command = [ffmpeg, "-y", "-loglevel", "error", *source, "-pix_fmt", "yuv420p", str(path)]
    subprocess.run(command, input=frames.tobytes(), check=True)


def _at(states: EnvState, i: int) -> EnvState:
    return jax.tree.map(lambda leaf: leaf[i], states)


def _postures(physics: PyTree, nq: int) -> np.ndarray:
    """Positions `[T, nq]` of either engine's state."""
    if hasattr(physics, "qpos"):
        return np.asarray(physics.qpos, np.float64)
    return bits.from_words(physics)[:, 1 : 1 + nq]


def _render_bodies(task: Task, states: EnvState, height: int, width: int) -> np.ndarray:
    import mujoco

    from mbrl_jax.envs.mujoco_envs import load_model

    model = load_model(task.model)
    data, camera = mujoco.MjData(model), _camera(task)
    frames = []
    with _offscreen(height, width):
        context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, context)
        mujoco.mjr_resizeOffscreen(width, height, context)
        scene, viewport = mujoco.MjvScene(model, maxgeom=1000), mujoco.MjrRect(0, 0, width, height)
        scene.flags[mujoco.mjtRndFlag.mjRND_SKYBOX] = 0
        for qpos in _postures(states.physics, model.nq):
            data.qpos[:] = qpos
            mujoco.mj_forward(model, data)
            everything = mujoco.mjtCatBit.mjCAT_ALL
            mujoco.mjv_updateScene(model, data, mujoco.MjvOption(), None, camera, everything, scene)
            mujoco.mjr_render(viewport, scene, context)
            frame, depth = np.empty((height, width, 3), np.uint8), np.empty((height, width), np.float32)
            mujoco.mjr_readPixels(frame, depth, viewport, context)
            frame[depth == 1.0] = _BACKGROUND  # nothing was drawn there
            frames.append(frame[::-1])  # OpenGL's first row is the lowest
        context.free()
    return np.stack(frames)


def _camera(task: Task) -> Any:
    import mujoco

    settings, camera = dict(task.camera), mujoco.MjvCamera()
    mujoco.mjv_defaultCamera(camera)
    if "trackbodyid" in settings:
        camera.type = mujoco.mjtCamera.mjCAMERA_TRACKING
    for name, value in settings.items():
        setattr(camera, name, value)
    return camera


@contextmanager
def _offscreen(height: int, width: int) -> Iterator[None]:
    """A GL context of its own for the length of the block."""
    wanted = os.environ.get("MUJOCO_GL", "").lower()
    reasons = []
    for backend in (wanted,) if wanted in _BACKENDS else _BACKENDS:
        try:
            os.environ["PYOPENGL_PLATFORM"] = backend if backend != "glfw" else ""
            context = importlib.import_module(f"mujoco.{backend}").GLContext(width, height)
            context.make_current()
            break
        except Exception as error:  # each library fails in its own way; all failures are reported below
            reasons.append(f"{backend}: {type(error).__name__}: {error}")
    else:
        raise RuntimeError(
            "rendering needs a GL library: EGL (Debian: libegl1 and libgl1-mesa-dri), OSMesa (libosmesa6), or a"
            " display; got " + "; ".join(reasons)
        )
    try:
        yield
    finally:
        context.free()
