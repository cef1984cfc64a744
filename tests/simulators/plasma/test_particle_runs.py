"""Runs of the particle-in-cell solver: low noise, strong Landau damping, what is refused, memory of a reverse pass."""

import dataclasses
import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

import hoam_plugin as hoam
from hoam_plugin.simulators import VlasovPoissonPIC, advance, landau_damping, oscillator, strong_landau, two_stream

KEY = jax.random.key(0)


@functools.partial(jax.jit, static_argnums=(0, 1))
def begin(stepper, n_samples, mu):
    return stepper.init(KEY, n_samples, {"mu": mu})


def simulated(stepper, times, n_samples, mu=1.0, **options):
    return hoam.simulate(stepper, {"mu": [mu]}, times, key=KEY, n_samples=n_samples, progress=False, **options)


def mode_one(ds):
    return 2 / ds.sizes["cell"] * np.fft.rfft(ds["electric_field"].values[0].astype(np.float64), axis=-1)[:, 1]


# Noise


def landau_solution(times, k=0.5):
    """The linear Vlasov-Poisson wave E(t) for density 1 + a cos(k x), per a, by its Volterra equation."""
    # n_k(t) = a exp(-k^2 t^2 / 2) - int (t - s) exp(-k^2 (t - s)^2 / 2) n_k(s) ds; E = -n_k / k.
    dt = times[1] - times[0]
    fine = np.arange(0, times[-1] + dt / 2, dt / 8)
    kernel = fine * np.exp(-((k * fine) ** 2) / 2)
    free = np.exp(-((k * fine) ** 2) / 2)
    density = np.zeros_like(fine)
    for j in range(len(fine)):
        past = kernel[j:0:-1] * density[:j]
        density[j] = free[j] - (past.sum() - (past[0] / 2 if j else 0)) * dt / 8
    return density[::8] / k


@pytest.mark.long
def test_delta_f_follows_the_linear_wave_where_the_plain_deposit_is_noise():
    times = np.linspace(0, 16, 65)
    exact = 1e-3 * landau_solution(times)
    errors = {}
    for deposit in ("delta_f", "full_f"):
        ds = simulated(landau_damping(deposit=deposit, dt=0.125, start="random"), times, 20_000)
        errors[deposit] = np.sqrt(np.mean((np.abs(mode_one(ds)) - np.abs(exact)) ** 2))
    # The density of noise is sqrt(2 / n) = 1e-2 for a wave of 1e-3.
    assert errors["delta_f"] < 0.03 * 2e-3
    assert errors["full_f"] > 50 * errors["delta_f"]


@pytest.mark.long
def test_landau_damping_by_delta_f_has_the_rate_of_linear_theory():
    times = np.linspace(0, 20, 161)
    ds = simulated(landau_damping(dt=0.125), times, 25_000)
    at, height = toy.maxima(times, np.abs(mode_one(ds)))
    late = at > 2
    assert np.polyfit(at[late], np.log(height[late]), 1)[0] == pytest.approx(-0.153359, rel=0.02)
    assert np.pi / np.diff(at[late]).mean() == pytest.approx(1.415662, rel=0.01)


@pytest.mark.long
def test_delta_f_leaves_the_mean_field_as_it_is_and_turns_into_the_plain_deposit_far_from_equilibrium():
    times = np.linspace(0, 30, 61)
    energies = [
        simulated(two_stream(deposit=deposit, n_cells=64, dt=0.25), times, 50_000, mu=1.3)["electric_energy"].values[0]
        for deposit in ("delta_f", "full_f")
    ]
    np.testing.assert_allclose(energies[0][1:], energies[1][1:], rtol=0.05, atol=2e-3 * energies[1].max())


def test_delta_f_goes_on_from_a_state_of_unknown_origin_as_the_plain_deposit():
    plain, light = (two_stream(n_cells=32, deposit=deposit) for deposit in ("full_f", "delta_f"))
    state = begin(light, 500, 1.3)
    assert np.isfinite(state.aux.label).all()
    later = dataclasses.replace(state, time=state.time + 1, aux=())

    @functools.partial(jax.jit, static_argnums=0)
    def step(stepper, state):
        return stepper.step(stepper.refresh(state, {"mu": 1.3}), 0.1, {"mu": 1.3})

    ends = [step(stepper, later) for stepper in (light, plain)]
    np.testing.assert_allclose(ends[0].aux.electric_field, ends[1].aux.electric_field, atol=1e-5)
    assert np.isinf(ends[0].aux.label).all()


def test_the_gradient_through_delta_f_equals_central_differences(x64):
    stepper = landau_damping(amplitude=0.1, n_cells=16, shape="cubic")
    start = begin(stepper, 100, 1.0)

    @jax.jit
    def energy(mu):
        state = stepper.refresh(start, {"mu": mu})
        end = jax.lax.scan(lambda s, _: (stepper.step(s, 0.1, {"mu": mu}), None), state, length=20)[0]
        return stepper.diagnostics(end, {"mu": mu})["electric_energy"]

    h = 1e-5
    difference = (energy(1.1 + h) - energy(1.1 - h)) / (2 * h)
    assert float(jax.grad(energy)(1.1)) == pytest.approx(float(difference), rel=1e-6)


# Strong Landau damping


@pytest.mark.long
def test_strong_landau_damping_decays_and_grows_at_the_published_rates():
    times = np.linspace(0, 40, 321)
    ds = simulated(strong_landau(dimensions=1, dt=0.125), times, 200_000)
    at, height = toy.maxima(times, np.sqrt(ds["field_energy"].values[0].astype(np.float64)))
    # The first two maxima, and those from t = 20 until the growth saturates.
    decay, growth = at < 5, (at > 20) & (at < 40)
    assert -0.30 <= np.polyfit(at[decay], np.log(height[decay]), 1)[0] <= -0.27
    assert 0.075 <= np.polyfit(at[growth], np.log(height[growth]), 1)[0] <= 0.090


# What is refused, or warned of, before a run


def test_a_step_beyond_the_plasma_period_is_refused_before_the_run():
    stepper = two_stream(n_cells=64)
    with pytest.raises(ValueError, match=r"dt=3 gives omega_p dt = 2.5 at the plasma frequency 0.833 \(from mu=1.2\)"):
        simulated(stepper, [0.0, 6.0], 10, mu=1.2, dt=3.0)
    with pytest.raises(ValueError, match=r"integrator='yoshida' is unstable from 1\.573"):
        dataclasses.replace(stepper, integrator="yoshida").check_run({"mu": np.asarray([1.0])}, 1.7)
    with pytest.raises(ValueError, match=r"mu=\[0.0\] must be positive"):
        simulated(stepper, [0.0, 1.0], 10, mu=0.0)


@pytest.mark.parametrize(
    ("options", "mu", "dt", "says"),
    [
        ({}, 1.0, 0.6, r"omega_p dt = 0.60.*take dt of at most 0.5"),
        ({}, 0.1, 0.04, r"cells of size 0.781 are 7.8 Debye lengths \(0.1, from mu=0.1\).*take cells of at most 0.314"),
        ({"mode": 10}, 10.0, 0.5, r"cross 0.60 of the wavelength 5 in a step; take dt of at most 0.208"),
    ],
)
def test_a_run_that_does_not_resolve_the_plasma_is_warned_of_by_its_likely_cause(options, mu, dt, says):
    with pytest.warns(UserWarning, match=says):
        two_stream(n_cells=64, **options).check_run({"mu": np.asarray([mu, 20.0])}, dt)


def test_the_default_problems_pass_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for stepper, mus in (
            (two_stream(), [1.2, 1.9]),
            (hoam.stepper("bump_on_tail"), [1.3, 2.0]),
            (landau_damping(), [1.0]),
            (strong_landau(), [0.5, 1.5]),
            (strong_landau(dimensions=1), [1.0]),
        ):
            stepper.check_run({"mu": np.asarray(mus)}, stepper.dt)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: landau_damping(length=20.0), r"length=20.0 holds 1.592 wavelengths 2 pi / k = 12.5664"),
        (lambda: landau_damping(k=0.0), "k=0.0 must be a finite number above 0"),
        (lambda: landau_damping(amplitude=1.5), r"amplitude=1.5 makes the density negative; it must lie in \(-1, 1\)"),
        (lambda: landau_damping(solver="spectral"), "solver='spectral' is not available"),
        (lambda: VlasovPoissonPIC(n_cells=8, mode=5), "mode=5 is finer than n_cells=8 resolve; take at least 10 cells"),
    ],
)
def test_bad_problems_are_named(as_installed, call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_a_longer_box_holds_more_waves():
    stepper = landau_damping(length=8 * np.pi)
    assert (stepper.mode, stepper.length) == (2, 8 * np.pi)


# Reverse mode


def test_advance_equals_steps_one_by_one_and_its_gradient_that_of_a_plain_scan(x64):
    stepper = two_stream(n_cells=32)
    start = begin(stepper, 100, 1.3)

    def end(mu, through):
        state = stepper.refresh(start, {"mu": mu})
        return stepper.diagnostics(through(state, {"mu": mu}), {"mu": mu})["electric_energy"]

    def plain(state, parameters):
        return jax.lax.scan(lambda s, _: (stepper.step(s, 0.1, parameters), None), state, length=11)[0]

    def pieces(state, parameters):
        return advance(stepper, state, parameters, 11, dt=0.1)

    results = [jax.jit(jax.value_and_grad(lambda mu, way=way: end(mu, way)))(1.3) for way in (plain, pieces)]
    np.testing.assert_allclose(results[0], results[1], rtol=1e-10)


def test_advance_takes_a_key_for_noise():
    stepper = oscillator()
    state = stepper.init(KEY, 16, {})
    expected, step = state, jax.jit(stepper.step)
    for i in range(5):
        expected = step(expected, stepper.dt, {}, key=jax.random.fold_in(KEY, i))
    np.testing.assert_allclose(advance(stepper, state, {}, 5, key=KEY).x, expected.x, atol=1e-6)
    with pytest.raises(ValueError, match="n_steps=0 must be a whole number of at least 1"):
        advance(stepper, state, {}, 0, key=KEY)


@pytest.mark.long
def test_a_reverse_pass_over_4000_steps_stays_far_below_two_gigabytes():
    stepper = two_stream()

    def energy(mu):
        state = advance(stepper, stepper.init(KEY, 25_000, {"mu": mu}), {"mu": mu}, 4000, dt=0.01)
        return stepper.diagnostics(state, {"mu": mu})["electric_energy"]

    compiled = jax.jit(jax.grad(energy)).lower(jnp.asarray(1.3)).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 5e8
