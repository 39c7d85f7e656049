from dataclasses import replace

from cases import LINEAR
from cases.slbo import CASES as SLBO
from cases.slbo import CONFIG
from mbrl_jax.algorithms import find

VALUED = replace(CONFIG, model=replace(CONFIG.model, weight=0.05, smoothness=0.01))
CASES = {"": replace(SLBO[""], algorithm=find("mao").make(VALUED, LINEAR), iterations=0)}
