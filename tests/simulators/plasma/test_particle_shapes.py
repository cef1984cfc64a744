"""Shape functions and integrators of the particle-in-cell solver: partition of unity, momentum, orders in dt."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.interpolate import BSpline

from hoam_plugin.simulators import VlasovPoissonPIC, two_stream
from hoam_plugin.simulators.plasma import splitting
from hoam_plugin.simulators.plasma.particles import mesh, shape_functions

KEY = jax.random.key(0)
SHAPES = ("linear", "quadratic", "cubic")


@functools.partial(jax.jit, static_argnums=(0, 1))
def begin(stepper, n_samples, mu=1.3):
    return stepper.init(KEY, n_samples, {"mu": mu})


def spline(shape, distance):
    """The centred cardinal B-spline of the shape's order, from SciPy."""
    degree = SHAPES.index(shape) + 1
    knots = np.arange(degree + 2) - (degree + 1) / 2
    return np.nan_to_num(BSpline.basis_element(knots, extrapolate=False)(distance))


def images(distance, n_cells):
    """Distances on a torus of `n_cells`, folded to the nearest image."""
    return (distance + n_cells / 2) % n_cells - n_cells / 2


@pytest.mark.parametrize("shape", SHAPES)
def test_weights_are_those_of_the_centred_spline(x64, shape):
    n_cells, length = 9, 4.5
    x = np.concatenate([np.random.default_rng(0).uniform(0, length, 50), [0.0, 0.25, 4.5, 4.49999]])
    at = shape_functions.footprint((jnp.asarray(x),), (length,), (n_cells,), shape)
    weight = spline(shape, images(np.arange(n_cells)[:, None] - x / length * n_cells, n_cells))
    amounts = np.random.default_rng(1).normal(size=len(x))
    np.testing.assert_allclose(shape_functions.deposit(at, jnp.asarray(amounts)), weight @ amounts, atol=1e-12)
    nodes = np.random.default_rng(2).normal(size=n_cells)
    np.testing.assert_allclose(shape_functions.gather(jnp.asarray(nodes), at), nodes @ weight, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_in_three_dimensions_the_weights_are_products(x64, shape):
    grid, lengths = (5, 4, 6), (2.0, 1.0, 3.0)
    x = np.random.default_rng(0).uniform(0, 1, (3, 30)) * np.asarray(lengths)[:, None]
    at = shape_functions.footprint(tuple(map(jnp.asarray, x)), lengths, grid, shape)
    one, two, three = (
        # Wide shapes reach around the few cells of an axis, hence the sum over images.
        sum(spline(shape, np.arange(n)[:, None] - own / length * n + image * n) for image in (-1, 0, 1))
        for n, length, own in zip(grid, lengths, x, strict=True)
    )
    np.testing.assert_allclose(shape_functions.deposit(at), np.einsum("ip,jp,kp->ijk", one, two, three), atol=1e-12)
    nodes = np.random.default_rng(2).normal(size=grid)
    np.testing.assert_allclose(
        shape_functions.gather(jnp.asarray(nodes), at),
        np.einsum("ijk,ip,jp,kp->p", nodes, one, two, three),
        atol=1e-12,
    )


def test_the_fast_path_of_the_linear_shape_equals_the_general_one(x64):
    x = jnp.asarray(np.random.default_rng(0).uniform(0, 7.0, 200))
    amounts = jnp.asarray(np.random.default_rng(1).normal(size=200))
    nodes = jnp.asarray(np.random.default_rng(2).normal(size=12))
    deposit, gather = mesh.particle_mesh(x, 7.0, 12, "linear")
    at = shape_functions.footprint((x,), (7.0,), (12,), "linear")
    np.testing.assert_allclose(deposit(amounts), shape_functions.deposit(at, amounts) * (12 / 200), atol=1e-13)
    np.testing.assert_allclose(gather(nodes), shape_functions.gather(nodes, at), atol=1e-13)


@pytest.mark.parametrize("shape", SHAPES)
def test_momentum_and_charge_are_kept_and_energy_nearly(x64, shape):
    stepper = two_stream(n_cells=32, shape=shape, start="random", dt=0.1)
    mu = {"mu": jnp.asarray(1.3)}
    state = begin(stepper, 2000)
    end = jax.jit(lambda s: jax.lax.fori_loop(0, 200, lambda i, s: stepper.step(s, 0.1, mu), s))(state)
    before, after = (stepper.diagnostics(s, mu) for s in (state, end))
    assert float(jnp.abs(end.v - state.v).max()) > 1
    assert float(after["momentum"]) == pytest.approx(float(before["momentum"]), abs=1e-12)
    assert float(after["charge"]) == pytest.approx(-1, abs=1e-12)
    assert float(after["total_energy"]) == pytest.approx(float(before["total_energy"]), rel=5e-3)


def test_smoother_shapes_make_a_smoother_field():
    roughness = {}
    for shape in SHAPES:
        state = begin(two_stream(n_cells=256, shape=shape, start="random"), 4000)
        spectrum = np.abs(np.fft.rfft(np.asarray(state.aux.electric_field)))
        roughness[shape] = spectrum[64:].mean() / spectrum[1:8].mean()
    assert roughness["cubic"] < 0.9 * roughness["quadratic"]
    assert roughness["quadratic"] < 0.9 * roughness["linear"]


# Orders in dt


@functools.cache
def order_in_dt(integrator, shape, magnetic_field=0.0):
    """Observed order of the velocities at time 2 from runs of 16, 32 and 64 steps against 512; float64."""
    dimensions = 2 if magnetic_field else 1
    stepper = two_stream(
        n_cells=16, shape=shape, integrator=integrator, velocity_dimensions=dimensions, magnetic_field=magnetic_field
    )
    mu = {"mu": jnp.asarray(1.3)}
    start = begin(stepper, 400)

    @jax.jit
    def velocities(n_steps):
        size = 2.0 / n_steps.astype(start.v.dtype)
        return jax.lax.fori_loop(0, n_steps, lambda i, s: stepper.step(s, size, mu), start).v

    exact = velocities(jnp.asarray(512))
    errors = [float(jnp.sqrt(jnp.mean((velocities(jnp.asarray(n)) - exact) ** 2))) for n in (16, 32, 64)]
    return np.log2(errors[0] / errors[2]) / 2


def test_leapfrog_has_order_two(x64):
    assert order_in_dt("leapfrog", "cubic") == pytest.approx(2, abs=0.1)


def test_yoshida_has_order_four_with_cubic_shapes_and_less_with_linear_ones(x64):
    assert order_in_dt("yoshida", "cubic") == pytest.approx(4, abs=0.3)
    assert order_in_dt("yoshida", "linear") < 3


def test_the_rotation_by_a_magnetic_field_keeps_the_order(x64):
    assert order_in_dt("yoshida", "cubic", 0.7) == pytest.approx(4, abs=0.3)


@pytest.mark.parametrize("integrator", ["leapfrog", "yoshida"])
def test_the_stability_limit_is_that_of_the_integrator(x64, integrator):
    def growth(angle):
        """Largest eigenvalue of a step of x'' = -x."""
        step = np.eye(2)
        for fraction in splitting.COMPOSITIONS[integrator]:
            h = fraction * angle
            kick, drift = np.asarray([[1, 0], [-h / 2, 1]]), np.asarray([[1, h], [0, 1]])
            step = kick @ drift @ kick @ step
        return np.abs(np.linalg.eigvals(step)).max()

    limit = splitting.STABILITY_LIMITS[integrator]
    assert growth(limit * 0.999) == pytest.approx(1, abs=1e-6)
    assert growth(limit * 1.01) > 1.01


def test_yoshida_runs_backwards_and_ends_at_the_right_time(x64):
    stepper = two_stream(n_cells=32, integrator="yoshida", shape="cubic")
    start = begin(stepper, 300)
    step = jax.jit(stepper.step)
    state = start
    for dt in [0.2] * 10 + [-0.2] * 10:
        state = step(state, dt, {"mu": 1.3})
    np.testing.assert_allclose(state.v, start.v, atol=1e-10)
    assert float(step(start, 0.2, {"mu": 1.3}).time) == pytest.approx(0.2, abs=1e-15)


@pytest.mark.long
def test_the_gradient_with_smooth_shapes_equals_central_differences(x64):
    stepper = VlasovPoissonPIC(n_cells=16, shape="quadratic", integrator="yoshida", amplitude=0.2)
    start = begin(stepper, 200)

    @jax.jit
    def energy(mu):
        parameters = {"mu": mu}
        state = stepper.refresh(start, parameters)
        state = jax.lax.scan(lambda s, _: (stepper.step(s, 0.2, parameters), None), state, length=20)[0]
        return stepper.diagnostics(state, parameters)["electric_energy"]

    h = 1e-5
    difference = (energy(1.1 + h) - energy(1.1 - h)) / (2 * h)
    assert float(jax.grad(energy)(1.1)) == pytest.approx(float(difference), rel=1e-6)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"shape": "quartic"}, "shape='quartic' must be one of 'linear', 'quadratic', 'cubic'"),
        ({"integrator": "rk4"}, "integrator='rk4' must be one of 'leapfrog', 'yoshida'"),
    ],
)
def test_unknown_names_are_answered_with_the_known_ones(as_installed, wrong, says):
    with pytest.raises(ValueError, match=says):
        two_stream(**wrong)
