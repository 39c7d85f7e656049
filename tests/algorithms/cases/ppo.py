from dataclasses import replace

from cases import LINEAR, Case
from mbrl_jax.agents import ppo as agents
from mbrl_jax.algorithms import ppo

AGENT = agents.Config(policy_hidden=(8,), value_hidden=(8,), batch=8, epochs=2)
CONFIG = ppo.Config(steps=400, environments=4, fragment=5, fragments=2, agent=AGENT)
CASES = {
    "": Case(
        algorithm=ppo.make(CONFIG, LINEAR),
        env_steps=40,
        warmup_steps=0,
        iterations=4,
        asked={"tolerance": 1e-4},  # tiny batches are standardised by their own deviation
        steps=lambda agent: {
            "rows": agent.agent.seen.rows,
            "rewards": agent.rewards.rows,
            "all": agent.agent.opt[1][0].count,
            "updates": agent.agent.updates.value,
        },
        stepped={"rows": 160, "rewards": 160, "all": 32, "updates": 8},  # 2 batches of 8 in 20 rows, twice, 8 times
        metrics=("ppo/gain", "ppo/kl", "ppo/clipped", "ppo/entropy", "ppo/critic_loss", "train/return"),
        weights=lambda agent: agent.agent.params["actor"]["mean"]["params"]["Dense_0"]["kernel"],
        replay=False,
    )
}
REFUSED = (
    ({"steps": 0}, "positive multiple"),
    ({"steps": 50}, "positive multiple .* got 50 and 40"),
    ({"environments": 0}, "environments must be at least 1"),
    ({"fragment": 1}, "agent.batch must be at most the rows of a fragment, got 8 and 4"),
    ({"reward_clip": -1.0}, "reward_clip must be a finite number, not negative or None, got -1.0"),
    ({"agent": replace(AGENT, epochs=1), "fragments": 0}, "fragments must be at least 1, got 0"),
)
