"""Bad input of every kind that was tried: refused in one line, with the rule and the value, before anything compiles.

What looks bad and is accepted stands here too, each with its reason.
"""

import jax.numpy as jnp
import numpy as np
import pytest

from mbrl_jax.algorithms import sac
from mbrl_jax.runner.run import Run

CONFIG = sac.Config(steps=1_000)


def run(**changes):
    facts = {"experiment": "test", "algorithm": "SAC", "method": "sac", "config": CONFIG, "env": "probe-match-v0"}
    return Run(**{**facts, **changes})


def refused(message, function, *args, **kwargs):
    """Calls the function, which must refuse with one short line of this beginning."""
    with pytest.raises((ValueError, OSError)) as caught:
        function(*args, **kwargs)
    said = str(caught.value)
    assert said.startswith(message) or message in said, said
    assert "\n" not in said and len(said) < 500 and "got" in said


SEEDS = [
    (0, 1.5),
    (0.0, 1.0),
    (True, 2),
    (np.True_, 2),
    (-1, 0),
    (0, 2**32),
    (2**64,),
    (1, 1),
    (np.int64(1), 1),
    (),
    5,
    None,
    "012",
    {0, 1},
    (0, None),
    ((0, 1), (2, 3)),
    np.array([[0, 1]]),
    np.array([0.0, 1.0]),
    (float("nan"),),
    range(10**9),
    range(-2, 2),
]


@pytest.mark.parametrize("seeds", SEEDS, ids=repr)
def test_seeds_that_are_not_distinct_whole_numbers_are_refused(seeds):
    refused("seeds must be a sequence of 1 to 1,048,576 distinct whole numbers in [0, 2**32)", run, seeds=seeds)


@pytest.mark.parametrize(
    "seeds", [range(3), [0, 1, 2], np.arange(3), np.arange(3, dtype=np.uint8), jnp.arange(3), tuple(np.arange(3))]
)
def test_any_sequence_of_whole_numbers_is_seeds_and_makes_the_same_run(seeds):
    given, plain = run(seeds=seeds), run(seeds=(0, 1, 2))
    assert given.seeds == (0, 1, 2) and {type(seed) for seed in given.seeds} == {int}
    assert given == plain and given.run_id(given.environment()) == plain.run_id(plain.environment())


def test_the_largest_seed_is_accepted():
    assert run(seeds=(2**32 - 1,)).lanes()[0].seed == 2**32 - 1
