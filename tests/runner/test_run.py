"""What a run does besides training: refuses early, keeps what it has, isolates a diverged seed, sweeps."""

import ast
import dataclasses
import errno
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import tiny

import mbrl_jax
from mbrl_jax import results
from mbrl_jax.algorithms import REGISTRY, dam, find, sac, td3
from mbrl_jax.runner import loop, memory, program, record
from mbrl_jax.runner.run import Run, override, sweepable
from mbrl_jax.types import Algorithm, Storage

QUIET = loop.Options(batching="map", quiet=True)
BREAKS_AT = 30  # iteration


def metrics(run, root, **filters):
    frame = results.load_run(root, run.run_id(run.environment())).drop(columns="run")
    for name, value in filters.items():
        frame = frame[frame[name] == value]
    return frame.reset_index(drop=True)


def test_a_finished_run_is_not_repeated(finished, monkeypatch):
    monkeypatch.setattr(loop, "plan_run", lambda *_: pytest.fail("planned again"))
    run = tiny.run()
    assert loop.train(run, finished, QUIET) == run.run_id(run.environment())


def test_the_chunks_do_not_matter_and_sinks_get_every_evaluation(finished, tmp_path):
    seen: list[tuple[int, float]] = []

    def sink(step, means):
        return seen.append((step, means["eval/return_mean"]))

    loop.train(tiny.run(), tmp_path, QUIET._replace(chunk_seconds=1e-9, sinks=(sink,)))
    assert tiny.final_bytes(tiny.run(), tmp_path) == tiny.final_bytes(tiny.run(), finished)
    pd.testing.assert_frame_equal(metrics(tiny.run(), tmp_path), metrics(tiny.run(), finished), check_exact=True)
    stored = metrics(tiny.run(), tmp_path, metric="eval/return_mean").groupby("env_step")["value"].mean()
    assert [step for step, _ in seen] == list(stored.index) == list(range(0, 241, 40))
    np.testing.assert_allclose([mean for _, mean in seen], stored, rtol=1e-5)


def test_vmap_equals_map_after_200_updates(finished, tmp_path):
    """The probe's 240 updates; sums in another order differ in the last digits only."""
    assert tiny.CONFIG.steps * tiny.CONFIG.updates_per_step >= 200
    loop.train(tiny.run(), tmp_path, QUIET._replace(batching="vmap"))
    alone, beside = loop.final_state(tiny.run(), finished), loop.final_state(tiny.run(), tmp_path)
    for one, other in zip(jax.tree.leaves(alone.agent.params), jax.tree.leaves(beside.agent.params), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


class Tagged(NamedTuple):
    """An algorithm's state with the key it began with, and the iteration."""

    inner: Any
    tag: jax.Array
    iteration: jax.Array


def breaking(config, env, seed):
    """SAC in which one seed's temperature becomes NaN at iteration `BREAKS_AT`."""
    inner = sac.make(config, env)
    marked = jax.random.key_data(jax.random.split(jax.random.key(seed), 3)[0])

    def step(key, state):
        new, info = inner.step(key, state.inner)
        bad = (state.tag == marked).all() & (state.iteration >= BREAKS_AT)

        def spoil(x):
            return jnp.where(bad, jnp.nan, x) if jnp.issubdtype(x.dtype, jnp.floating) else x

        spoilt = new._replace(agent=jax.tree.map(spoil, new.agent))
        return Tagged(spoilt, state.tag, state.iteration + 1), info

    return Algorithm(
        lambda key: Tagged(inner.init(key), jax.random.key_data(key), jnp.zeros((), jnp.int32)),
        step,
        lambda state: inner.policy(state.inner),
        inner.env_steps,
        inner.warmup_steps,
    )


def test_a_run_may_be_evaluated_at_the_end_only(finished, tmp_path):
    late = tiny.run(eval_every=240, evaluated_untrained=False)
    loop.train(late, tmp_path, QUIET)
    found = metrics(late, tmp_path, metric="eval/return_mean")
    whole = metrics(tiny.run(), finished, metric="eval/return_mean")
    pd.testing.assert_frame_equal(found, whole[whole["env_step"] == 240].reset_index(drop=True), check_exact=True)
    assert tiny.final_bytes(late, tmp_path) == tiny.final_bytes(tiny.run(), finished)


def test_updates_are_counted_where_their_number_is_known():
    env = tiny.run().environment()

    def counted(config):
        method = type(config).__module__.rpartition(".")[2]
        one = dataclasses.replace(tiny.run(), method=method, config=config)
        schedule = record.Schedule(60, 4, 10, (60,))
        return record.manifest(one, env, sac.make(tiny.CONFIG, env), schedule, {"diverged": np.full(3, -1)}, "running")

    assert counted(tiny.CONFIG)["updates"] == 240
    assert counted(td3.Config(steps=240, steps_per_iteration=4))["updates"] == 240
    assert counted(dam.Config())["updates"] is None


def test_a_seed_that_diverges_is_frozen_alone(finished, tmp_path, capsys):
    run = tiny.run(method=find("sac")._replace(name="breaking", make=breaking), options={"seed": 0})
    identity = loop.train(run, tmp_path, QUIET)
    at = BREAKS_AT * tiny.CONFIG.steps_per_iteration
    assert results.manifest(tmp_path, identity)["diverged"] == {"SAC/0": at}
    assert f"seed 0 diverged at step {at}" in capsys.readouterr().err
    state, healthy = loop.final_state(run, tmp_path).inner, loop.final_state(tiny.run(), finished)
    for seed in (3, 7):
        place = run.seeds.index(seed)
        pd.testing.assert_frame_equal(
            metrics(run, tmp_path, seed=seed), metrics(tiny.run(), finished, seed=seed), check_exact=True
        )
        for one, other in zip(jax.tree.leaves(state.agent), jax.tree.leaves(healthy.agent), strict=True):
            np.testing.assert_array_equal(one[place], other[place])
    frozen = jax.tree.map(lambda x: x[run.seeds.index(0)], state.agent)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(frozen) if x.dtype.kind == "f")
    assert metrics(run, tmp_path, seed=0)["env_step"].max() <= at + tiny.CONFIG.steps_per_iteration


def test_lanes_of_a_sweep_equal_runs_with_that_value(finished, tmp_path):
    """A value known to the compiler and one it is handed give the same up to rounding."""
    values = (tiny.CONFIG.agent.tau, 0.02)
    run = tiny.run(sweep=(("agent.tau", values),))
    loop.train(run, tmp_path, QUIET)
    assert {lane.label for lane in run.lanes()} == {"SAC[agent.tau=0.005]", "SAC[agent.tau=0.02]"}
    state, single = loop.final_state(run, tmp_path).agent, loop.final_state(tiny.run(), finished).agent
    for one, other in zip(jax.tree.leaves(state), jax.tree.leaves(single), strict=True):
        np.testing.assert_allclose(one[:3], other, rtol=1e-5, atol=1e-5)
    other = jax.tree.leaves(jax.tree.map(lambda x: np.abs(x[:3] - x[3:]).max(), state.target))
    assert max(other) > 1e-4  # the second value does something


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_every_swept_field_may_be_traced(name):
    """What sets a shape or a branch must be marked static; anything else must trace."""
    config = REGISTRY[name].preset("pendulum")
    run = Run(experiment="t", algorithm=name, method=name, config=config, env="pendulum", seeds=(0,))
    env, names = run.environment(), sweepable(config)
    assert names

    def once(key, values):
        algorithm = run.build(values, env)
        return algorithm.step(key, algorithm.init(key))[0]

    jax.eval_shape(once, jax.random.key(0), {each: jnp.float32(0.5) for each in names})


def test_unwritable_results_are_refused_before_anything_is_planned(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "plan_run", lambda *_: pytest.fail("planned although nothing can be kept"))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="results folder must be writable"):
        loop.train(tiny.run(), tmp_path / "file" / "results", QUIET)


def test_room_for_the_checkpoints_is_required_before_compilation(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "compile_run", lambda *_: pytest.fail("compiled although there is no room"))
    free = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free._replace(free=loop.DISK_SLACK + 1))
    with pytest.raises(OSError, match="free"):
        loop.train(tiny.run(), tmp_path, QUIET)


def test_a_run_that_cannot_fit_is_refused_before_compilation(tmp_path, monkeypatch):
    huge = tiny.run(config=tiny.shorter(2 * 10**9, replay_capacity=2 * 10**9), eval_every=1000)
    with pytest.raises(MemoryError, match=r"does not fit.*At most 0 lanes would"):
        loop.train(huge, tmp_path, QUIET)
    assert not list(tmp_path.glob("runs/*/manifest.json"))


def test_the_plan_counts_the_state(finished):
    run = tiny.run()
    made = loop.plan_run(run, run.environment(), 10, QUIET)
    rows = tiny.CONFIG.replay_capacity * (2 + 1 + 3) * 4  # float32: 2 observations, action, reward, discount, truncated
    state = jax.tree.leaves(made.program.one, is_leaf=lambda node: isinstance(node, Storage))
    assert sum(memory.tree_bytes(each) for each in state if isinstance(each, Storage)) == rows
    assert made.memory.checkpoint == 3 * made.memory.per_lane == 3 * memory.tree_bytes(made.program.one)


def test_a_full_disk_stops_the_run_and_keeps_what_is_written(finished, tmp_path, monkeypatch):
    honest, written = results.write_whole, []

    def full(path, content):
        written.append(path)
        if len(written) > 8:  # the first manifest and three checkpoints' worth
            raise OSError(errno.ENOSPC, "No space left on device")
        honest(path, content)

    monkeypatch.setattr(results, "write_whole", full)
    often = QUIET._replace(chunk_seconds=1e-9, checkpoint_seconds=0.0)
    with pytest.raises(OSError, match="No space left"):
        loop.train(tiny.run(), tmp_path, often)
    monkeypatch.undo()
    identity = tiny.run().run_id(tiny.run().environment())
    facts = results.manifest(tmp_path, identity)
    assert facts["status"] == "running" and 0 < facts["env_step"] < tiny.CONFIG.steps
    loop.train(tiny.run(), tmp_path, QUIET)
    assert tiny.final_bytes(tiny.run(), tmp_path) == tiny.final_bytes(tiny.run(), finished)


def test_killed_between_the_final_state_and_the_mark_is_finished_again(finished, tmp_path, monkeypatch):
    honest = results.save
    monkeypatch.setattr(results, "save", _fails_on_the_mark(honest))
    with pytest.raises(RuntimeError, match="killed"):
        loop.train(tiny.run(), tmp_path, QUIET)
    monkeypatch.undo()
    loop.train(tiny.run(), tmp_path, QUIET)
    assert tiny.final_bytes(tiny.run(), tmp_path) == tiny.final_bytes(tiny.run(), finished)


def _fails_on_the_mark(honest):
    def save(root, run, metrics, manifest, arrays=None):
        if manifest["status"] == "finished":
            raise RuntimeError("killed")
        return honest(root, run, metrics, manifest, arrays)

    return save


def test_resized_cuts_and_repeats():
    tree = {"a": np.arange(3)}
    np.testing.assert_array_equal(program.resized(tree, 2)["a"], [0, 1])
    np.testing.assert_array_equal(program.resized(tree, 5)["a"], [0, 1, 2, 2, 2])


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"seeds": (1, 1)}, "distinct"),
        ({"eval_episodes": 0}, "eval_episodes"),
        ({"sweep": (("agent.taw", (0.1,)),)}, "did you mean 'agent.tau'"),
        ({"sweep": (("batch", (8.0,)),)}, "a hyper-parameter swept inside one program"),
        ({"sweep": (("agent.tau", (0.1, 0.1)),)}, "distinct in single precision"),
        ({"sweep": (("agent.tau", ()),)}, "at least one"),
        ({"sweep": (("agent.tau", (0.1,)), ("agent.tau", (0.2,)))}, "swept once"),
    ],
)
def test_a_run_that_makes_no_sense_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        tiny.run(**changes)


def test_override_names_the_nearest_field():
    with pytest.raises(ValueError, match="did you mean 'critic_lr'"):
        override(tiny.CONFIG, {"agent.critic_l": 0.1})
    assert override(tiny.CONFIG, {"agent.tau": 0.5}).agent == dataclasses.replace(tiny.CONFIG.agent, tau=0.5)


MESSAGES = ("local", "ray", "setting", "slurm")
"""What hands jobs to other processes, in pickles as Ray and submitit do themselves; results are never read so."""


def test_nothing_is_unpickled():
    """No module of the package imports a pickling library or lets NumPy or pandas unpickle, but for messages."""
    pickling = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    package = Path(mbrl_jax.__file__).parent
    exempt = {package / "runner" / "executors" / f"{name}.py" for name in MESSAGES}
    for path in sorted(set(package.rglob("*.py")) - exempt):
        for node in ast.walk(ast.parse(path.read_text())):
            names = {alias.name.split(".")[0] for alias in node.names} if isinstance(node, ast.Import) else set()
            names |= {(node.module or "").split(".")[0]} if isinstance(node, ast.ImportFrom) else set()
            assert not names & pickling, f"{path} imports {names & pickling}"
            if isinstance(node, ast.Attribute):
                assert node.attr not in ("read_pickle", "to_pickle"), path
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert isinstance(node.value, ast.Constant) and node.value.value is False, path
