"""A whole run of mbrl-lib's MBPO on its `mbpo_inv_pendulum` settings: `python mbrl_lib_run.py STEPS UPDATES`.

Prints one line of JSON with the wall seconds of `train`, which contain its 5,000 steps of exploration.
"""

import json
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

import gymnasium
import mbrl
import numpy as np
import torch
from mbrl.algorithms import mbpo
from mbrl.env.termination_fns import inverted_pendulum
from omegaconf import OmegaConf

CONF = Path(str(mbrl.__file__)).parent / "examples" / "conf"


def box(low, high, shape):
    """The action space, from the plain lists that a configuration can hold."""
    return gymnasium.spaces.Box(np.array(low, np.float32), np.array(high, np.float32), tuple(shape))


def config(steps, updates):
    """The shipped files put together as hydra would, for a CPU."""

    def read(path):
        return OmegaConf.load(CONF / path)

    whole = OmegaConf.create({"seed": 0, "device": "cpu", "log_frequency_agent": 1000, "save_video": False})
    whole.algorithm = read("algorithm/mbpo.yaml")
    whole.dynamics_model = read("dynamics_model/gaussian_mlp_ensemble.yaml")
    whole.dynamics_model._recursive_ = False  # as hydra 1.0, for which the files are written
    whole.overrides = read("overrides/mbpo_inv_pendulum.yaml")
    whole.algorithm.agent.action_space._target_ = f"{__name__}.box"
    whole.overrides.num_steps = steps
    whole.overrides.num_sac_updates_per_step = updates
    return whole


def main():
    steps, updates = map(int, sys.argv[1:])
    torch.manual_seed(0)
    env, test_env = (gymnasium.make("InvertedPendulum-v4", disable_env_checker=True) for _ in range(2))
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        best = mbpo.train(env, test_env, inverted_pendulum, config(steps, updates), silent=True, work_dir=folder)
        seconds = time.perf_counter() - began
    versions = {name: metadata.version(name) for name in ("mbrl", "torch", "gymnasium", "mujoco")}
    print(
        json.dumps({"seconds": seconds, "steps": steps, "updates": updates, "best": float(best), "versions": versions})
    )


if __name__ == "__main__":
    main()
