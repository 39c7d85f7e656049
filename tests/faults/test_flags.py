"""Training under JAX's own switches: strict promotions make no difference; without compiling it is refused at once."""

import distrax
import jax
import jax.numpy as jnp
import optax
import pytest

from mbrl_jax import cli
from mbrl_jax.agents import sac as soft
from mbrl_jax.algorithms import sac
from mbrl_jax.runner import loop, setup
from mbrl_jax.runner.run import Run
from mbrl_jax.runner.seeds import over_seeds

RULE = "training needs JAX to compile, so JAX_DISABLE_JIT must be unset or 0"


def small() -> Run:
    agent = soft.Config(hidden=(8,))
    config = sac.Config(steps=16, warmup_steps=20, steps_per_iteration=4, batch=8, replay_capacity=30, agent=agent)
    facts = {"experiment": "faults", "algorithm": "SAC", "method": "sac", "config": config, "env": "probe-match-v0"}
    return Run(**facts, seeds=(0,), eval_every=16, eval_episodes=2)


@pytest.mark.usefixtures("as_installed")
def test_a_run_is_trained_where_promotions_are_refused(tmp_path):
    """`JAX_NUMPY_RANK_PROMOTION=raise`, `JAX_NUMPY_DTYPE_PROMOTION=strict`; other packages are as installed."""
    loop.train(small(), tmp_path, loop.Options(quiet=True))
    with pytest.raises((ValueError, TypeError), match="promotion"):
        optax.adam(1e-3).update(jnp.ones(2), optax.adam(1e-3).init(jnp.ones(2)))
    with pytest.raises((ValueError, TypeError), match="promotion"):
        parts = distrax.Normal(jnp.zeros(3), jnp.ones(3))
        distrax.MixtureSameFamily(distrax.Categorical(jnp.zeros(3)), parts).log_prob(jnp.zeros(5))


def test_without_compiling_nothing_is_begun(tmp_path):
    with jax.disable_jit():
        for call in (
            lambda: loop.train(small(), tmp_path),
            lambda: loop.plan_run(small(), small().environment(), 1, loop.Options()),
            lambda: over_seeds(lambda key: key, (0,)),
        ):
            with pytest.raises(ValueError, match=RULE):
                call()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [("train", "sac", "--env", "pendulum"), ("sweep", "plan", "x.toml"), ("bench",)])
def test_the_command_line_says_so_in_one_line(words, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(setup, "configure", lambda cpu_devices=None: None)
    monkeypatch.setenv("JAX_DISABLE_JIT", "1")
    monkeypatch.chdir(tmp_path)
    with jax.disable_jit(), pytest.raises(SystemExit) as stopped:
        cli.main(words)
    said = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 2 and said[0].startswith(f"mbrl {words[0]}: {RULE}") and said[0].endswith("got 1")
    assert len(said) == 2 and not list(tmp_path.iterdir())
