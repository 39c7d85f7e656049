from dataclasses import replace

from cases import LINEAR
from cases.trpo import CASES as TRPO
from cases.trpo import CONFIG as TRPO_CONFIG
from mbrl_jax.algorithms import find

CONFIG = replace(TRPO_CONFIG, agent=replace(TRPO_CONFIG.agent, value_batch=None))
CASES = {"": replace(TRPO[""], algorithm=find("trpo_mbbl").make(CONFIG, LINEAR), iterations=0)}
