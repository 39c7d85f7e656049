"""The precision of products is the run's: in its program, in its id where it is not the usual one, in its manifest."""

import re

import jax
import numpy as np
import pytest
import tiny

from mbrl_jax.runner import loop, program, record
from mbrl_jax.runner.precision import DEVICES, at_precision, check_precision
from mbrl_jax.runner.sweep import blocks, read

AS_LOWERED = {"float32": "HIGHEST", "tensorfloat32": "HIGH", "bfloat16": "DEFAULT"}
"""XLA's names: a GPU rounds what is not the highest to TF32, a TPU the lowest to bfloat16."""


def precisions(run, set_by_the_caller):
    """Those of all products in the programs that the runner would compile for a run."""
    with jax.default_matmul_precision(set_by_the_caller):
        made = program.make(
            lambda values: run.build(values, run.environment()),
            run.environment(),
            program.lanes_of((0, 1), {}, 2),
            episodes=1,
            length=2,
            precision=run.precision,
        )
        lanes = jax.eval_shape(lambda: program.lanes_of((0, 1), {}, 2))
        carry, at = program.shapes_of(made.one, 2), jax.ShapeDtypeStruct((), np.int32)
        texts = [
            jax.jit(made.advance).lower(lanes, carry, at, at).as_text(),
            jax.jit(made.evaluate).lower(lanes, carry, at).as_text(),
        ]
    named = [re.findall(r"dot_general.*precision = \[(\w+), (\w+)\]", text) for text in texts]
    assert [len(found) for found in named] == [text.count("stablehlo.dot_general") for text in texts]
    assert all(named)
    return {one for found in named for pair in found for one in pair}


@pytest.mark.parametrize("precision", list(DEVICES))
def test_the_manifest_says_what_the_program_does_whatever_the_process_is_set_to(precision):
    run = tiny.run(precision=precision)
    assert record.facts(run, run.environment())["precision"] == precision
    assert precisions(run, "float32" if precision == "bfloat16" else "bfloat16") == {AS_LOWERED[precision]}


def test_only_another_than_the_usual_precision_is_part_of_the_id():
    env = tiny.run().environment()
    ids = {precision: tiny.run(precision=precision).run_id(env) for precision in DEVICES}
    assert len(set(ids.values())) == len(ids)
    assert "precision" not in tiny.run().identity(env)
    assert tiny.run(precision="bfloat16").identity(env)["precision"] == "bfloat16"


def test_a_device_is_not_asked_for_what_it_does_not_compute_in(tmp_path):
    for precision in ("tensorfloat32", "bfloat16"):
        with pytest.raises(ValueError, match=f"products on cpu must be float32, got '{precision}'"):
            loop.train(tiny.run(precision=precision), tmp_path, loop.Options(quiet=True))
    assert not list(tmp_path.glob("runs/*/manifest.json"))
    check_precision("float32", jax.devices()[0])
    with pytest.raises(ValueError, match="precision must be one of 'float32', 'tensorfloat32', 'bfloat16', got 'fast'"):
        tiny.run(precision="fast")


def test_a_sweep_states_it_too(tmp_path):
    file = tmp_path / "one.toml"
    file.write_text('algorithms = ["sac"]\nenvs = ["pendulum"]\nprecision = "bfloat16"\n')
    assert [run.precision for run, _ in blocks(read(file))] == ["bfloat16"]


def test_on_a_cpu_products_are_the_same_bits_whatever_is_asked():
    """Which is why stored results keep their ids."""
    a, b = (jax.random.normal(jax.random.key(i), (300, 300)) for i in range(2))
    found = [jax.jit(at_precision(each, lambda x, y: (x @ y).sum(axis=0)))(a, b) for each in DEVICES]
    for one in found[1:]:
        np.testing.assert_array_equal(one, found[0])
