"""PPO of Stable-Baselines3 on Gymnasium's inverted pendulum: 2,048 steps, ten passes in batches of 64, an iteration."""

import torch
from serve import serve
from stable_baselines3 import PPO

STEPS, ITERATIONS = 2048, 2


def main():
    torch.manual_seed(0)
    agent = PPO("MlpPolicy", "InvertedPendulum-v4", n_steps=STEPS, batch_size=64, n_epochs=10, seed=0, device="cpu")

    def ppo():
        agent.learn(ITERATIONS * STEPS, reset_num_timesteps=False)
        return ITERATIONS * STEPS

    serve("stable-baselines3", ("stable-baselines3", "torch", "gymnasium", "mujoco"), {"ppo": ppo})


if __name__ == "__main__":
    main()
