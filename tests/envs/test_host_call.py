"""NumPy functions inside compiled programs: values, batching, errors, threads, and programs kept on disk."""

import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbrl_jax.envs import host_call


def moments(x, flag):
    """Mean and whether any is negative, of every row; reports what it was given."""
    assert not x.flags.writeable
    return x.mean(axis=-1), (x.min(axis=-1) < 0) & flag, np.broadcast_to(np.arange(x.shape[-1]), x.shape)


def shapes(length: int):
    return (
        jax.ShapeDtypeStruct((), jnp.float32),
        jax.ShapeDtypeStruct((), jnp.bool_),
        jax.ShapeDtypeStruct((length,), jnp.int32),
    )


def test_values_types_and_nested_batches():
    name = host_call.publish(moments, "test-moments")
    x = np.random.default_rng(0).normal(size=(2, 3, 5)).astype(np.float32)
    flag = np.array([[True, False, True], [False, True, True]])
    f = jax.jit(jax.vmap(jax.vmap(lambda a, b: host_call.call(name, shapes(5), a, b))))
    mean, negative, index = f(x, flag)
    np.testing.assert_allclose(mean, x.mean(-1), rtol=1e-6)
    np.testing.assert_array_equal(negative, (x.min(-1) < 0) & flag)
    np.testing.assert_array_equal(index, np.broadcast_to(np.arange(5), (2, 3, 5)))
    assert (mean.dtype, negative.dtype, index.dtype) == (jnp.float32, jnp.bool_, jnp.int32)


def test_arrays_without_elements():
    name = host_call.publish(lambda x: (np.concatenate([x, x], axis=-1),), "test-empty")
    (out,) = jax.jit(lambda x: host_call.call(name, (jax.ShapeDtypeStruct((0,), jnp.float32),), x))(jnp.zeros((0,)))
    assert out.shape == (0,)


def test_a_name_belongs_to_one_function():
    def one(x):
        return (x + 1,)

    def two(x):
        return (x + 2,)

    names = [host_call.publish(f, "test-shared") for f in (one, two, one)]
    assert names == ["test-shared", "test-shared#2", "test-shared"]
    out = jax.ShapeDtypeStruct((), jnp.float32)
    f = jax.jit(lambda x: [host_call.call(name, (out,), x)[0] for name in names])
    assert [float(y) for y in f(jnp.float32(10))] == [11, 12, 11]


def test_an_unknown_name_is_refused_when_tracing():
    with pytest.raises(KeyError, match="there is none named 'test-nobody'"):
        host_call.call("test-nobody", (), jnp.zeros(()))


def test_what_a_function_raises_ends_the_program():
    def fail(x):
        raise ValueError(f"the number must not be {x}")

    name = host_call.publish(fail, "test-fail")
    f = jax.jit(lambda x: host_call.call(name, (jax.ShapeDtypeStruct((), jnp.float32),), x)[0])
    with pytest.raises(jax.errors.JaxRuntimeError, match="ValueError: the number must not be 7") as caught:
        f(jnp.float32(7)).block_until_ready()
    assert "in fail\n" in str(caught.value)  # the function's own frame


class UnspeakableError(Exception):
    """An exception that fails again when its traceback is asked for."""

    def __getattribute__(self, name):
        raise RuntimeError("not even that")


@pytest.mark.parametrize(
    ("kind", "text", "shown"),
    [
        (ValueError, "half a pair: \ud83d", r"ValueError: half a pair: \\ud83d"),
        (ValueError, "a\0b", r"ValueError: a\\0b"),
        (UnspeakableError, "", "a host function failed with an exception that cannot be shown"),
    ],
)
def test_whatever_is_raised_becomes_an_error_and_never_a_crash(kind, text, shown):
    def fail(x):
        raise kind(text)

    name = host_call.publish(fail, "test-odd")
    f = jax.jit(lambda x: host_call.call(name, (jax.ShapeDtypeStruct((), jnp.float32),), x)[0])
    with pytest.raises(jax.errors.JaxRuntimeError, match=shown):
        f(jnp.float32(7)).block_until_ready()


@pytest.mark.parametrize(
    ("found", "rule"),
    [
        ((), "test-wrong.* must return 2 arrays, got 0"),
        ((np.zeros(3, np.float32), np.zeros(3, np.int32)), r"result 0 of test-wrong.* shape \(2, 3\), got \(3,\)"),
        ((np.zeros((2, 3)), np.int32(0)), r"result 1 of test-wrong.* shape \(3,\), got \(\)"),
        ((np.zeros((2, 3)), np.zeros(3)), "result 1 of test-wrong.* casts to int32, got float64"),
    ],
)
def test_results_that_are_not_as_announced_are_an_error(found, rule):
    """NumPy itself would repeat the rows of a smaller array and cut numbers to whole ones."""
    name = host_call.publish(lambda x: found, "test-wrong")
    announced = jax.ShapeDtypeStruct((2, 3), jnp.float32), jax.ShapeDtypeStruct((3,), jnp.int32)
    f = jax.jit(lambda x: host_call.call(name, announced, x))
    with pytest.raises(jax.errors.JaxRuntimeError, match=rule):
        jax.block_until_ready(f(jnp.float32(7)))


@pytest.mark.parametrize(
    ("given", "wanted", "shown"),
    [(jnp.float32, jnp.bfloat16, "bfloat16"), (jnp.complex64, jnp.float32, "complex64")],
)
def test_a_dtype_that_cannot_pass_is_refused_when_tracing(given, wanted, shown):
    name = host_call.publish(lambda x: (x,), "test-dtype")
    with pytest.raises(TypeError, match=f"takes and returns arrays of bool, .*, float64, got {shown}"):
        host_call.call(name, (jax.ShapeDtypeStruct((), wanted),), jnp.zeros((), given))


PROGRAM = """
    import jax, sys
    jax.config.update("jax_compilation_cache_dir", sys.argv[1])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    jax.config.update("jax_num_cpu_devices", 2)
    import jax.monitoring
    events = []
    jax.monitoring.register_event_listener(lambda event, **_: events.append(event.rsplit("/", 1)[-1]))
    from mbrl_jax import envs

    if sys.argv[2] == "other first":
        envs.make("hopper-v4"), envs.make("inverted_pendulum-v5")
    env = envs.make("inverted_pendulum-v4")
    devices = jax.sharding.Mesh(jax.devices(), ("i",))
    spread = jax.NamedSharding(devices, jax.P("i"))

    @jax.jit
    def rollout(keys):
        state = jax.vmap(env.reset)(keys)
        step = lambda s, k: (jax.vmap(lambda s: env.step(k, s, jax.random.uniform(k, (1,))))(s)[0], None)
        return jax.lax.scan(step, state, jax.random.split(jax.random.key(0), 20))[0].obs

    keys = jax.device_put(jax.random.split(jax.random.key(1), 4), spread)
    events.clear()
    obs = rollout(keys)
    print(obs.sum(), events.count("cache_hits"), events.count("cache_misses"))
"""


def test_a_program_with_physics_is_read_back_by_another_process(tmp_path):
    """The second process, whose environments are made in another order, compiles nothing and computes the same."""

    def run(order: str) -> list[str]:
        command = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(tmp_path), order]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()

    first, second = run("alone"), run("other first")
    assert first[0] == second[0]
    assert (first[1], second[2]) == ("0", "0")
    assert int(second[1]) > 0
