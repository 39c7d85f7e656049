import optax

from cases import LINEAR, LOOP, LOOP_REFUSED, Case
from mbrl_jax.agents.latent import learner as latent
from mbrl_jax.algorithms import alm

CONFIG = alm.Config(
    **LOOP,
    updates_per_step=2,
    noise_steps=50,
    agent=latent.Config(latent_dim=4, hidden=(16,), model_hidden=(16,), classifier_hidden=(16,), horizon=1),
)
CASES = {
    "": Case(
        algorithm=alm.make(CONFIG, LINEAR),
        iterations=10,
        asked={"waiting": 2},  # the drawing of windows and the search for them
        steps=lambda agent: {i: n for i, (_, n) in enumerate(optax.tree.get_all_with_path(agent.learner.opt, "count"))},
        stepped=dict.fromkeys(range(4), 200),
        metrics=("alm/critic_loss", "alm/divergence", "train/return"),
        weights=lambda agent: agent.learner.params["actor"]["params"]["Dense_0"]["kernel"],
    )
}
REFUSED = LOOP_REFUSED
