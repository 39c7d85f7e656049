from cases import Case
from mbrl_jax import envs
from mbrl_jax.algorithms import dam
from mbrl_jax.models import discriminator, fitting, mixture

ICY = envs.make("icy_road")
FIT = fitting.Config(learning_rate=1e-2, batch=32, interval=10, patience=2, max_steps=60)
CONFIG = dam.Config(
    steps=20,
    warmup_episodes=8,
    episodes=2,
    model=mixture.Config(components=2, hidden=(8,), fit=FIT),
    discriminator=discriminator.Config(hidden=(8,), fit=FIT),
    planning=dam.Planning(horizon=3, sequences=9, particles=2),
)
CASES = {
    "": Case(
        algorithm=dam.make(CONFIG, ICY),
        env=ICY,
        warmup_steps=40,
        iterations=2,
        asked={
            "waiting": 2,  # the early stopping of model and discriminator
            "branches": 4,  # whether values are corrected and samples blurred, which all seeds share
            "computed": {(12, ICY.spec.time_limit)},  # returns and masks of all episodes
            "tolerance": 2e-3,  # the actions that are planned are few: a fit's rounding may not change one
        },
        metrics=("planner/ess", "disc/holdout_loss", "train/return"),
        weights=lambda agent: agent.model.params["params"]["Dense_0"]["kernel"],
        replay=False,
    )
}
REFUSED = (
    ({"episodes": 0}, "episodes must be at least 1, got 0"),
    ({"warmup_episodes": 0}, "warmup_episodes must be at least 1, got 0"),
)
