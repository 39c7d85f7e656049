from dataclasses import replace

from cases import LINEAR
from cases.mao import CASES as MAO
from cases.mao import CONFIG
from mbrl_jax.algorithms import find

CASES = {"": replace(MAO[""], algorithm=find("mao_vaml").make(CONFIG, LINEAR))}
