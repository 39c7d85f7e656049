from dataclasses import replace

from cases import LINEAR
from cases.mbpo import CASES as MBPO
from cases.mbpo import CONFIG
from mbrl_jax.algorithms import find

CASES = {"": replace(MBPO[""], algorithm=find("iter_vaml").make(CONFIG, LINEAR))}
