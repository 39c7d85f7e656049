from dataclasses import replace

from cases import Case
from mbrl_jax import envs
from mbrl_jax.algorithms import pets
from mbrl_jax.models import bootstrap

SHORT = envs.make("lqr-v0", time_limit=5)
CONFIG = pets.Config(
    steps=20,
    model=bootstrap.Config(members=2, hidden=(8,), weight_decay=(1e-4, 1e-4), batch=4, epochs=2),
    planning=pets.Planning(horizon=3, sequences=9, elites=3, iterations=2, particles=4),
)
CASES = {
    "": Case(
        algorithm=pets.make(CONFIG, SHORT),
        env=SHORT,
        env_steps=5,
        warmup_steps=5,
        iterations=2,
        asked={
            "computed": {(5, 5)},  # returns and masks of all episodes
            "waiting": 1,  # a trial lasts until the task ends
            "tolerance": 2e-3,  # plans are fitted to the best of few: a fit's rounding may not change which
        },
        steps=lambda agent: {"model": agent.opt.count},
        stepped={"model": 2 * 2 + 2 * 3},  # two passes over 5 rows, then over 10, in batches of 4
        metrics=("model/loss", "planner/value", "pets/best_return", "train/return"),
        weights=lambda agent: agent.params["net"]["params"]["Dense_0"]["kernel"],
        replay=False,
    )
}
REFUSED = (
    ({"steps": 0}, "steps must be at least 1, got 0"),
    ({"warmup_episodes": 0}, "warmup_episodes must be at least 1, got 0"),
    ({"planning": replace(CONFIG.planning, particles=5)}, "particles must be a multiple of model.members, got 5 and 2"),
)
