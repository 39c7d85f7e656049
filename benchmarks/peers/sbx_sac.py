"""SAC of sbx-rl at our sizes: `train` with 20 gradient steps a call, replay of random transitions."""

import gymnasium
import numpy as np
from sbx import SAC
from serve import serve

OBS, ACTION, HELD, STEPS, CALLS = 11, 3, 10_000, 20, 10


class Blank(gymnasium.Env):
    """Spaces without dynamics: only the learner is timed."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (OBS,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (ACTION,), np.float32)

    def reset(self, *, seed=None, options=None):
        return np.zeros(OBS, np.float32), {}

    def step(self, action):
        return np.zeros(OBS, np.float32), 0.0, False, False, {}


def main():
    rng = np.random.default_rng(0)
    agent = SAC("MlpPolicy", Blank(), batch_size=256, gradient_steps=STEPS, buffer_size=HELD, seed=0)
    agent._setup_learn(total_timesteps=1)
    for _ in range(HELD):
        obs, next_obs = rng.standard_normal((2, 1, OBS)).astype(np.float32)
        action = rng.uniform(-1, 1, (1, ACTION)).astype(np.float32)
        agent.replay_buffer.add(obs, next_obs, action, rng.standard_normal(1), np.zeros(1), [{}])

    def sac():
        for _ in range(CALLS):
            agent.train(gradient_steps=STEPS, batch_size=256)
        return CALLS * STEPS

    serve("sbx", ("sbx-rl", "jax", "flax", "optax"), {"sac": sac})


if __name__ == "__main__":
    main()
