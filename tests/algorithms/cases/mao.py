from dataclasses import replace

from cases import LINEAR
from cases.slbo import CASES as SLBO
from cases.slbo import CONFIG as SLBO_CONFIG
from mbrl_jax.algorithms import find

CONFIG = replace(SLBO_CONFIG, model=replace(SLBO_CONFIG.model, weight=0.05, smoothness=0.01))
CASES = {"": replace(SLBO[""], algorithm=find("mao").make(CONFIG, LINEAR), iterations=0)}
