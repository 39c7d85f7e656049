"""What is written for speed equals the plain form, bit for bit."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbrl_jax import networks
from mbrl_jax.rollouts import imagined


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_counting_moves_rows_to_the_front_like_a_stable_sort(share):
    chosen = jax.random.bernoulli(jax.random.key(0), share, (3, 101))
    np.testing.assert_array_equal(jax.vmap(imagined._front)(chosen), jnp.argsort(~chosen, axis=-1, stable=True))


def test_many_rows_in_blocks_equal_all_rows_at_once():
    rows, net = 2 * networks.BLOCK + 3, networks.MLP((16, 16), 3)
    params = networks.init_stack(jax.random.key(0), net, 2, 4)
    x = jax.random.normal(jax.random.key(1), (2, rows, 4))

    def many(params, x):
        return networks.apply(net, params, x)

    assert "scan" in str(jax.make_jaxpr(many)(jax.tree.map(lambda leaf: leaf[0], params), x[0]))
    np.testing.assert_array_equal(jax.jit(jax.vmap(many))(params, x), jax.jit(jax.vmap(net.apply))(params, x))


def test_elu_and_its_derivative_are_flaxs():
    x = jnp.concatenate([jnp.linspace(-20, 20, 4001), jnp.array([0.0, -0.0, 1e-30, -1e-30, -1e4, 1e4])])
    np.testing.assert_array_equal(networks.elu(x), nn.elu(x))
    slope, plain = (jax.vmap(jax.grad(f))(x) for f in (networks.elu, nn.elu))
    np.testing.assert_array_equal(slope, plain)
    kept = jax.make_jaxpr(lambda x: jax.vjp(networks.elu, x)[1])(x)  # what the backward pass needs
    assert len(kept.out_avals) == 1
