from dataclasses import replace

from cases import LINEAR, LOOP_REFUSED, Case
from mbrl_jax.agents import sac
from mbrl_jax.algorithms import mbpo
from mbrl_jax.models import ensemble

CONFIG = mbpo.Config(
    steps=500,
    warmup_steps=60,
    epoch_length=20,
    model_train_freq=10,
    updates_per_step=4,
    batch=32,
    real_fraction=0.25,
    rollout_batch=20,
    rollout_schedule=(0, 2, 1, 3),
    model=ensemble.Config(members=3, elites=2, hidden=(8,), weight_decay=(1e-5, 1e-5), batch=64, max_epochs=3),
    agent=sac.Config(hidden=(16,)),
)
WAITS = {"waiting": 1}  # the model's early stopping
CASES = {
    "": Case(
        algorithm=mbpo.make(CONFIG, LINEAR),
        iterations=5,
        asked=WAITS,
        steps=lambda agent: {"all": agent.policy.opt[0].count},
        stepped={"all": 200},
        metrics=("sac/critic_loss", "sac/entropy", "train/return"),
        weights=lambda agent: agent.policy.params["actor"]["params"]["Dense_0"]["kernel"],
    ),
    "without roll-outs": Case(algorithm=mbpo.make(replace(CONFIG, real_fraction=1.0), LINEAR), asked=WAITS),
    "value expansion": Case(
        algorithm=mbpo.make(replace(CONFIG, real_fraction=1.0), LINEAR, mbpo.value_expansion(2)), asked=WAITS
    ),
}
REFUSED = (
    *LOOP_REFUSED,
    ({"updates_per_step": 0}, "updates_per_step must be at least 1, got 0"),
    ({"epoch_length": 15}, "multiple of model_train_freq, got 15 and 10"),
    ({"rollout_schedule": (5, 5, 1, 2)}, "0 <= a < b"),
    ({"rollout_schedule": (0, 5, 0, 2)}, "lengths >= 1"),
    ({"real_fraction": 1.5}, r"\[0, 1\], got 1.5"),
    ({"rollout_batch": 0}, "rollout_batch must be at least 1"),
    ({"retain_epochs": 0}, "retain_epochs must be at least 1"),
    ({"epoch_length": 0}, "epoch_length must be at least 1"),
)
