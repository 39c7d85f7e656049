from dataclasses import replace

from cases.pets import CASES as PETS
from cases.pets import CONFIG, SHORT
from mbrl_jax.algorithms import find

CASES = {"": replace(PETS[""], algorithm=find("pets_ts1").make(CONFIG, SHORT), iterations=0)}
