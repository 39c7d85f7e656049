from cases import LINEAR, Case
from cases.mnm import CONFIG, ONCE
from mbrl_jax.algorithms import find

CASES = {"": Case(algorithm=find("mnm_weighted").make(CONFIG, LINEAR), asked=ONCE)}
