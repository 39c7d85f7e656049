"""The tabular artefacts reproduce what the authors' released notebook computes, and do what they say they do."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import exact
from experiments.mao import grid
from experiments.mnm import (
    figure2a_left,
    figure2a_right,
    figure2b,
    figure3a,
    figure3b,
    figure13,
    table1,
    worlds,
)
from mbrl_jax import report, results, tabular
from mbrl_jax.algorithms.tabular import exploration, mao
from mbrl_jax.objectives.ratios import Terms
from mbrl_jax.runner import work


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """Results of every exact artefact, run once."""
    root = tmp_path_factory.mktemp("results")
    found = {}
    for module in (figure3a, figure3b, figure2b, figure2a_right):
        work.perform(module.ARTEFACT.jobs("laptop"), root)
        found[module.NAME] = results.load(root, experiment=module.NAME)
    return found


def verdicts(module, frame):
    return {claim.text: report.judge(claim, frame).verdict for claim in module.ARTEFACT.claims}


def test_figure_3a_gives_the_reference_returns(frames):
    frame = frames[figure3a.NAME]
    for name, value in {"Q-learning": 451.0, "MnM": 451.0, "VMBPO": 320.36}.items():
        assert abs(exact.pick(frame, figure3a.NAME, "return", name).iloc[0, 0] - value) < 0.5
    assert set(verdicts(figure3a, frame).values()) == {"HOLDS"}


def test_figure_3b_converges_to_the_reference_values(frames):
    frame = frames[figure3b.NAME]
    for metric, value in figure3b.REFERENCE.items():
        curve = exact.pick(frame, figure3b.NAME, metric, "MnM").to_numpy()[0]
        assert curve.size == 20
        assert abs(curve[-1] - value) < 0.005, metric
    assert set(verdicts(figure3b, frame).values()) == {"HOLDS"}


def test_figure_2b_needs_the_classifier(frames):
    assert set(verdicts(figure2b, frames[figure2b.NAME]).values()) == {"HOLDS"}


def test_every_exact_artefact_can_be_drawn_and_is_not_run_twice(frames, tmp_path, capsys):
    for module in (figure3a, figure3b, figure2b, figure2a_right):
        assert len(module.ARTEFACT.blocks(frames[module.NAME])) >= 2
    for profile in ("laptop", "paper"):
        work.perform(figure3a.ARTEFACT.jobs(profile), tmp_path)
    assert capsys.readouterr().err.count("compile") == 1
    with pytest.raises(ValueError, match="profile"):
        figure3a.ARTEFACT.jobs("latop")


def test_the_optimum_of_figure_2a():
    with jax.enable_x64(True):
        best = tabular.value_iteration(worlds.navigation().mdp).value[0]
        assert abs(best - 1.3875) < 1e-4
        uniform = tabular.state_value(worlds.navigation().mdp, jnp.full((100, 4), 0.25))[0]
        assert abs(uniform - 0.0101) < 1e-4


def learn_from_stored_transitions(config, world, key, switches):
    """The authors' procedure, step by step, with every transition kept; same random numbers."""
    log, classifier, optimistic = switches
    reached, choice, reward = world.reached, world.choice, np.asarray(world.mdp.reward)
    step = np.asarray(world.mdp.transition)
    values, stored, returns = np.zeros_like(reward), [], []
    for episode in range(config.iterations + 1):
        best = values.max(axis=1)
        tilted = choice * np.exp(best[reached])[:, None]
        tilted /= tilted.sum(-1, keepdims=True)
        gap = (tilted * (np.log(tilted) - np.log(choice))).sum(-1)
        gain = (0.1 * np.log(reward) if log else reward) - (gap if classifier else 0)
        policy = np.full_like(reward, config.epsilon / 4 if episode else 0.25)
        if episode:
            policy[np.arange(100), values.argmax(1)] += 1 - config.epsilon
        table = np.cumsum((policy[:, :, None] * (tilted if optimistic else choice)).reshape(100, 16), axis=1)
        draws = jax.random.uniform(jax.random.fold_in(key, episode), (config.episode_steps,), jnp.float64)
        state = 0
        for draw in np.asarray(draws):
            pick = min(int((draw * table[state, -1] >= table[state]).sum()), 15)
            action, after = pick // 4, reached[state, pick % 4]
            stored.append((state, action, gain[state, action], after))
            state = after
        s, a, r, n = (np.array(column) for column in zip(*stored, strict=True))
        change = config.learning_rate * (r + 0.9 * best[n] - values[s, a]) / config.episode_steps
        np.add.at(values, (s, a), change)
        if episode % config.eval_every == 0:
            walk = step[np.arange(100), values.argmax(1)]
            gains = reward[np.arange(100), values.argmax(1)]
            returns.append(np.linalg.solve(np.eye(100) - 0.9 * walk, gains)[0])
    return np.array(returns)


@pytest.mark.parametrize("name", ["Q-learning", "MnM"])
def test_learning_from_counts_equals_learning_from_stored_transitions(name):
    config = exploration.Config(iterations=40, eval_every=10, episode_steps=60, learning_rate=0.2)
    switches = figure2a_left.METHODS[name]
    with jax.enable_x64(True):
        world = worlds.navigation((1, 2))
        key = jax.random.key(3)
        lane = exploration.Lane(key, Terms(*map(jnp.asarray, switches)), jnp.asarray(world.choice), world.mdp.reward)
        found = jax.jit(lambda lane: exploration.learn(config, world, lane))(lane)
        expected = learn_from_stored_transitions(config, world, key, switches)
    assert np.ptp(expected) > 1  # the policies differ, so the comparison says something
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_table_1_on_a_few_mdps(tmp_path):
    work.perform(table1.ARTEFACT.jobs("smoke"), tmp_path)
    frame = results.load(tmp_path, experiment=table1.NAME)
    assert set(verdicts(table1, frame).values()) == {"HOLDS"}
    assert len(table1.ARTEFACT.claims) == 16


def test_transferred_dynamics_are_distributions_over_moves():
    with jax.enable_x64(True):
        moves = figure13._learned_moves(worlds.navigation())
        np.testing.assert_allclose(moves.sum(-1), 1.0, rtol=1e-9)
        assert np.abs(moves - worlds.navigation().choice).max() > 0.05


def test_the_grid_of_mao_pays_one_for_the_way_and_a_decaying_bonus():
    world = grid.make(8)
    path = [0, 1, 2, 3, 4, 5, 11, 17, 23, 29, 35]
    np.testing.assert_allclose(sum(world.gain[a, b] for a, b in itertools.pairwise(path)), 1.0, rtol=1e-6)
    assert world.goal == 35 and world.max_steps == 256
    assert set(mao.LOSSES) == {"MA Direct L1", "MA Direct L2", "MA Upper Bound L1", "VAML L2", "MLE"}
