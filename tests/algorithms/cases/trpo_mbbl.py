from dataclasses import replace

from cases import LINEAR
from cases.trpo import CASES as TRPO
from cases.trpo import CONFIG
from mbrl_jax.algorithms import find

ONE = replace(CONFIG, fragments=1, agent=replace(CONFIG.agent, value_batch=None))
CASES = {
    "": replace(
        TRPO[""],
        algorithm=find("trpo_mbbl").make(ONE, LINEAR),
        env_steps=20,
        iterations=2,
        stepped={"rows": 40, "critic": 4},
    )
}
