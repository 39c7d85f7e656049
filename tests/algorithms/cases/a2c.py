from cases import BY_FRAGMENTS, LINEAR, Case
from mbrl_jax.agents import a2c as agents
from mbrl_jax.algorithms import a2c

CONFIG = a2c.Config(steps=400, environments=4, fragment=5, fragments=2, agent=agents.Config(hidden=(16,)))
CASES = {
    "": Case(
        algorithm=a2c.make(CONFIG, LINEAR),
        env_steps=40,
        warmup_steps=0,
        iterations=5,
        steps=lambda agent: {"rows": agent.seen.rows},
        stepped={"rows": 200},
        metrics=("a2c/critic_loss", "a2c/actor_loss", "train/return"),
        weights=lambda agent: agent.params["actor"]["mean"]["params"]["Dense_0"]["kernel"],
        replay=False,
    )
}
REFUSED = BY_FRAGMENTS
