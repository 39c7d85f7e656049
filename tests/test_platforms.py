"""The platform is a property of the program: every algorithm and every engine lowers for devices that are not here."""

import re
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

sys.path.insert(0, str(Path(__file__).parent / "algorithms"))

from cases import cases

from mbrl_jax import envs
from mbrl_jax.envs.mujoco_envs import ALL_TASKS, default_engine
from mbrl_jax.envs.mujoco_robots import NOT_ON_MJX
from mbrl_jax.runner.memory import equations
from mbrl_jax.runner.precision import at_precision

ELSEWHERE = ("cuda", "tpu")
CASES = cases()
USUAL = ("sac", "mbpo", "alm", "dam", "ppo")
"""One case of each kind of loop and of model; the others take half a minute more and are slow."""
BODIES = {(task.model, task.frame_skip): name for name, task in reversed(ALL_TASKS.items()) if name not in NOT_ON_MJX}
"""A task of each body."""
QUICK = "inverted_pendulum-v4"
KEY = jax.eval_shape(lambda: jax.random.key(0))


@pytest.fixture(autouse=True)
def nobody_asks_for_the_platform(monkeypatch):
    """Whoever asks while a program is traced gets an error instead of this machine's answer."""

    def asked():
        raise AssertionError("the platform of a program was asked of the process that traces it")

    default_engine()  # asked when an environment is made, which is allowed
    monkeypatch.setattr(jax, "default_backend", asked)


def lowered(function, *shapes):
    """The program for all of them, as text."""
    return jax.export.export(jax.jit(function), platforms=ELSEWHERE)(*shapes).mlir_module()


def products(text):
    """The precisions of all products of matrices of a program's text."""
    lines = [line for line in text.splitlines() if "stablehlo.dot_general" in line]
    return [re.findall(r"precision = \[(\w+), (\w+)\]", line) for line in lines]


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in USUAL else pytest.mark.slow) for n in CASES])
def test_every_algorithm_lowers_for_other_platforms_with_its_products_in_float32(name):
    algorithm = CASES[name].algorithm
    state = jax.eval_shape(algorithm.init, KEY)
    found = products(lowered(at_precision("float32", algorithm.step), KEY, state))
    assert found == [[("HIGHEST", "HIGHEST")]] * len(found) and found


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n == QUICK else pytest.mark.slow) for n in sorted({*BODIES.values(), QUICK})]
)
def test_every_body_on_mjx_lowers_for_other_platforms(name):
    env = envs.make(name, engine="mjx")
    state = jax.eval_shape(env.reset, KEY)
    action = jax.ShapeDtypeStruct((env.spec.action_dim,), jnp.float32)
    found = products(lowered(env.step, KEY, state, action))
    assert found == [[("HIGHEST", "HIGHEST")]] * len(found) and found


def test_mujocos_own_engine_works_in_place_on_a_cpu_and_through_a_callback_elsewhere():
    """The callback itself lowers only in a process that has the device."""
    env = envs.make(QUICK, engine="mujoco")
    state = jax.eval_shape(env.reset, KEY)
    traced = jax.make_jaxpr(env.step)(KEY, state, jnp.zeros(env.spec.action_dim))
    choices = [each for each in equations(traced.jaxpr) if each.params.get("branches_platforms")]
    ways = {
        platforms: [inner.primitive.name for inner in equations(branch.jaxpr)]
        for choice in choices
        for platforms, branch in zip(choice.params["branches_platforms"], choice.params["branches"], strict=True)
    }
    assert ways == {("cpu",): ["ffi_call"], None: ["pure_callback"]}
    assert "callback" not in jax.jit(env.step).lower(KEY, state, jnp.zeros(env.spec.action_dim)).as_text()
