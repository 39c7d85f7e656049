from cases import LINEAR, LOOP, LOOP_REFUSED, Case
from mbrl_jax.agents import sac as agents
from mbrl_jax.algorithms import sac

AGENT = agents.Config(hidden=(16,))
CONFIG = sac.Config(**LOOP, updates_per_step=2, agent=AGENT)
CASES = {
    "": Case(
        algorithm=sac.make(CONFIG, LINEAR),
        iterations=10,
        steps=lambda agent: {"all": agent.opt[0].count},
        stepped={"all": 200},
        metrics=("sac/critic_loss", "sac/entropy", "train/return"),
    )
}
REFUSED = (*LOOP_REFUSED, ({"updates_per_step": 0}, "updates_per_step must be at least 1, got 0"))
