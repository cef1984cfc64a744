"""Interpolation on a regular grid of one to three coordinates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hoam_plugin.numerics import grid_functions


@pytest.mark.long
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("n_dims", [1, 2, 3])
def test_cubics_are_exact_also_at_the_ends(n_dims: int) -> None:
    rng = np.random.default_rng(0)
    q = jnp.asarray(rng.uniform(-3.0, 5.0, (9000, n_dims)))
    factors = jnp.asarray(rng.standard_normal((n_dims, 2, 4)))

    def polynomial(points: jax.Array) -> jax.Array:
        powers = jnp.stack([points**k for k in range(4)], axis=-1)
        return jnp.prod(jnp.sum(powers[:, :, None, :] * factors[None], axis=-1), axis=1)

    axes = tuple(grid_functions.axis_of(q[:, d], None, 7) for d in range(n_dims))
    table = polynomial(grid_functions.grid_of(axes))
    wanted = polynomial(q)
    found = grid_functions.interpolated(axes, table, q)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12 * float(jnp.abs(table).max()))


@pytest.mark.usefixtures("x64")
def test_a_periodic_coordinate_goes_round_and_the_order_is_four() -> None:
    q = jnp.linspace(-12.0, 25.0, 1001)[:, None]

    def wave(points: jax.Array) -> jax.Array:
        return jnp.sin(2 * jnp.pi * points / 5.0)

    errors = []
    for side in (20, 40):
        axes = (grid_functions.axis_of(q[:, 0], 5.0, side),)
        found = grid_functions.interpolated(axes, wave(grid_functions.grid_of(axes)), q)
        errors.append(float(jnp.abs(found - wave(q)).max()))
    assert 3.7 < np.log2(errors[0] / errors[1]) < 4.3


@pytest.mark.parametrize("n_dims", [1, 2])
def test_a_fine_grid_is_linear_between_values_of_the_cubics(n_dims: int) -> None:
    rng = np.random.default_rng(1)
    q = jnp.asarray(rng.uniform(-3.0, 8.0, (5000, n_dims)), jnp.float32)
    periods = (5.0, None)[:n_dims]

    def waves(points: jax.Array) -> jax.Array:
        return jnp.stack([jnp.cos(2 * jnp.pi * points.sum(axis=1) / 5.0), jnp.sin(points[:, 0] * 4 * jnp.pi / 5)], 1)

    axes = tuple(grid_functions.axis_of(q[:, d], period, 48) for d, period in enumerate(periods))
    table = waves(grid_functions.grid_of(axes))
    cubic = grid_functions.interpolated(axes, table, q)
    fine = grid_functions.interpolated_finely(axes, table, [q[:, d] for d in range(n_dims)])
    # Cells of 11 / 256 at most, slopes that change by (4 pi / 5)^2 per unit.
    np.testing.assert_allclose(jnp.stack(fine, axis=1), cubic, rtol=0, atol=2 * (11 / 256 * 4 * np.pi / 5) ** 2 / 8)
    assert float(jnp.abs(cubic - waves(q)).max()) < 1e-2
