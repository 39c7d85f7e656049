from cases import LINEAR, LOOP, LOOP_REFUSED, Case
from mbrl_jax.agents import sac as agents
from mbrl_jax.algorithms import redq

CONFIG = redq.Config(**LOOP, updates_per_step=4, policy_delay=4, agent=agents.Config(hidden=(16,), critics=3))
CASES = {
    "": Case(
        algorithm=redq.make(CONFIG, LINEAR),
        iterations=5,
        steps=lambda agent: {"critic": agent.opt[0][0].count, "policy": agent.opt[1][0].count},
        stepped={"critic": 200, "policy": 50},
        metrics=("sac/critic_loss", "sac/entropy", "train/return"),
    )
}
REFUSED = (
    *LOOP_REFUSED,
    ({"replay_capacity": 0}, "replay_capacity must be at least 1"),
    ({"policy_delay": 3}, "policy_delay must divide updates_per_step, got 3 and 4"),
    ({"subset": 4}, "subset must be at most agent.critics, got 4 and 3"),
    ({"subset": 0}, "subset must be at least 1"),
)
