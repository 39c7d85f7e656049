from dataclasses import replace

from cases import LINEAR
from cases.slbo import CASES as SLBO
from cases.slbo import CONFIG
from mbrl_jax.algorithms import find

VALUED = replace(CONFIG, value_refresh=2, model=replace(CONFIG.model, weight=0.05, smoothness=0.01))
# Each iteration fits the values after its policy steps, as SLBO does, and twice more.
STEPPED = {"model": 8, "critic": 32, "stage": 1, "rows": 20, "stored": 20}
CASES = {"": replace(SLBO[""], algorithm=find("mao").make(VALUED, LINEAR), iterations=1, stepped=STEPPED)}
