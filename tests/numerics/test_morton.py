"""Places along the Morton curve."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hoam_plugin.numerics import morton


@pytest.mark.parametrize("n", [1, 2, 3, 1000, 70_000])
def test_sorting_order_is_a_stable_argsort(n: int) -> None:
    code = jax.random.bits(jax.random.key(0), (n,), jnp.uint32)
    for values in (code, code >> 24, code * 0):
        expected = np.argsort(np.asarray(values), kind="stable")
        np.testing.assert_array_equal(jax.jit(morton.sorting_order)(values), expected)
