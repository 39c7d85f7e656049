from dataclasses import replace

from cases import LINEAR, LOOP, LOOP_REFUSED, Case
from mbrl_jax.agents import steve as agents
from mbrl_jax.algorithms import steve
from mbrl_jax.models import deterministic

CONFIG = steve.Config(
    **LOOP,
    pretraining=7,
    updates_per_step=2,
    horizon=2,
    model=deterministic.Config(members=2, hidden=(8,), head_hidden=(8,)),
    agent=agents.Config(hidden=(16,), critics=2, copy_every=20),
)
CASES = {
    "": Case(
        algorithm=steve.make(CONFIG, LINEAR),
        iterations=5,
        asked={"branches": 2},  # whether it is time to copy the critics and the model, which all seeds share
        steps=lambda agent: {
            "policy": agent.policy.opt[0].count,
            "updates": agent.policy.updates.value,
            "model": agent.model.opt.count,
        },
        stepped={"policy": 100, "updates": 100, "model": 107},
        metrics=("steve/critic_loss", "steve/value", "steve/model_use", "model/loss", "train/return"),
        weights=lambda agent: agent.policy.params["actor"]["params"]["Dense_0"]["kernel"],
    )
}
REFUSED = (
    *LOOP_REFUSED,
    ({"updates_per_step": 0}, "updates_per_step must be at least 1, got 0"),
    ({"horizon": 0}, "horizon must be at least 1, got 0"),
    ({"pretraining": -1}, "pretraining must not be negative, got -1"),
    ({"batch": 33}, "batch must be a multiple of model.members, got 33 and 2"),
    ({"agent": replace(CONFIG.agent, critics=3)}, "batch must be a multiple of agent.critics, got 32 and 3"),
    ({"updates_per_step": 3}, "agent.copy_every must be a multiple of updates_per_step, got 20 and 3"),
)
