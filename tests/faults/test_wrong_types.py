"""Values of the wrong type: told by field, rule and value where a configuration or an algorithm is made."""

import dataclasses
import functools
import importlib
import inspect
import pkgutil

import jax
import jax.numpy as jnp
import pytest

from mbrl_jax import envs
from mbrl_jax.agents import sac as soft
from mbrl_jax.algorithms import REGISTRY, mbpo, sac
from mbrl_jax.checks import check_arguments
from mbrl_jax.runner.run import Run

PLACES = ("agents", "algorithms", "models", "envs", "trust_region")


def configurations():
    """Every class of settings, by where it is written: a dataclass whose fields all have defaults."""
    found = {}
    for place in PLACES:
        top = importlib.import_module(f"mbrl_jax.{place}")
        inside = pkgutil.walk_packages(getattr(top, "__path__", ()), f"{top.__name__}.")
        for module in (top, *(importlib.import_module(each.name) for each in inside)):
            for name, kind in vars(module).items():
                if name in ("Config", "Planning") and kind.__module__ == module.__name__:
                    found[f"{module.__name__}.{name}"] = kind
    return found


CONFIGURATIONS = configurations()
FIELDS = [(name, each.name) for name, kind in CONFIGURATIONS.items() for each in dataclasses.fields(kind)]


class Stranger:
    """What no field is meant for."""


def test_every_algorithms_settings_are_among_those_looked_at():
    assert {entry.config for entry in REGISTRY.values()} <= set(CONFIGURATIONS.values())
    assert len(CONFIGURATIONS) >= 24 and len(FIELDS) > 200


@pytest.mark.parametrize("name", sorted(CONFIGURATIONS))
def test_no_field_takes_a_stranger(name):
    kind = CONFIGURATIONS[name]
    for each in dataclasses.fields(kind):
        with pytest.raises(ValueError, match=rf"^{each.name} must be .*, got <.*Stranger") as caught:
            kind(**{each.name: Stranger()})
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


WRONG = [
    (sac.Config, {"steps": 400.0}, "steps must be a whole number within +-(2**31 - 1), got 400.0"),
    (sac.Config, {"steps": "400"}, "steps must be a whole number within +-(2**31 - 1), got '400'"),
    (sac.Config, {"steps": None}, "steps must be a whole number within +-(2**31 - 1), got None"),
    (sac.Config, {"steps": True}, "steps must be a whole number within +-(2**31 - 1), got True"),
    (soft.Config, {"actor_lr": "1e-3"}, "actor_lr must be a finite number, not negative, got '1e-3'"),
    (soft.Config, {"actor_lr": 1e-3j}, "actor_lr must be a finite number, not negative, got 0.001j"),
    (soft.Config, {"hidden": 16}, "hidden must be a tuple, each entry a whole number within +-(2**31 - 1), got 16"),
    (soft.Config, {"hidden": [16]}, "hidden must be a tuple, each entry a whole number within +-(2**31 - 1), got [16]"),
    (soft.Config, {"hidden": ("16",)}, "hidden must be a tuple, each entry a whole number"),
    (soft.Config, {"hidden": ((16,),)}, "hidden must be a tuple, each entry a whole number"),
    (soft.Config, {"hidden": "16"}, "hidden must be a tuple, each entry a whole number"),
    (sac.Config, {"agent": {"gamma": 0.9}}, "agent must be a sac.Config, got {'gamma': 0.9}"),
    (sac.Config, {"agent": soft.Config}, "agent must be a sac.Config, got <class"),
    (mbpo.Config, {"agent": sac.Config()}, "agent must be a sac.Config, got Config("),
    (mbpo.Config, {"rollout_schedule": (1, 2, 3)}, "rollout_schedule must be a tuple of 4"),
    (mbpo.Config, {"model": None}, "model must be a network.Config, got None"),
]


@pytest.mark.parametrize(("config", "fields", "message"), WRONG, ids=lambda value: str(value)[:50])
def test_a_value_of_the_wrong_type_is_told_by_field_rule_and_value(config, fields, message):
    with pytest.raises(ValueError) as caught:
        config(**fields)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_a_run_wants_an_environments_name():
    with pytest.raises(ValueError, match=r"^env must be the name of an environment, got Env\(reset=") as caught:
        Run(experiment="e", algorithm="a", method="sac", config=sac.Config(), env=envs.make("pendulum"))  # pyright: ignore
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_every_algorithm_is_made_of_its_own_settings_and_an_environment(name):
    make, config, env = REGISTRY[name].make, REGISTRY[name].config(), envs.make("lqr-v0")
    kind = f"{type(config).__module__.rpartition('.')[2]}.Config"
    for given in ({"steps": 100}, None, soft.Config(), "pendulum"):
        with pytest.raises(ValueError, match=rf"^config must be a {kind}, got"):
            make(given, env)
    for given in ("lqr-v0", None, env.spec, [env]):
        with pytest.raises(ValueError, match=r"^env must be a types.Env, got"):
            make(config, given)


def test_settings_that_go_round_their_own_rules_are_looked_at_where_an_algorithm_is_made():
    config = sac.Config()
    object.__setattr__(config.agent, "hidden", 16)
    with pytest.raises(ValueError, match=r"^config.agent.hidden must be a tuple"):
        sac.make(config, envs.make("lqr-v0"))
    with pytest.raises(ValueError, match=r"^targets must be .*Callable or None, got 3"):
        mbpo.make(mbpo.Config(), envs.make("lqr-v0"), targets=3)  # pyright: ignore[reportArgumentType]


def test_the_check_leaves_a_function_as_it_is():
    """Its name, its signature, its defaults and errors of its own; values that are traced are not looked at."""

    @check_arguments
    def make(rate: float, name: str = "x") -> tuple[object, ...]:
        """What it says."""
        return rate, name

    assert make.__name__ == "make" and make.__doc__ == "What it says."
    assert list(inspect.signature(make).parameters) == ["rate", "name"]
    assert make(1.0, name="y") == (1.0, "y")
    assert jax.eval_shape(lambda x: make(x)[0], jnp.float32(0)).shape == ()
    with pytest.raises(ValueError, match=r"^rate must be a finite number, not negative, got 'fast'"):
        functools.partial(make, "fast")()
    with pytest.raises(TypeError, match="nobody"):
        make(1.0, nobody=1)
