from dataclasses import replace

from cases import LINEAR
from cases.trpo import CASES as TRPO
from cases.trpo import CONFIG
from mbrl_jax.algorithms import find

WHOLE = replace(CONFIG, agent=replace(CONFIG.agent, value_batch=None))
CASES = {"": replace(TRPO[""], algorithm=find("trpo_mbbl").make(WHOLE, LINEAR), iterations=0)}
