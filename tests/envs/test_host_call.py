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
    return x.mean(axis=-1), (x.min(axis=-1) < 0) & flag, np.arange(x.shape[-1], dtype=np.int32) + np.zeros_like(x)


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
    with pytest.raises(jax.errors.JaxRuntimeError, match="ValueError: the number must not be 7"):
        f(jnp.float32(7)).block_until_ready()


def test_too_few_results_are_an_error():
    name = host_call.publish(lambda x: (), "test-none")
    f = jax.jit(lambda x: host_call.call(name, (jax.ShapeDtypeStruct((), jnp.float32),), x)[0])
    with pytest.raises(jax.errors.JaxRuntimeError, match="ValueError"):
        f(jnp.float32(7)).block_until_ready()


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
