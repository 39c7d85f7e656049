"""A run's id is made of what is stated: names, versions, configurations, options; not of where a file lies."""

import dataclasses
import functools
import importlib
import pickle
import sys
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.alm import figure4, figure5, figure11, figure17, table1
from experiments.alm.ablation import planned as ablation
from experiments.mbpo import figure2, figure3
from mbrl_jax.agents import redq as learners
from mbrl_jax.agents import sac as soft
from mbrl_jax.algorithms import Entry, find, redq, registry, sac
from mbrl_jax.runner.run import Run

CONFIG = sac.Config(steps=250, warmup_steps=20)
STEVE = """
from mbrl_jax.algorithms import Entry
from mbrl_jax.algorithms.sac import Config, make

ABOUT, VERSION = "Of a laboratory of its own", {version}


def preset(base):
    return Config(steps=500)


LONGER = Entry("steve_longer", 3, Config, make, preset, "As an entry")
"""


@pytest.fixture
def lab(monkeypatch, tmp_path):
    """`lab(path, source)` writes a module and forgets what was imported under its name."""

    def write(path, source):
        folder = tmp_path.joinpath(*path.split(".")[:-1])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{path.rpartition('.')[2]}.py").write_text(source)
        for name in (path, path.partition(".")[0]):
            monkeypatch.delitem(sys.modules, name, raising=False)
        importlib.invalidate_caches()
        registry.find.cache_clear()
        return path

    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # two versions within one second look alike
    monkeypatch.syspath_prepend(tmp_path)
    yield write
    registry.find.cache_clear()


def run(method: Any, config: Any = CONFIG, **options: Any) -> Run:
    return Run(experiment="t", algorithm="label", method=method, config=config, env="probe-match-v0", options=options)


def identity(one):
    return one.run_id(one.environment())


def test_moving_an_algorithm_changes_no_id(lab):
    here = identity(run(lab("mylab.steve", STEVE.format(version=1))))
    assert here == identity(run(lab("elsewhere.deep.steve", STEVE.format(version=1))))
    assert here != identity(run(lab("mylab.stella", STEVE.format(version=1)))) != identity(run("sac"))


def test_another_version_is_another_run(lab):
    first = identity(run(lab("mylab.steve", STEVE.format(version=1))))
    assert first != identity(run(lab("mylab.steve", STEVE.format(version=2))))


def test_an_entry_in_a_module_is_known_by_the_name_it_states(lab):
    one = run(lab("mylab.steve", STEVE.format(version=1)) + ":LONGER")
    assert one.entry.name == "steve_longer" and one.entry.preset("hopper").steps == 500
    assert one.identity(one.environment())["method"] == {"name": "steve_longer", "version": 3, "options": {}}
    assert identity(one) == identity(run(one.entry))


def test_options_are_part_of_the_id_and_reach_make():
    plain, changed = (
        run("redq", redq.Config(steps=250)),
        run("redq", redq.Config(steps=250), targets=learners.average_targets),
    )
    assert identity(plain) != identity(changed)
    assert identity(changed) == identity(dataclasses.replace(changed, options=dict(changed.options)))
    with pytest.raises(TypeError, match="unheard"):
        run("sac", unheard=1).build({}, run("sac").environment())


def test_what_is_bound_to_a_function_is_part_of_the_id():
    ids = [identity(run("sac", targets=functools.partial(soft.expansion, horizon=h))) for h in (1, 2, 1)]
    assert ids[0] == ids[2] != ids[1]


class Scaler:
    def __init__(self, by):
        self.by = by

    def __call__(self, x):
        return self.by * x


def closure(by):
    def inner(x):
        return by * x

    return inner


def scaled(by):
    """A decorator: what it makes has the name of what it was given."""

    def decorate(function):
        @functools.wraps(function)
        def inner(x):
            return by * function(x)

        return inner

    return decorate


def loss(x):
    return x


@scaled(2.0)
def halved(x):
    return x


NAMELESS = [
    lambda x: x,
    lambda x: 2 * x,
    closure(1.0),
    closure(2.0),
    Scaler(2.0),
    Scaler(2.0).__call__,
    scaled(2.0)(loss),
    scaled(3.0)(loss),
    functools.partial(closure(2.0), 1),
    functools.partial(loss, closure(2.0)),
    object(),
    {1: "a"},  # as text it would be another mapping's
    {"inner": [lambda x: x]},
    b"bytes",
    {1, 2},
]


@pytest.mark.parametrize("nameless", NAMELESS, ids=lambda value: type(value).__name__)
def test_what_its_content_or_name_does_not_tell_is_refused(nameless):
    with pytest.raises(ValueError, match="so that the run has an id; got") as caught:
        run("sac", targets=nameless)
    assert "\n" not in str(caught.value)


def table(change=0.0, size=100_000):
    """A long array, which a print would shorten, with one entry in the middle changed."""
    numbers = np.arange(size, dtype=np.float32)
    numbers[size // 2] += change
    return numbers


@dataclasses.dataclass(frozen=True)
class Plain:
    """An option of a user's own: equal ones are one, wherever they lie in memory."""

    rate: float = 0.1
    table: Any = (1, 2)


@pytest.mark.parametrize(
    ("one", "same", "other"),
    [
        (functools.partial(loss, table()), functools.partial(loss, table()), functools.partial(loss, table(1.0))),
        (functools.partial(loss, x=table()), functools.partial(loss, x=table()), functools.partial(loss, x=table(1.0))),
        (table(), jnp.asarray(table()), table(1.0)),
        (Plain(), Plain(), Plain(rate=0.2)),
        (Plain(table=table()), Plain(table=table()), Plain(table=table(1.0))),
        ({"a": [1, (loss,)]}, {"a": (1, [loss])}, {"a": [1, (halved,)]}),
        (loss, functools.partial(loss), halved),
        (
            functools.partial(functools.partial(loss, 1), 2),
            functools.partial(loss, 1, 2),
            functools.partial(loss, 2, 1),
        ),
        (float("nan"), np.float32("nan"), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_equal_has_one_id_and_what_differs_has_another(one, same, other):
    ids = [identity(run("sac", option=each)) for each in (one, same, other)]
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize(
    ("source", "message"),
    [("ABOUT = 'no more than this'", "lacks make, Config, preset, VERSION"), ("VARIES = 'sac'", "lacks OPTIONS")],
)
def test_a_module_that_lacks_a_name_is_told_which(lab, source, message):
    with pytest.raises(ValueError, match=f"mylab.steve {message}"):
        find(lab("mylab.steve", source))


def test_unknown_algorithms_are_told_the_nearest(lab):
    with pytest.raises(ValueError, match="did you mean 'mbpo'"):
        find("mbop")
    with pytest.raises(ValueError, match=r"module that Python finds, got 'mylab\.nowhere'"):
        find("mylab.nowhere")
    with pytest.raises(ValueError, match=r"must be an Entry in mylab\.steve, got 'mylab\.steve:make'"):
        find(lab("mylab.steve", STEVE.format(version=1)) + ":make")


def planned():
    """Runs of every kind that the artefacts plan."""
    ablations = [one.ABLATION for one in (figure5, figure17)]
    modules = (figure2, figure3, figure4, figure11, table1)
    return [*(r for m in modules for r in m.planned("laptop")), *(r for a in ablations for r in ablation(a, "laptop"))]


def test_every_planned_run_pickles_by_name():
    everything = planned()
    assert len(everything) > 20
    for one in everything:
        assert identity(pickle.loads(pickle.dumps(one))) == identity(one)


def test_no_module_is_named_in_an_identity():
    for one in planned():
        assert not [word for word in ("mbrl_jax", "experiments", " at 0x") if word in repr(_facts(one))]


def _facts(one):
    """The identity, its configuration as plain data as in the hash."""
    return {**one.identity(one.environment()), "config": dataclasses.asdict(one.config)}


def test_every_registered_algorithm_states_itself():
    for name, entry in registry.REGISTRY.items():
        assert isinstance(entry, Entry) and entry.name == name and entry.version >= 1 and entry.about
        assert isinstance(entry.preset("no such task"), entry.config)
