from cases import BY_FRAGMENTS, LINEAR, Case
from mbrl_jax.agents import trpo as agents
from mbrl_jax.algorithms import trpo

AGENT = agents.Config(policy_hidden=(8,), value_hidden=(8,), value_batch=8, value_epochs=2)
CONFIG = trpo.Config(steps=400, environments=4, fragment=5, fragments=2, agent=AGENT)
CASES = {
    "": Case(
        algorithm=trpo.make(CONFIG, LINEAR),
        env_steps=40,
        warmup_steps=0,
        iterations=4,
        asked={
            "waiting": 1,  # the line search
            "tolerance": 1e-3,  # natural gradients divide by small curvatures, which magnifies their rounding
        },
        steps=lambda agent: {"rows": agent.seen.rows, "critic": agent.opt.count},
        stepped={"rows": 160, "critic": 32},  # 2 batches of 8 in 20 rows, twice, 8 times
        metrics=("trpo/kl", "trpo/entropy", "trpo/accepted", "trpo/critic_loss", "train/return"),
        weights=lambda agent: agent.params["actor"]["mean"]["params"]["Dense_0"]["kernel"],
        replay=False,
    )
}
REFUSED = (
    *BY_FRAGMENTS,
    ({"fragment": 1}, "agent.value_batch must be at most the rows of a fragment, got 8 and 4"),
)
