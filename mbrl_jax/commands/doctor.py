"""`mbrl doctor`: what this machine offers, and whether a tiny agent trains on it."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

__all__ = ["Doctor", "doctor"]


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """Versions, devices, rendering, cache, disk and memory; then trains a tiny agent as a self-test."""

    results: Path = Path("results")
    """The results folder whose disk is looked at, or an address that is asked."""
    self_test: bool = True
    """Whether to train the tiny agent."""


def doctor(words: list[str]) -> int:
    """Runs the command; 1 if something that is needed does not work, else 0."""
    args = tyro.cli(Doctor, prog="mbrl doctor", args=words)
    from mbrl_jax.runner import setup

    setup.configure()
    checks: list[tuple[str, Callable[[], str], bool]] = [
        ("versions", _versions, True),
        ("devices", _devices, True),
        ("memory", _memory, True),
        ("results", lambda: _disk(args.results), True),
        ("cache", _cache, False),
        ("rendering", _rendering, False),
    ]
    if args.self_test:
        checks.append(("self-test", _self_test, True))
    return max(_check(*each) for each in checks)


def _check(name: str, check: Callable[[], str], needed: bool) -> int:
    """Prints one line (or several) on a check; 1 if it failed and is needed."""
    try:
        said, code = check(), 0
    except Exception as error:  # a doctor reports whatever is wrong
        said, code = f"{'FAILED' if needed else 'not available'}: {type(error).__name__}: {error}", int(needed)
    print(f"{name + ':':<11}{said}", flush=True)
    return code


def _versions() -> str:
    from mbrl_jax import results

    facts = results.provenance()
    return ", ".join(f"{name} {version}" for name, version in facts["versions"].items()) + f"; commit {facts['commit']}"


def _devices() -> str:
    import jax

    devices = jax.local_devices()
    kinds = {f"{device.platform} ({device.device_kind})" for device in devices}
    note = " (one virtual device per core)" if devices[0].platform == "cpu" else ""
    return f"{len(devices)} x {', '.join(sorted(kinds))}{note}; {os.cpu_count()} cores"


def _memory() -> str:
    import jax
    import psutil

    host = psutil.virtual_memory()
    said = f"host {host.available / 2**30:.1f} of {host.total / 2**30:.1f} GiB free"
    for device in jax.local_devices():
        if device.platform != "cpu":
            said += f"; {device} {(device.memory_stats() or {}).get('bytes_limit', 0) / 2**30:.1f} GiB"
    return said


def _disk(root: Path) -> str:
    from mbrl_jax import results, storage

    root = storage.folder(root).absolute()
    if storage.is_copy(root):
        results.check_writable(root)
        return f"{storage.place(root)} answers and is writable; its local copy is {root}"
    there = next(each for each in (root, *root.parents) if each.exists())
    results.check_writable(there)
    state = "is writable" if there == root else f"can be made in {there}"
    return f"{root} {state}, {shutil.disk_usage(there).free / 2**30:.1f} GiB free"


def _cache() -> str:
    from mbrl_jax import results
    from mbrl_jax.runner import setup

    folder = setup.cache_folder()
    results.check_writable(folder)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return f"compiled programs in {folder}, {size / 2**20:.1f} MiB"


def _rendering() -> str:
    """Draws one frame off screen with MuJoCo's own renderer."""
    import warnings

    mujoco: Any = importlib.import_module("mujoco")
    warnings.simplefilter("ignore")  # what a window system warns of comes back as the error below
    backend = os.environ.get("MUJOCO_GL", "default")
    advice = "MUJOCO_GL=egl (GPU) or osmesa draws without a display; pictures drawn by the package itself need none"
    model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><geom size='1'/></worldbody></mujoco>")
    try:
        with mujoco.Renderer(model, 32, 32) as renderer:
            renderer.update_scene(mujoco.MjData(model))
            renderer.render()
    except Exception as error:
        raise RuntimeError(f"{str(error).splitlines()[0]}; {advice}") from error
    return f"MuJoCo draws off screen (MUJOCO_GL={backend})"


def _self_test() -> str:
    """A small actor-critic on a probe whose best return is 0 and whose random policy gets −0.58 on average."""
    from mbrl_jax import results
    from mbrl_jax.agents import sac as soft
    from mbrl_jax.algorithms import sac
    from mbrl_jax.runner import loop
    from mbrl_jax.runner.run import Run

    agent = soft.Config(hidden=(16,), actor_lr=1e-2, critic_lr=1e-2, temperature_lr=1e-2)
    config = sac.Config(steps=600, warmup_steps=50, steps_per_iteration=50, batch=32, agent=agent)
    run = Run(
        experiment="doctor",
        algorithm="sac",
        method="sac",
        config=config,
        env="probe-action-v0",
        seeds=(0,),
        eval_every=600,
    )
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as root:
        identity = loop.train(run, root, loop.Options(quiet=True))
        frame = results.load_run(root, identity)
    score = frame.loc[(frame["metric"] == "eval/return_mean") & (frame["env_step"] == 600), "value"].iloc[0]
    said = f"trained in {time.monotonic() - began:.1f} s; return {score:.3f} (best 0, random -0.58)"
    if not score > -0.1:
        print("the self-test's agent did not learn", file=sys.stderr)
        raise RuntimeError(f"{said}: it must reach -0.1")
    return said
