from dataclasses import replace

from cases import LINEAR
from cases.ppo import CASES as PPO
from cases.ppo import CONFIG
from mbrl_jax.algorithms import find

CASES = {"": replace(PPO[""], algorithm=find("ppo1").make(CONFIG, LINEAR), iterations=0)}
