from cases import LINEAR, LOOP, LOOP_REFUSED, Case
from mbrl_jax.agents import sac
from mbrl_jax.agents import sac_svg as agents
from mbrl_jax.algorithms import sac_svg
from mbrl_jax.models import recurrent

CONFIG = sac_svg.Config(
    **LOOP,
    model_updates=2,
    model_batch=16,
    agent=agents.Config(
        horizon=2,
        model_free_updates=10,
        head_hidden=(8,),
        model=recurrent.Config(encoder=(), width=8, layers=1),
        agent=sac.Config(hidden=(16,)),
    ),
)
CASES = {
    "": Case(
        algorithm=sac_svg.make(CONFIG, LINEAR),
        iterations=3,
        asked={"waiting": 2},  # the drawing of windows and the search for them
        steps=lambda agent: {
            "policy": agent.policy.opt[0].count,
            "model": agent.model.opt[1][0].count,
            "updates": agent.updates.value,
        },
        stepped={"policy": 30, "model": 60, "updates": 30},
        metrics=("sac/critic_loss", "sac/entropy", "train/return"),
        weights=lambda agent: agent.policy.params["actor"]["params"]["Dense_0"]["kernel"],
    )
}
REFUSED = (
    *LOOP_REFUSED,
    ({"replay_capacity": 0}, "replay_capacity must be at least 1"),
    ({"model_updates": 0}, "model_updates must be at least 1"),
    ({"model_batch": 0}, "model_batch must be at least 1"),
)
