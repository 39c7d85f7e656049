"""The benchmarks' own arithmetic, and that what they time is what they say; nothing here measures speed."""

import io
import json
import math
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import alm, baselines, common, robots, slbo, workloads
from benchmarks import dam as dam_benchmark
from benchmarks import envs as env_benchmark
from benchmarks.peers import compare, serve
from mbrl_jax import envs
from mbrl_jax.agents import sac
from mbrl_jax.agents.latent.networks import Config
from mbrl_jax.algorithms import dam, mnm
from mbrl_jax.algorithms import slbo as slbo_algorithm
from mbrl_jax.envs.mujoco_robots import ROBOT_TASKS
from mbrl_jax.models import adversarial
from mbrl_jax.runner import program
from mbrl_jax.testing.programs import trace

TINY = workloads.Sizes(hidden=(8, 8), model_hidden=(8, 8), members=2, batch=8, rollout_batch=16)
TINY_MNM = replace(
    mnm.small("hopper"),
    batch=8,
    model=adversarial.Config(members=2, hidden=(8, 8), classifier_hidden=(8, 8), reward_hidden=(8, 8)),
    agent=sac.Config(hidden=(8, 8)),
)


def test_spread_is_median_and_quartiles():
    assert common.spread([5.0, 1.0, 4.0, 2.0, 3.0]) == {"median": 3.0, "low": 2.0, "high": 4.0, "count": 5}
    assert common.spread([7.0]) == {"median": 7.0, "low": 7.0, "high": 7.0, "count": 1}


def test_blocks_are_measured_in_turn_after_one_that_does_not_count():
    calls = []
    samples = common.in_turn({name: lambda name=name: calls.append(name) for name in "ab"}, rounds=2)
    assert "".join(calls) == "ab" + "abab"
    assert {name: len(values) for name, values in samples.items()} == {"a": 2, "b": 2}


def test_peak_is_the_best_probe_by_its_median():
    probes = {"one": (lambda: None, 2e9), "all": (lambda: None, 6e9)}
    rates = common.matmul_peak({"one": [1.0, 1.0, 50.0], "all": [2.0, 2.0, 0.1]}, probes)
    assert rates == {"one": 2.0, "all": 3.0, "peak": 3.0}


def test_machines_have_file_names_of_their_own():
    facts = {"cpu": "AMD EPYC (tm)", "cores": 2, "devices": ["cpu: cpu", "cpu: cpu"]}
    assert common.slug(facts) == "amd-epyc-tm-2-cores"
    assert common.slug({**facts, "devices": ["gpu: NVIDIA H200"]}) == "amd-epyc-tm-2-cores-1x-nvidia-h200"


def test_flops_of_an_update_are_those_of_its_matrix_products():
    # Per row: actor forward twice and backward once; critics forward three times, backward by weights, and by inputs.
    sizes = workloads.Sizes(hidden=(64, 64), batch=32)
    inner, wide = 64 * 64, 2 * 64
    actor = 11 * 64 + inner + 64 * 6
    critic = 2 * (14 * 64 + inner + 64)
    backward = (actor + inner + 64 * 6) + (critic + 2 * (inner + 64)) + critic
    products = 2 * 32 * (2 * actor + 3 * critic + backward)
    found = workloads.sac_flops(sizes)
    assert found == pytest.approx(products, rel=0.12)
    assert found > products - 2 * 32 * wide * 14


def test_a_block_runs_the_updates_it_says_and_keeps_the_state():
    work = workloads.sac_update(TINY, updates=3)
    state = work.algorithm.init(jax.random.key(0))
    (agent, _), info = jax.jit(work.algorithm.step)(jax.random.key(1), state)
    assert isinstance(agent, sac.State)
    assert int(agent.opt[0].count) == work.units == 3
    assert jax.numpy.isfinite(info["sac/critic_loss"])


@pytest.mark.parametrize(
    "work",
    [
        lambda: workloads.sac_update(TINY, 1),
        lambda: workloads.ensemble_step(TINY, 5),
        lambda: workloads.model_rollout(replace(TINY, rollout_batch=8)),
        lambda: workloads.whole_mbpo(replace(TINY, rollout_batch=1000)),
        workloads.planner,
        workloads.ppo_iteration,
        pytest.param(lambda: workloads.mnm_update(TINY_MNM, 1), marks=pytest.mark.slow),
    ],
    ids=("sac", "ensemble", "rollout", "mbpo", "planner", "ppo", "mnm"),
)
def test_the_runners_program_takes_every_workload(work):
    """Evaluation is a part of it, so the environment must be one that the workload's policy can act in."""
    made, wanted = work(), program.lanes_of(range(1), {}, 1)
    env, devices = envs.make(made.env), jax.local_devices()[:1]
    given = {"episodes": 1, "length": 1, "batching": "map", "devices": devices}
    whole = program.make(lambda _: made.algorithm, env, wanted, **given)
    assert whole.lanes == 1 and made.units > 0


@pytest.mark.parametrize(
    ("name", "each"), [("sac", (1,)), ("td3", ()), ("redq", ()), ("sac, 10 critics", (1,)), ("sac_svg", (1,))]
)
def test_the_learners_that_are_compared_take_the_batches_they_are_given(name, each):
    """What a call reports is a number for each of its batches, of which it has one; TD3 and REDQ sum theirs up."""
    case = baselines.cases(TINY, quick=True)[name]
    key = jax.random.key(0)
    before = jax.eval_shape(case.learner.init, key)
    stored = jax.eval_shape(lambda k: workloads.filled(k, TINY.spec), key)
    after, info = jax.eval_shape(baselines.calls(case, TINY), key, before, stored)
    assert jax.tree.structure(before) == jax.tree.structure(after)
    assert all(leaf.shape == (case.calls, *each) for leaf in info.values())


def test_a_fit_takes_the_gradient_steps_it_says():
    work = workloads.ensemble_step(TINY, steps=5)
    state = work.algorithm.init(jax.random.key(0))
    (fitted, _), info = jax.jit(work.algorithm.step)(jax.random.key(1), state)
    assert int(fitted.opt[0].count) == work.units == 5
    assert int(info["model/train_size"]) == 5 * TINY.batch
    with pytest.raises(ValueError, match="at least 4 gradient steps, got 3"):
        workloads.ensemble_step(TINY, steps=3)


def test_workers_answer_with_seconds_per_unit(monkeypatch):
    answers = io.StringIO()
    monkeypatch.setattr(serve.os, "dup", lambda _: -1)
    monkeypatch.setattr(serve.os, "fdopen", lambda *_: answers)
    monkeypatch.setattr(serve.os, "dup2", lambda *_: None)
    monkeypatch.setattr(sys, "stdin", io.StringIO("a\na\n"))
    times = iter([0.0, 8.0, 10.0, 14.0])
    monkeypatch.setattr(serve.time, "perf_counter", lambda: next(times))
    calls = []
    serve.serve("peer", ("jax",), {"a": lambda: calls.append(1) or 4})
    hello, first, second = map(json.loads, answers.getvalue().splitlines())
    assert hello == {"name": "peer", "versions": {"jax": jax.__version__}, "cases": ["a"]}
    assert (first["seconds"], second["seconds"], len(calls)) == (2.0, 1.0, 3)


def test_ratios_pair_the_rounds():
    found = {"mbrl_jax": [1.0, 2.0, 4.0], "peer": [2.0, 4.0, 8.0], "matmul": [1.0, 1.0, 1.0]}
    assert compare.ratios(found) == {"peer / mbrl_jax": {"median": 2.0, "low": 2.0, "high": 2.0, "count": 3}}


def test_environment_roll_outs_step_and_reset_as_they_say():
    """Five copies of a probe whose episodes last five steps: after seven steps, two into the second episode."""
    env = envs.make("probe-termination-v0")
    run = env_benchmark.roll_out(env, 5, 7)
    assert run is env_benchmark.roll_out(env, 5, 7), "what was timed must be what is compared"
    first = jax.vmap(env.reset)(jax.random.split(jax.random.key(0), 5))
    states, rewards = run(jax.random.key(0), first, True)
    np.testing.assert_array_equal(states.t, jnp.full(5, 2))
    np.testing.assert_array_equal(run(jax.random.key(0), first, False)[0].t, jnp.full(5, 7))
    assert rewards.shape == (7,)
    side = env_benchmark.ours(env, 5, 0.001, 7)
    assert side.run() > 0 and side.compilations() == 1


@pytest.mark.slow
def test_errors_of_mjx_are_those_of_states_that_random_actions_visit_without_a_reset_in_between():
    found = env_benchmark.accuracy("inverted_pendulum-v4", batch=8, sets=2)
    assert set(found) == {"steps into the episode", "mjx", "mjx-default"}
    assert 0 < found["steps into the episode"]["median"] < 32  # a pole falls in less
    for label in ("mjx", "mjx-default"):
        assert 0 < found[label]["median"] <= found[label]["99 %"] <= found[label]["largest"] < 1e-4


def test_ratios_of_speed_pair_the_rounds_and_are_above_one_where_the_first_is_faster():
    found = env_benchmark.ratios({"mujoco": [1.0, 2.0, 1.0], "gymnasium sync": [3.0, 6.0, 3.0], "other": [0.5, 1, 0.5]})
    assert found["mujoco / gymnasium sync"]["median"] == 3.0
    assert found["mujoco / other"]["median"] == 0.5


def test_what_is_required_of_environments_is_measured_first():
    jobs = env_benchmark.plan(env_benchmark.TASKS, env_benchmark.MJX_TASKS)
    wanted = [
        job for job in jobs if ("gymnasium sync" in job.labels and job.batch == 64) or "mjx-default" in job.labels
    ]
    assert jobs[: len(wanted)] == wanted and len(wanted) == 13
    assert {job.batch for job in jobs if job.labels == ("mujoco",) or "mjx" in job.labels} == {1, 64, 1024}


def test_measurements_that_would_wait_for_ever_are_left_out():
    """MJX in large batches on a CPU before jaxlib 0.12, and nothing else."""
    jobs = env_benchmark.plan(env_benchmark.TASKS, env_benchmark.MJX_TASKS)
    out = [job for job in jobs if env_benchmark.left_out(job, "cpu", "0.10.2")]
    assert out == [env_benchmark.Job(task, 1024, ("mjx",)) for task in env_benchmark.MJX_TASKS]
    for backend, version in (("cpu", "0.12.0"), ("cpu", "0.12.0.1"), ("gpu", "0.10.2")):
        assert not any(env_benchmark.left_out(job, backend, version) for job in jobs)


def test_what_is_left_out_is_listed_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(env_benchmark, "left_out", lambda job, backend, version: f"no {job.batch} on {backend}")
    path = env_benchmark.main(["--tasks", "hopper", "--mjx-tasks", "--out", str(tmp_path)])
    found = json.loads(path.read_text())
    assert not found["measurements"] and len(found["skipped"]) == 3
    first = {"task": "hopper-v4", "batch": 64, "labels": ["mujoco", "gymnasium sync", "gymnasium async"]}
    assert found["skipped"][0] == {**first, "reason": "no 64 on cpu"}


HLO = """
  %p = f32[6,8]{1,0} parameter(0)
  %w.1 = f32[8,5]{1,0} parameter(1)
  %dot.2 = f32[6,5]{1,0} dot(%p, %w.1), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  ROOT %dot.3 = f32[8,5]{1,0} dot(f32[6,8]{1,0} %p, f32[6,5]{1,0} %dot.2), lhs_contracting_dims={0}
"""


def test_products_are_counted_in_a_programs_text():
    assert workloads.product_cost(HLO) == 2 * 6 * 5 * 8 + 2 * 8 * 5 * 6


def test_alms_update_computes_no_product_that_the_count_by_hand_has_not():
    config = Config(latent_dim=6, hidden=(24, 16), model_hidden=(40,), classifier_hidden=(16,))
    fn, args = alm.example(config, TINY.spec, 8)
    found = 0
    for product in [e for e in trace(fn, *args) if e.primitive.name == "dot_general"]:
        ((over, _), _), of = product.params["dimension_numbers"], product.invars[0].aval.shape
        found += 2 * math.prod([*product.outvars[0].aval.shape, *(of[axis] for axis in over)])
    assert found == alm.matmul_flops(config, TINY.spec, 8)


def test_planner_evaluations_are_the_model_steps_of_a_decision():
    random = dam.Planning(sequences=48, particles=20, horizon=5)
    assert dam_benchmark.evaluations(random, 3) == 48 * 20 * 4
    assert dam_benchmark.evaluations(replace(random, search="exhaustive"), 3) == (3 + 9 + 27 + 81) * 20


def test_the_parts_of_a_stage_of_slbo_are_what_a_stage_has():
    config = slbo_algorithm.preset(slbo.ENV)
    small = replace(config.model, hidden=(8,))
    config = replace(config, model=small, model_updates=3, policy_batch=200, iterations=2, policy_updates=2)
    found = slbo.parts(config)
    assert {name: (part.units, part.per_stage) for name, part in found.items()} == {
        "model updates": (3, 6),
        "imagined steps": (200, 800),
        "trust-region steps": (1, 4),
    }
    weights = 8 * (4 + 1) + 3 * (8 + 1)  # three observations and an action; biases
    assert found["imagined steps"].flops == 2 * weights
    assert found["model updates"].flops == 6 * 2 * 128 * weights


def test_robots_are_compared_by_steps_of_the_tasks_own():
    """The first step of screwing with full actions, as measured on the original."""
    task = ROBOT_TASKS["dclaw_screw_fixed-v0"]
    path = robots.play(task, robots.ours(task.model), 0, lambda t, obs: np.ones(9), 1)
    np.testing.assert_allclose(path.qpos[0, :9], np.tile([0.1852, -0.8246, 1.2367], 3), atol=3e-4)
    assert path.reward[0] == pytest.approx(56.5491, abs=1e-3)


@pytest.mark.slow
def test_flops_of_an_update_of_mnm_are_those_that_were_counted_by_hand():
    """Model 8.2, classifier 5.0, SAC .57 GFLOP at the paper's sizes, reward network and roll-out not among them."""
    assert workloads.mnm_flops(mnm.preset("hopper")) == pytest.approx(13.8e9, rel=0.05)
