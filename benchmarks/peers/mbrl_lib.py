"""The pieces of mbrl-lib's MBPO (PyTorch) at our sizes, through its own classes and functions."""

import gymnasium
import numpy as np
import torch
from mbrl.algorithms.mbpo import rollout_model_and_populate_sac_buffer
from mbrl.models import GaussianMLP, ModelEnv, OneDTransitionRewardModel
from mbrl.planning.sac_wrapper import SACAgent
from mbrl.third_party.pytorch_sac_pranz24.sac import SAC
from mbrl.types import TransitionBatch
from mbrl.util import ReplayBuffer
from omegaconf import OmegaConf
from serve import serve

OBS, ACTION, HELD, MEMBERS, BATCH, STARTS = 11, 3, 10_000, 7, 256, 100_000
SEQUENCES, HORIZON, PARTICLES = 100, 25, 20
"""Of a planner's evaluation, in the networks of PETS's cartpole (five of 3 x 500)."""
AGENT = {
    "gamma": 0.99,
    "tau": 0.005,
    "alpha": 0.2,
    "policy": "Gaussian",
    "target_update_interval": 1,
    "automatic_entropy_tuning": True,
    "target_entropy": -1.0,
    "hidden_size": 256,
    "device": "cpu",
    "lr": 3e-4,
}


class Blank(gymnasium.Env):
    """Spaces without dynamics: only the learners are timed."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (OBS,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (ACTION,), np.float32)


def random_batch(rng, *shape):
    obs, next_obs = rng.standard_normal((2, *shape, OBS)).astype(np.float32)
    action = rng.uniform(-1, 1, (*shape, ACTION)).astype(np.float32)
    reward = rng.standard_normal(shape).astype(np.float32)
    return TransitionBatch(obs, action, next_obs, reward, np.zeros(shape, bool), np.zeros(shape, bool))


class Pole(gymnasium.Env):
    """The spaces of PETS's cartpole: only the planner is timed."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float32)
    action_space = gymnasium.spaces.Box(-3.0, 3.0, (1,), np.float32)


def planner(rng):
    """Values of candidate plans, each by 20 particles that keep their networks."""
    network = GaussianMLP(
        5,
        4,
        "cpu",
        num_layers=3,
        ensemble_size=5,
        hid_size=500,
        propagation_method="fixed_model",
        activation_fn_cfg={"_target_": "torch.nn.SiLU"},
    )
    model = OneDTransitionRewardModel(network, target_is_delta=True, normalize=True, learned_rewards=False)
    obs, next_obs = rng.standard_normal((2, HELD, 4)).astype(np.float32)
    none = np.zeros(HELD, bool)
    held = TransitionBatch(obs, rng.uniform(-3, 3, (HELD, 1)).astype(np.float32), next_obs, none * 1.0, none, none)
    model.update_normalizer(held)

    def never(act, next_obs):
        return torch.zeros(len(next_obs), 1, dtype=torch.bool)

    def reward(act, next_obs):
        tip = torch.stack([next_obs[:, 0] - 0.6 * next_obs[:, 1].sin(), -0.6 * next_obs[:, 1].cos() - 0.6], dim=1)
        return (torch.exp(-tip.square().sum(1) / 0.36) - 0.01 * act.square().sum(1))[:, None]

    env = ModelEnv(Pole(), model, never, reward, generator=torch.Generator())
    plans = torch.as_tensor(rng.uniform(-3, 3, (SEQUENCES, HORIZON, 1)).astype(np.float32))

    def run():
        env.evaluate_action_sequences(plans, np.zeros(4, np.float32), PARTICLES)
        return SEQUENCES * HORIZON * PARTICLES

    return run


def main():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    agent = SAC(OBS, Blank.action_space, OmegaConf.create(AGENT))
    network = GaussianMLP(
        OBS + ACTION,
        OBS + 1,
        "cpu",
        num_layers=4,
        ensemble_size=MEMBERS,
        hid_size=200,
        propagation_method="random_model",
        activation_fn_cfg={"_target_": "torch.nn.SiLU"},
    )
    model = OneDTransitionRewardModel(network, target_is_delta=True, normalize=True, learned_rewards=True)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-5)
    replay = ReplayBuffer(HELD, (OBS,), (ACTION,), rng=rng)
    held = random_batch(rng, HELD)
    replay.add_batch(held.obs, held.act, held.next_obs, held.rewards, held.terminateds, held.truncateds)
    model.update_normalizer(held)
    batches = [random_batch(rng, MEMBERS, BATCH) for _ in range(32)]

    def never(act, next_obs):
        return torch.zeros(len(next_obs), 1, dtype=torch.bool)

    model_env = ModelEnv(Blank(), model, never, None, generator=torch.Generator())

    def sac():
        for i in range(100):
            agent.update_parameters(replay, BATCH, i, reverse_mask=True)
        return 100

    def ensemble():
        for batch in batches:
            model.update(batch, optimiser)
        return len(batches)

    def rollout():
        network.set_elite([0, 1, 2, 3, 4])
        into = ReplayBuffer(STARTS, (OBS,), (ACTION,), rng=rng)
        rollout_model_and_populate_sac_buffer(model_env, replay, SACAgent(agent), into, True, 1, STARTS)
        return STARTS

    cases = {"sac": sac, "ensemble": ensemble, "rollout": rollout, "planner": planner(rng)}
    serve("mbrl-lib", ("mbrl", "torch", "numpy"), cases)


if __name__ == "__main__":
    main()
