"""Sweep files: what they mean, what they refuse, and how a plan is shared out."""

from pathlib import Path

import pytest

from mbrl_jax.runner import sweep

EXAMPLES = sorted((Path(__file__).parents[2] / "experiments" / "sweeps").glob("*.toml"))
FILE = """
algorithms = ["sac", "mbpo"]
envs = ["pendulum", "hopper-v4"]
seeds = [4, 2]
[set]
steps = 5000
agent.hidden = [32, 32]
[sweep]
agent.tau = [0.005, 0.01]
batch = [64, 128]
[mbpo.sweep]
agent.target_entropy = [-1, -2.0, -3.0]
"""


def write(tmp_path, text):
    (tmp_path / "example.toml").write_text(text)
    return tmp_path / "example.toml"


def test_shapes_make_blocks_and_continuous_values_share_one(tmp_path):
    planned = sweep.blocks(sweep.read(write(tmp_path, FILE)))
    assert [(block.run.algorithm, block.run.env) for block in planned] == [
        (f"{algorithm}[batch={batch}]", env)
        for algorithm in ("sac", "mbpo")
        for env in ("pendulum-v1", "hopper-v4")
        for batch in (64, 128)
    ]
    sac, mbpo = planned[0].run, planned[-1].run
    assert sac.experiment == "sweep/example" and sac.seeds == (4, 2)
    assert sac.config.steps == 5000 and sac.config.agent.hidden == (32, 32) and sac.config.batch == 64
    assert sac.sweep == (("agent.tau", (0.005, 0.01)),) and len(sac.lanes()) == 4
    assert mbpo.sweep == (("agent.tau", (0.005, 0.01)), ("agent.target_entropy", (-1.0, -2.0, -3.0)))
    assert len(mbpo.lanes()) == 12 and mbpo.config.batch == 128
    assert mbpo.config.rollout_schedule == (20, 150, 1, 15)  # the preset of the task
    assert len({block.identity for block in planned}) == len(planned)


def test_the_plan_is_the_same_every_time_and_shards_make_up_the_whole(tmp_path):
    path = write(tmp_path, FILE)
    first, again = sweep.blocks(sweep.read(path)), sweep.blocks(sweep.read(path))
    assert [block.identity for block in first] == [block.identity for block in again]
    shares = [sweep.shard(first, f"{i}/3") for i in (1, 2, 3)]
    assert sorted(b.identity for share in shares for b in share) == sorted(b.identity for b in first)
    assert sweep.shard(first, None) == first


def test_large_blocks_are_split_by_their_seeds(tmp_path):
    text = FILE.replace("seeds = [4, 2]", "seeds = 5\nmax_lanes = 4").replace("[mbpo.sweep]\nagent.target", "# ")
    planned = sweep.blocks(sweep.read(write(tmp_path, text)))
    assert [block.run.seeds for block in planned[:3]] == [(0, 1), (2, 3), (4,)]


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("seeds =", "seds =", "did you mean 'seeds'"),
        ('"sac", ', '"sacc", ', "did you mean 'sac'"),
        ('"pendulum"', '"pendulun"', "did you mean 'pendulum'"),
        ("agent.tau", "agent.taw", "did you mean 'agent.tau'"),
        ("agent.hidden", "agnt.hidden", "did you mean 'agent'"),
        ("agent.hidden = [32, 32]", "agent = 3", "group of hyper-parameters"),
        ("steps = 5000", "steps = 5000.5", "steps must be like its default"),
        ("steps = 5000", "steps = 5001", "steps must be a positive multiple"),
        ("agent.tau = [0.005, 0.01]", "agent.tau = 0.005", "list of at least one value"),
        ("[mbpo.sweep]", "[mbpo.swep]", "did you mean 'sweep'"),
        ("[mbpo.sweep]", "[mbpo.sweep]\nsteps = [1000]", "either set or swept"),
        ('"sac", "mbpo"', '"sac"', r"\[mbpo\] needs 'mbpo' among the algorithms"),
        ("seeds = [4, 2]", "seeds = 0", "seeds must be a number from 1 to 1,048,576"),
        ("seeds = [4, 2]", "eval_every = 0", "eval_every must be a whole number from 1"),
        ("seeds = [4, 2]", "eval_every = 100", "eval_every must be a multiple"),
        ("seeds = [4, 2]", "seeds = ", "must be a TOML file"),
    ],
)
def test_what_is_wrong_in_a_file_is_said_before_any_work(tmp_path, old, new, message):
    assert old in FILE
    with pytest.raises(ValueError, match=message):
        sweep.read(write(tmp_path, FILE.replace(old, new)))


@pytest.mark.parametrize("which", ["0/2", "3/2", "1", "a/b"])
def test_a_shard_is_i_of_n(which):
    with pytest.raises(ValueError, match="1 <= i <= N"):
        sweep.shard([], which)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_can_be_planned(path):
    assert len(EXAMPLES) >= 2
    assert sweep.blocks(sweep.read(path))
