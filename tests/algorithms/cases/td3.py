from cases import LINEAR, LOOP, LOOP_REFUSED, Case
from mbrl_jax.agents import td3 as agents
from mbrl_jax.algorithms import td3

CONFIG = td3.Config(**LOOP, agent=agents.Config(hidden=(16,)))
CASES = {
    "": Case(
        algorithm=td3.make(CONFIG, LINEAR),
        iterations=10,
        steps=lambda agent: {name: opt[0].count for name, opt in agent.opt.items()},
        stepped={"critic": 100, "actor": 50},
        metrics=("td3/critic_loss", "td3/actor_loss", "train/return"),
    )
}
REFUSED = (
    *LOOP_REFUSED,
    ({"replay_capacity": 0}, "replay_capacity must be at least 1"),
    ({"agent": agents.Config(policy_delay=3)}, "multiple of agent.policy_delay, got 10 and 3"),
)
