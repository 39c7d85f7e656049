"""SAC of brax at our sizes: its own `train`, 20 updates per environment step, on a system that costs nothing.

`train` cannot be called in pieces, so it runs in a thread and waits in its progress callback for the next request.
One epoch of it is timed: 20 environment steps, 400 updates, and an evaluation of one episode of two steps.
"""

from typing import Any

import jax.numpy as jnp
from brax.envs.base import Env, State
from brax.training.agents.sac import train as sac_train
from serve import in_pieces, serve

OBS, ACTION, UPDATES, STEPS, EPOCHS, PREFILL = 11, 3, 20, 20, 400, 512


class Blank(Env):
    """Observations that hardly move: only the learner is timed."""

    def reset(self, rng):
        return State(None, jnp.zeros(OBS), jnp.zeros(()), jnp.zeros(()), {}, {})

    def step(self, state: Any, action: Any) -> Any:
        obs = 0.9 * state.obs + 0.1 * action.sum()
        return state.replace(obs=obs, reward=obs.sum(), done=jnp.zeros(()))

    @property
    def observation_size(self):
        return OBS

    @property
    def action_size(self):
        return ACTION

    @property
    def backend(self):
        return "none"


def main():
    def train(wait):
        sac_train.train(
            environment=Blank(),
            num_timesteps=PREFILL + EPOCHS * STEPS,
            episode_length=2,
            num_envs=1,
            num_eval_envs=1,
            num_evals=EPOCHS + 1,
            learning_rate=3e-4,
            discounting=0.99,
            batch_size=256,
            grad_updates_per_step=UPDATES,
            min_replay_size=PREFILL,
            max_replay_size=10_000,
            max_devices_per_host=1,
            progress_fn=wait,
        )

    epoch = in_pieces(train)

    def sac():
        epoch()
        return STEPS * UPDATES

    serve("brax", ("brax", "jax", "flax", "optax"), {"sac": sac})


if __name__ == "__main__":
    main()
