from cases import LINEAR, LOOP, LOOP_REFUSED, Case
from mbrl_jax.agents import sac
from mbrl_jax.algorithms import mnm
from mbrl_jax.models import adversarial

CONFIG = mnm.Config(
    **LOOP,
    updates_per_step=2,
    pretraining=5,
    value_after=20,
    imagined_capacity=160,  # 5 slots of 32: of a shape that nothing else has
    model=adversarial.Config(members=2, hidden=(8,), classifier_hidden=(8,), reward_hidden=(8,)),
    agent=sac.Config(hidden=(16,)),
)
ONCE = {"branches": 1}  # the statistics, which are taken at the first iteration
CASES = {
    "": Case(
        algorithm=mnm.make(CONFIG, LINEAR),
        iterations=2,
        asked=ONCE,
        steps=lambda agent: {
            "policy": agent.policy.opt[0].count,
            "model": agent.model.opt[0].count,
            "batches": agent.batches.value,
            "imagined": agent.imagined.filled.sum(),
        },
        stepped={"policy": 40, "model": 45, "batches": 45, "imagined": 160},
        metrics=(
            "mnm/value_slope",
            "mnm/holdout_mse",
            "mnm/logit_real",
            "mnm/logit_model",
            "mnm/logit_target",
            "mnm/coefficient",
            "mnm/value_range",
            "sac/critic_loss",
            "train/return",
        ),
        weights=lambda agent: agent.model.params["classifier"]["params"]["Dense_0"]["kernel"],
    ),
    "in full": Case(algorithm=mnm.make(CONFIG, LINEAR, adversarial.objective.FULL), asked=ONCE),
}
REFUSED = (
    *LOOP_REFUSED,
    ({"updates_per_step": 0}, "updates_per_step must be at least 1, got 0"),
    ({"pretraining": -1}, "pretraining must not be negative, got -1"),
    ({"value_after": -1}, "value_after must not be negative, got -1"),
    ({"value_coefficient": -0.5}, "value_coefficient must not be negative, got -0.5"),
    ({"reward_scale": -1.0}, "reward_scale must not be negative, got -1.0"),
    ({"logged_fraction": 1.5}, r"logged_fraction must lie in \[0, 1\], got 1.5"),
    ({"range_power": 2.0}, r"range_power must lie in \[0, 1\], got 2.0"),
    ({"imagined_capacity": 31}, "imagined_capacity must be at least batch times rollout_length, got 31, 32 and 1"),
    ({"rollout_length": 6}, "imagined_capacity must be at least batch times rollout_length, got 160, 32 and 6"),
    ({"rollout_length": 0}, "rollout_length must be at least 1, got 0"),
    ({"replay_capacity": 0}, "replay_capacity must be at least 1, got 0"),
)
