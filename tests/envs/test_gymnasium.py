"""Ours as Gymnasium's: every spelling, seeds, specs as JSON, pickles, processes, and what is said of a wrong call."""

from __future__ import annotations

import copy
import os
import pickle
import re

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec

from mbrl_jax import envs
from mbrl_jax.envs import gymnasium_envs, gymnasium_shared

# Gymnasium calls every id of which it knows a later version out of date.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
STEP = np.array([0.5], np.float32)


def steps(env, count=3):
    """Observations of some steps."""
    return np.stack([env.step(STEP)[0] for _ in range(count)])


def test_every_task_is_found_in_gymnasiums_own_spelling():
    """As far as Gymnasium has it; in ours too."""
    plain = {re.sub("[-_]", "", name.lower()): name for name in envs.names()}
    shared = [one for one in gymnasium.registry if re.sub("[-_]", "", one.lower()) in plain and "/" not in one]
    assert len(shared) > 20 and "CartPole-v1" in shared
    for theirs in shared:
        spec = gymnasium.spec(f"mbrl_jax/{theirs}")
        assert spec.kwargs["env"] == plain[re.sub("[-_]", "", theirs.lower())]
        assert gymnasium_envs.gym_id(spec.kwargs["env"]) == f"mbrl_jax/{theirs}"
    for also in ("Cartpole-v1", "HalfCheetah-v2", "AntTruncatedObs-v2"):
        assert f"mbrl_jax/{also}" in gymnasium.registry


def test_specs_are_written_to_json_and_read_back():
    for name in [one for one in gymnasium.registry if one.startswith("mbrl_jax/")]:
        assert EnvSpec.from_json(gymnasium.spec(name).to_json()) == gymnasium.spec(name)
    env = gymnasium.make("mbrl_jax/Pendulum-v1", time_limit=7)
    again = gymnasium.make(EnvSpec.from_json(env.spec.to_json()))
    assert again.unwrapped._env is env.unwrapped._env is envs.make("pendulum", time_limit=7)
    many = gymnasium.make_vec("mbrl_jax/Pendulum-v1", num_envs=2)
    assert isinstance(many.unwrapped, gymnasium_envs.GymnasiumVectorEnv) and many.spec.to_json()


def test_a_vector_takes_a_seed_for_each_copy():
    one, many = gymnasium_envs.GymnasiumEnv("pendulum"), gymnasium_envs.GymnasiumVectorEnv("pendulum", 3)
    each = np.stack([one.reset(seed=seed)[0] for seed in (3, 1, 2)])
    np.testing.assert_array_equal(many.reset(seed=[3, 1, 2])[0], each)
    first = many.step(np.zeros((3, 1)))[0]
    many.reset(seed=np.array([3, 1, 2]))
    np.testing.assert_array_equal(many.step(np.zeros((3, 1)))[0], first)
    drawn = many.reset(seed=[3, None, 2])[0]
    np.testing.assert_array_equal(drawn[[0, 2]], each[[0, 2]])
    assert (drawn[1] != each[1]).any()
    same = [many.reset(seed=4)[0] for _ in range(2)]
    np.testing.assert_array_equal(*same)


@pytest.mark.parametrize("seed", [[1, 2], [1, 2, 3, 4], [1, 2, 0.5], [1, 2, -1], "abc", [[1, 2, 3]]])
def test_seeds_that_are_not_one_for_each_copy_are_refused(seed):
    many = gymnasium_envs.GymnasiumVectorEnv("pendulum", 3)
    with pytest.raises(ValueError, match=r"seed must be .* num_envs=3 .*got"):
        many.reset(seed=seed)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
@pytest.mark.parametrize("made", ["a task", "a wrapped one", "a vector", "before its first reset"])
def test_a_copy_goes_on_where_the_first_was(copied, made):
    if made == "a vector":
        env = gymnasium_envs.GymnasiumVectorEnv("pendulum", 1, time_limit=5)
        act = STEP[None]
    else:
        env, act = gymnasium.make("mbrl_jax/Pendulum-v1", time_limit=5), STEP
        env = env if made == "a wrapped one" else env.unwrapped
    if made != "before its first reset":
        env.reset(seed=3)
        env.step(act)
    again = copied(env)
    if made == "before its first reset":
        env.reset(seed=3), again.reset(seed=3)
    for _ in range(3):
        for first, second in zip(env.step(act), again.step(act), strict=True):
            np.testing.assert_equal(first, second)
    np.testing.assert_array_equal(env.reset()[0], again.reset()[0])


def test_what_cannot_be_pickled_says_what_can():
    env = gymnasium_envs.GymnasiumEnv(envs.make("pendulum")._replace(reward=None))
    with pytest.raises(TypeError, match=r"given by its name .* got an Env of 'pendulum-v1'"):
        pickle.dumps(env)


@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        (lambda env: env.render(), RuntimeError, "reset must be called before the first render"),
        (lambda env: env.step(STEP), RuntimeError, "reset must be called before the first step"),
        (lambda env: env.reset() and env.step(np.zeros(2)), ValueError, r"shape \(1,\), got \(2,\)"),
        (lambda env: env.reset() and env.step(0.5), ValueError, r"shape \(1,\), got \(\)"),
        (lambda env: env.reset() and env.step([[0.5]]), ValueError, r"shape \(1,\), got \(1, 1\)"),
        (lambda env: env.reset() and env.step("left"), ValueError, "real numbers, got 'left'"),
        (lambda env: env.reset() and env.step([0.5j]), ValueError, "real numbers, got"),
        (lambda env: env.reset() and env.step([[1.0], [1.0, 2.0]]), ValueError, "real numbers, got"),
    ],
)
def test_a_wrong_call_is_told_by_its_rule(call, error, told):
    env = gymnasium.make("mbrl_jax/Pendulum-v1", render_mode="rgb_array").unwrapped
    with pytest.raises(error, match=told) as met:
        call(env)
    assert "\n" not in str(met.value)


@pytest.mark.parametrize("actions", [np.zeros((2, 1)), np.zeros(3), np.zeros((3, 2))])
def test_a_wrong_number_of_actions_is_told(actions):
    many = gymnasium_envs.GymnasiumVectorEnv("pendulum", 3)
    many.reset(seed=0)
    with pytest.raises(ValueError, match=r"actions of pendulum-v1 must have shape \(3, 1\), got \("):
        many.step(actions)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"num_envs": 0}, "num_envs must be a whole number of at least 1, got 0"),
        ({"num_envs": 2.5}, r"num_envs must be a whole number of at least 1, got 2\.5"),
        ({"num_envs": 2, "render_mode": "rgb_array"}, "render_mode .* must be None, got 'rgb_array'"),
    ],
)
def test_a_vector_that_cannot_be_is_refused(options, told):
    with pytest.raises(ValueError, match=told):
        gymnasium_envs.GymnasiumVectorEnv("pendulum", **options)


def in_a_fork(function):
    """What the function raises in a forked child, as text; nothing if it returns."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        said = ""
        try:
            function()
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        finally:
            os.write(writing, said.encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


# JAX warns of every fork, and Python of one with threads; that is what is tried here.
@pytest.mark.filterwarnings("ignore:.*fork:RuntimeWarning", "ignore:.*fork:DeprecationWarning")
def test_a_forked_process_is_told_to_be_spawned_and_no_other_is():
    """JAX's threads do not come along; a step would wait for ever. Whoever forks goes on."""
    one, many = gymnasium_envs.GymnasiumEnv("pendulum"), gymnasium_envs.GymnasiumVectorEnv("pendulum", 2)
    for env in (one, many):
        told = in_a_fork(lambda env=env: env.reset(seed=0))
        assert told.startswith("RuntimeError: a process in which environments have been made must not be forked"), told
        assert "context='spawn'" in told
        env.reset(seed=0)
    told = in_a_fork(lambda: in_a_fork(lambda: one.reset(seed=0)) and one.reset(seed=0))
    assert "must not be forked" in told


@pytest.mark.filterwarnings("ignore:.*fork:RuntimeWarning", "ignore:.*fork:DeprecationWarning")
def test_a_fork_before_any_environment_was_made_is_none_to_speak_of(monkeypatch):
    monkeypatch.setattr(gymnasium_shared._Process, "made", False)
    assert in_a_fork(gymnasium_shared.check_process) == ""
    env = envs.make("pendulum")

    def makes():
        gymnasium_shared.Given(env, {}).made()
        gymnasium_shared.check_process()

    assert in_a_fork(makes) == "" and not gymnasium_shared._Process.made


@pytest.mark.slow
def test_copies_in_processes_of_their_own_step_as_one_does():
    many = gymnasium_envs.async_vector("pendulum", 2, time_limit=3)
    try:
        obs, _ = many.reset(seed=3)
        one = gymnasium_envs.GymnasiumEnv("pendulum", time_limit=3)
        np.testing.assert_array_equal(obs[0], one.reset(seed=3)[0])
        np.testing.assert_array_equal(many.step(np.stack([STEP] * 2))[0][0], one.step(STEP)[0])
    finally:
        many.close()
