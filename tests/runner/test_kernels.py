"""What a program launches, counted from XLA's text: on texts written by hand and on a program of our own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from mbrl_jax.runner import kernels, loop, lowering, memory, offline, targets

TEXT = """
HloModule jit_f

%body (p: (s32[], f32[4]{0})) -> (s32[], f32[4]{0}) {
  %p = (s32[], /*index=1*/f32[4]{0}) parameter(0)
  %x = f32[4]{0} get-tuple-element(%p), index=1
  %a = f32[4]{0:T(256)} fusion(%x), kind=kLoop, calls=%fused, metadata={op_name="jit(f)/mbrl.updates/vmap(mbrl.acting)/add"}
  %b = f32[4]{0} copy(%a)
  ROOT %t = (s32[], f32[4]{0}) tuple(%i, %b)
}

%open (p: (s32[], f32[4]{0})) -> (s32[], f32[4]{0}) {
  %w = (s32[], f32[4]{0}) while(%p), condition=%c, body=%body, backend_config={"known_trip_count":{"n":"5"}}
  %c = f32[] custom-call(%w), custom_call_target="library"
  ROOT %t = (s32[], f32[4]{0}) tuple(%i, %c)
}

%graph (p: f32[]) -> f32[] {
  ROOT %d = f32[] fusion(%p), kind=kLoop, calls=%fused
}

%iteration (p: (s32[], f32[4]{0})) -> (s32[], f32[4]{0}) {
  %w = (s32[], f32[4]{0}) while(%p), condition=%c, body=%open, metadata={op_name="jit(f)/mbrl.preparing/while"}
  %v = (s32[], f32[4]{0}) while(%w), condition=%c, body=%body, metadata={op_name="jit(f)/mbrl.updates/while"}, backend_config={"known_trip_count":{"n":"20"},"other":1}
  %g = f32[] call(%v), to_apply=%graph
  ROOT %t = (s32[], f32[4]{0}) tuple(%g)
}

ENTRY %main (p: f32[4]{0}) -> f32[4]{0} {
  %p = f32[4]{0} parameter(0)
  %w = (s32[], f32[4]{0}) while(%p), condition=%c, body=%iteration
  ROOT %r = f32[4]{0} get-tuple-element(%w), index=1
}
"""  # noqa: E501


def test_operations_are_counted_by_loop_and_part():
    one = kernels.iteration(kernels.loops(TEXT))
    assert [(loop.trips, loop.part) for loop in one.inner] == [(None, "preparing"), (20, "updates")]
    assert one.own == {"rest": 1, "preparing": 1, "updates": 1}  # the graph's, and the tests of two loops
    assert kernels.total(one) == 3 + (2 + 5 * 2) + 20 * 2
    found = kernels.count(one, env_steps=2)
    assert found.known == {"rest": 0.5, "preparing": 0.5, "updates": (1 + 20) / 2, "acting": 20 / 2}
    assert found.open == {"preparing": [(2 + 5 * 2, 0.5)]}
    text = list(kernels.described(found))
    assert [line.split()[0] for line in text] == ["acting", "updates", "preparing", "rest"]
    assert text[2].endswith("0.5  + loops: 12 a pass, begun 0.5 times")


TPU = (
    TEXT.replace(""", backend_config={"known_trip_count":{"n":"5"}}""", "").replace(
        "%w = (s32[], f32[4]{0}) while(%p), condition=%c, body=%body",
        "%w = (s32[], f32[4]{0}) while(%p), condition=%five, body=%body",
    )
    + """
%five (p: (s32[], f32[4])) -> pred[] {
  %p = (s32[]{:T(128)}, f32[4]{0:T(128)S(1)}) parameter(0)
  %constant.1 = s32[]{:T(128)} constant(5)
  %get-tuple-element.2 = s32[]{:T(128)} get-tuple-element(%p), index=0
  ROOT %lt.14 = pred[]{:T(512)} compare(%get-tuple-element.2, %constant.1), direction=LT, metadata={op_name="jit(f)/lt"}
}
"""
)


def test_the_length_of_a_loop_is_read_from_its_test_where_nothing_else_says_it():
    assert kernels.loops(TPU) == kernels.loops(TEXT)
    longer = TPU.replace(
        "compare(%get-tuple-element.2, %constant.1)", "compare(%get-tuple-element.2, %get-tuple-element.3)"
    )
    inner = kernels.iteration(kernels.loops(longer)).inner[0].inner
    assert [each.trips for each in inner] == [None]


def test_a_program_without_a_loop_over_iterations_is_none():
    with pytest.raises(ValueError, match="must have a loop over them whose length is an argument"):
        kernels.iteration(kernels.loops("ENTRY %main (p: f32[]) -> f32[] {\n  ROOT %a = f32[] copy(%p)\n}"))


@pytest.fixture(scope="module")
def report():
    return offline.plan(tiny.run(), targets.HERE)


def test_a_run_compiled_here_shows_its_parts_and_what_xla_says_of_its_memory(report):
    assert {"updates", "rest"} <= set(report.found.known)  # fusions bear the name of what they end with
    run = tiny.run()
    planned = loop.plan_run(run, run.environment(), 4, loop.Options(devices=jax.devices()[:1]))
    said = lowering.lower(planned.program, "advance", planned.lanes).compile().memory_analysis()
    held = said.argument_size_in_bytes + said.output_size_in_bytes - said.alias_size_in_bytes
    assert report.memory.compiled and report.memory.per_device == held + said.temp_size_in_bytes
    assert report.memory.per_device > memory.tree_bytes(planned.program.one) * 3


def test_what_the_compiler_says_replaces_the_estimate_and_is_refused_with_the_number_that_fits():
    compiled = jax.jit(lambda x: (x @ x.T) @ x).lower(jax.ShapeDtypeStruct((512, 64), jnp.float32)).compile()
    taken = memory.peak(compiled)
    assert taken >= 4 * (512 * 64 * 2 + 512 * 512)
    planned = memory.plan(jax.ShapeDtypeStruct((64,), jnp.int8), 10, jax.devices()[:1], 1, available=10**9)
    found = memory.measured(planned, [compiled])
    assert found.per_device == taken and found.compiled and found.host == planned.host + taken - planned.per_device
    memory.require(found)
    with pytest.raises(MemoryError, match=r"as compiled, .* At most 5 lanes would"):
        memory.require(found._replace(available=taken // 2 + taken // 20))
    in_turn = found._replace(copies=2, per_lane=1000, available=taken - 4500)
    assert in_turn.most == 7 and in_turn.needed(7) == taken - 6000


def test_a_run_that_cannot_fit_its_target_is_refused_with_the_number_of_lanes_that_would(monkeypatch):
    small = targets.Target("small", 5_000, topology="none")
    monkeypatch.setitem(targets.TARGETS, "small", small)
    monkeypatch.setattr(targets, "device", lambda name: jax.devices()[0])
    with pytest.raises(offline.TooLargeError, match=r"does not fit: .* At most \d+ lanes would"):
        offline.plan(tiny.run(seeds=range(50)), "small")


def test_a_compiler_that_is_missing_is_named_with_what_installs_it(monkeypatch, tmp_path):
    monkeypatch.setenv("MBRL_COMPILERS", str(tmp_path))
    monkeypatch.setattr(targets.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"needs its compiler, jax-cuda12-plugin==.* pip install --no-deps"):
        targets.prepare("h200")
    with pytest.raises(FileNotFoundError, match=r"TPU v5e needs its compiler, libtpu==.*tpu-"):
        targets.prepare("v5e")
    with pytest.raises(ValueError, match=r"target must be one of .* did you mean 'h200'"):
        targets.prepare("h20")
    assert np.isfinite(targets.target("h200").available)
