"""A wrapper is one new file: names of wrapped environments are found by listing the package."""

import pytest

from mbrl_jax import envs
from mbrl_jax.algorithms import preset

WRAPPER = """
from dataclasses import replace

def wrap(env, first, second=5, *, name):
    spec = replace(env.spec, name=name, dt=first + second / 10)
    return env._replace(spec=spec)
"""


@pytest.fixture
def wrapper(tmp_path, monkeypatch):
    """A folder of the package in which one file has been added."""
    (tmp_path / "retimed.py").write_text(WRAPPER)
    monkeypatch.setattr(envs, "__path__", [*envs.__path__, str(tmp_path)])
    envs.registry._wrapped.cache_clear()
    yield
    envs.registry._wrapped.cache_clear()


def test_a_file_makes_wrapped_names_of_every_environment(wrapper):
    env = envs.make("Pendulum_retimed_3", time_limit=9)
    assert env.spec.name == envs.resolve("pendulum_retimed_3") == "pendulum_retimed_3-v1"
    assert (env.spec.dt, env.spec.time_limit) == (3.5, 9)
    assert envs.make("pendulum_retimed_3-v1", time_limit=9) is env, "compiled programs must be found again"
    assert envs.make("hopper_retimed_1_2-v5", engine="mujoco").spec.dt == 1.2
    assert envs.engines("hopper_retimed_1_2-v5") == envs.engines("hopper-v5")


def test_wrappers_can_be_wrapped_and_presets_are_those_inside(wrapper):
    assert envs.make("pendulum_retimed_3_retimed_4_1").spec.name == "pendulum_retimed_3_retimed_4_1-v1"
    assert envs.unwrapped("pendulum_retimed_3_retimed_4_1-v1") == "pendulum-v1"
    assert envs.unwrapped("pendulum-v1") == "pendulum-v1" and envs.unwrapped("no_such_thing") == "no_such_thing"
    assert preset("mbpo", "pendulum_retimed_3-v1") == preset("mbpo", "pendulum-v1") != preset("mbpo", "hopper-v4")


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("pendulm_retimed_4", "did you mean 'pendulum'"),
        ("pendulum_retimed_4_7_2", "retimed takes 1 to 2 numbers, got 'pendulum_retimed_4_7_2-v1'"),
        ("pendulum_retimed", "retimed takes 1 to 2 numbers, got 'pendulum_retimed-v1'"),
        ("pendulum_registry_3", "environment must be one of"),
    ],
)
def test_what_cannot_be_wrapped_is_refused_in_words(wrapper, name, rule):
    with pytest.raises(ValueError, match=rule):
        envs.make(name)
