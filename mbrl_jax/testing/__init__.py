"""Conformance suites for anybody's pieces: each check raises `AssertionError` with the rule and what was found.

`check_algorithm(algorithm, spec, iterations=3)` in a test of your own asks of an algorithm what this package asks of
its own; `check_env`, `check_agent` and `check_model` ask it of the pieces. `programs` looks into traced programs.
"""

from mbrl_jax.testing.algorithms import Ran, check_algorithm
from mbrl_jax.testing.environments import check_env
from mbrl_jax.testing.pieces import check_agent, check_dynamics, check_model, check_policy

__all__ = ["Ran", "check_agent", "check_algorithm", "check_dynamics", "check_env", "check_model", "check_policy"]
