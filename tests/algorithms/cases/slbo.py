from cases import LINEAR, Case
from mbrl_jax.agents import trpo
from mbrl_jax.algorithms import slbo
from mbrl_jax.models import multi_step

CONFIG = slbo.Config(
    steps=120,
    stage_steps=20,
    iterations=2,
    model_updates=4,
    policy_updates=2,
    model_batch=8,
    policy_batch=20,
    refresh_batch=20,
    rollout_horizon=10,
    entropy_stages=1,
    model=multi_step.Config(hidden=(8, 8)),
    agent=trpo.Config(policy_hidden=(8,), value_hidden=(8,), value_batch=8, value_epochs=2),
)
CASES = {
    "": Case(
        algorithm=slbo.make(CONFIG, LINEAR),
        env_steps=20,
        warmup_steps=0,
        iterations=2,
        asked={
            "waiting": 1,  # the line search
            "tolerance": 1e-3,  # natural gradients divide by small curvatures, which magnifies their rounding
        },
        steps=lambda agent: {
            "model": agent.model.opt[1].count,
            "critic": agent.agent.opt.count,
            "stage": agent.stage.value,
            "rows": agent.agent.seen.rows,
            "stored": agent.stored.size.value,
        },
        # 2 stages x 2 x 4 windows; and x 2 fragments x 2 passes x 2 batches of 8 in 20 rows
        stepped={"model": 16, "critic": 32, "stage": 2, "rows": 40, "stored": 40},
        metrics=("model/loss", "model/rmse", "model/alive", "trpo/kl", "trpo/accepted", "slbo/imagined_return"),
        weights=lambda agent: agent.model.params["params"]["Dense_0"]["kernel"],
        replay=False,
    )
}
REFUSED = (
    ({"steps": 0}, "positive multiple"),
    ({"steps": 30}, "positive multiple .* got 30 and 20"),
    ({"model_batch": 0}, "model_batch must be at least 1"),
    ({"rollout_horizon": 0}, "rollout_horizon must be at least 1, got 0"),
    ({"policy_batch": 5}, "policy_batch must be a multiple of rollout_horizon, got 5 and 10"),
    ({"rollout_horizon": 5, "policy_batch": 5}, "policy_batch must be at least agent.value_batch, got 5 and 8"),
    ({"value_refresh": 3}, "model_updates must be a multiple of value_refresh, got 4 and 3"),
    ({"value_refresh": 2, "refresh_batch": 25}, "refresh_batch must be a multiple of rollout_horizon, got 25"),
    ({"noise_kept": 1.5}, r"noise_kept must lie in \[0, 1\], got 1.5"),
)
