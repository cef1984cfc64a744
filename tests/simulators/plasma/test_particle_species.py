"""Species, magnetic field, collisions and general starts of the particle-in-cell solver."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.stats import qmc

import hoam_plugin as hoam
from hoam_plugin import ensembles
from hoam_plugin.registry import rebuild_from_attribute
from hoam_plugin.simulators import Beam, Species, Table, VlasovPoissonPIC, landau_damping, tabulate
from hoam_plugin.simulators.plasma import distributions
from hoam_plugin.simulators.sampling import _sobol_word, quiet_points

KEY = jax.random.key(0)
ELECTRONS = Species("electrons")
IONS = Species("ions", charge=1.0, mass=25.0, beams=(Beam(1.0, 0.0, 0.1),))


@functools.partial(jax.jit, static_argnums=(0, 1))
def begin(stepper, n_samples, mu=1.0):
    return stepper.init(KEY, n_samples, {"mu": mu})


@functools.partial(jax.jit, static_argnums=0)
def run(stepper, state, n_steps, dt, mu=1.0, key=None):
    def step(i, s):
        return stepper.step(s, dt, {"mu": mu}, key=None if key is None else jax.random.fold_in(key, i))

    return jax.lax.fori_loop(0, n_steps, step, state)


# Several species


def test_species_follow_from_the_position_of_a_sample_and_start_as_told():
    stepper = VlasovPoissonPIC(species=(ELECTRONS, IONS), amplitude=0.2, n_cells=64)
    state = begin(stepper, 20_001)
    numbers = stepper.sample_coordinates(20_001)["species"]
    assert numbers.attrs["flag_meanings"] == "electrons ions"
    assert numbers.values[:3].tolist() == numbers.attrs["flag_values"] + [0]
    v, k = np.asarray(state.v, np.float64), 2 * np.pi / stepper.length
    for number, (name, width, amplitude) in enumerate((("electrons", 1.0, 0.2), ("ions", 0.1, 0.0))):
        own = stepper.samples_of(name, 20_001)
        assert (numbers.values[own] == number).all()
        assert v[own].std() == pytest.approx(width, rel=0.01)
        assert 2 * np.cos(k * np.asarray(state.x)[own]).mean() == pytest.approx(amplitude, abs=2e-3)


@pytest.mark.long
def test_ensembles_say_which_species_a_sample_is_of(tmp_path):
    stepper = VlasovPoissonPIC(species=(ELECTRONS, IONS), n_cells=16)
    options = {"key": jax.random.key(0), "n_samples": 5, "progress": False}
    ds = hoam.simulate(stepper, {"mu": [1.0, 1.2]}, np.asarray([0.0, 0.1]), store=tmp_path / "two.zarr", **options)
    for one in (ds, ensembles.validate(ensembles.load(tmp_path / "two.zarr"))):
        assert one["species"].dims == ("sample",)
        assert one["species"].values.tolist() == [0, 1, 0, 1, 0]
    assert ds.where(ds["species"] == 1, drop=True).sizes["sample"] == 2


@pytest.mark.long
def test_the_field_is_that_of_the_charge_density_of_all_species(x64):
    kinds = (
        Species("electrons", amplitude=0.3),
        Species("ions", charge=2.0, mass=4.0, density=0.5, amplitude=-0.1),
        Species("beam", charge=-1.0, density=0.2),
    )
    stepper = VlasovPoissonPIC(species=kinds, n_cells=128)
    state = begin(stepper, 60_000, 1.2)
    field, k = np.asarray(state.aux.electric_field), 2 * np.pi / stepper.length
    # mu^2 E' = q n: each species adds charge x density x amplitude cos(k x).
    expected = (-0.3 + 2.0 * 0.5 * -0.1) / (k * 1.2**2) * np.sin(k * stepper.coordinates["cell"])
    np.testing.assert_allclose(field, expected, atol=2e-3 * np.abs(expected).max())
    ratios = {"electrons": -1.0, "ions": 0.5, "beam": -1.0}
    for name, ratio in ratios.items():
        own = stepper.samples_of(name, 60_000)
        at_samples = np.interp(state.x[own], stepper.coordinates["cell"], field, period=stepper.length)
        np.testing.assert_allclose(state.aux.acceleration[own], ratio * at_samples, atol=3e-3)
    diagnostics = stepper.diagnostics(state, {"mu": 1.2})
    assert float(diagnostics["charge"]) == pytest.approx(-1 + 1 - 0.2, abs=1e-12)


def test_momentum_of_unlike_species_is_kept_together(x64):
    stepper = VlasovPoissonPIC(species=(ELECTRONS, IONS), amplitude=0.4, n_cells=32, start="random")
    state = begin(stepper, 1000)
    end = run(stepper, state, 200, 0.1)
    before, after = (stepper.diagnostics(s, {"mu": 1.0}) for s in (state, end))
    electrons = stepper.samples_of("electrons", 1000)
    assert abs(float(end.v[electrons].mean() - state.v[electrons].mean())) > 1e-4
    assert float(after["momentum"]) == pytest.approx(float(before["momentum"]), abs=1e-12)
    assert float(after["total_energy"]) == pytest.approx(float(before["total_energy"]), rel=5e-3)


@pytest.mark.long
def test_mobile_ions_raise_the_plasma_frequency(x64):
    # Cold enough for Landau damping and thermal corrections to be small: omega^2 = 1 + 1/m + 3 k^2 w^2 (1 + ...).
    frequencies = []
    for kinds in ((), (Species("electrons", beams=((1, 0, 0.05),)), Species("ions", 1.0, 4.0, beams=((1, 0, 0.02),)))):
        own = {"species": kinds} if kinds else {"beams": ((1.0, 0.0, 0.05),)}
        stepper = VlasovPoissonPIC(amplitude=0.01, n_cells=32, **own)
        state = begin(stepper, 8000)
        field = []
        for _ in range(150):
            state = run(stepper, state, 1, 0.1)
            field.append(float(jnp.fft.rfft(state.aux.electric_field)[1].imag))
        signal = np.asarray(field)
        crossings = np.flatnonzero(signal[:-1] * signal[1:] < 0)
        exact = crossings + signal[crossings] / (signal[crossings] - signal[crossings + 1])
        frequencies.append(np.pi / np.diff(exact * 0.1).mean())
    assert frequencies[0] == pytest.approx(1, rel=5e-3)
    assert frequencies[1] == pytest.approx(np.sqrt(1.25), rel=5e-3)


def test_one_mobile_species_of_any_charge_and_density_equals_electrons_at_another_mu(x64):
    # omega_p^2 = q^2 n / m / mu^2 is all that the motion depends on.
    other = VlasovPoissonPIC(species=(Species("dust", charge=3.0, mass=6.0, density=0.5),), amplitude=0.2, n_cells=32)
    electrons = VlasovPoissonPIC(amplitude=0.2, n_cells=32)
    ends = [
        run(stepper, begin(stepper, 500, mu), 50, 0.1, mu)
        for stepper, mu in ((other, 1.3), (electrons, 1.3 / np.sqrt(9 * 0.5 / 6)))
    ]
    np.testing.assert_allclose(ends[0].x, ends[1].x, atol=1e-9)
    np.testing.assert_allclose(ends[0].v, ends[1].v, atol=1e-9)


def test_refresh_needs_the_samples_alone():
    stepper = VlasovPoissonPIC(species=(ELECTRONS, IONS), n_cells=32, amplitude=0.3)
    state = run(stepper, begin(stepper, 501), 3, 0.1)
    bare = dataclasses.replace(state, aux=jax.tree.map(jnp.zeros_like, state.aux))
    again = jax.jit(stepper.refresh)(bare, {"mu": 1.0})
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), state, again)


# Two velocities


def test_particles_gyrate_where_there_is_no_electric_field(x64):
    stepper = VlasovPoissonPIC(velocity_dimensions=2, magnetic_field=0.8, n_cells=8, amplitude=0.0)
    state = begin(stepper, 40, 1e6)  # so heavy a mu that the field vanishes
    end = run(stepper, state, 7, 0.9, 1e6)
    t, w = 6.3, -0.8
    # v' = w vy, vy' = -w v.
    np.testing.assert_allclose(end.v, state.v * np.cos(w * t) + state.vy * np.sin(w * t), atol=1e-9)
    np.testing.assert_allclose(end.vy, state.vy * np.cos(w * t) - state.v * np.sin(w * t), atol=1e-9)
    moved = state.x + (state.v * np.sin(w * t) + state.vy * (1 - np.cos(w * t))) / w
    np.testing.assert_allclose(np.cos(2 * np.pi * (end.x - moved) / stepper.length), 1, atol=1e-9)


@pytest.mark.long
def test_without_a_field_the_second_velocity_stays_and_the_first_is_that_of_1d1v(x64):
    plain, wide = (VlasovPoissonPIC(n_cells=32, amplitude=0.3, velocity_dimensions=d) for d in (1, 2))
    state = begin(wide, 300)
    narrow = begin(plain, 300)
    end = run(wide, state, 20, 0.1)
    np.testing.assert_array_equal(end.vy, state.vy)
    same = plain.refresh(dataclasses.replace(narrow, x=state.x, v=state.v), {"mu": 1.0})
    np.testing.assert_allclose(run(plain, same, 20, 0.1).v, end.v, atol=1e-12)


@pytest.mark.long
def test_the_upper_hybrid_frequency(x64):
    stepper = VlasovPoissonPIC(
        velocity_dimensions=2,
        magnetic_field=1.0,
        beams=((1.0, 0.0, 0.05),),
        transverse_beams=((1.0, 0.0, 0.05),),
        amplitude=0.01,
        n_cells=128,
    )
    ds = hoam.simulate(stepper, {"mu": [1.0]}, np.arange(0, 15, 0.1), key=KEY, n_samples=8000, progress=False)
    assert list(hoam.ensemble.variable_names(ds)) == ["x", "v", "vy"]
    # The displacement d of cold electrons at rest has d'' = -d - B^2 (d - d(0)): it swings around d(0) / 2.
    signal = np.fft.rfft(ds["electric_field"].values[0], axis=-1)[:, 1].imag
    signal = signal - signal[0] / 2
    crossings = np.flatnonzero(signal[:-1] * signal[1:] < 0)
    exact = crossings + signal[crossings] / (signal[crossings] - signal[crossings + 1])
    assert np.pi / np.diff(exact * 0.1).mean() == pytest.approx(np.sqrt(2), rel=5e-3)
    energy = ds["total_energy"].values[0]
    np.testing.assert_allclose(energy, energy[0], rtol=2e-3)


@pytest.mark.long
def test_rates_with_field_and_friction_are_the_drift(x64):
    stepper = VlasovPoissonPIC(
        velocity_dimensions=2, magnetic_field=0.7, collision_frequency=0.3, collision_mean=0.5, n_cells=32
    )
    state = begin(stepper, 100)
    rates = stepper.rates(state, {"mu": 1.0})
    known = stepper.known_drift(state, {"mu": 1.0})
    np.testing.assert_allclose(known["v"], -0.3 * (state.v - 0.5))
    np.testing.assert_allclose(rates["vy"], 0.7 * state.v - 0.3 * state.vy, atol=1e-12)
    np.testing.assert_allclose(rates["v"], state.aux.acceleration - 0.7 * state.vy + known["v"], atol=1e-12)
    quiet = dataclasses.replace(stepper, collision_frequency=0.0)
    h = 1e-5
    ahead, behind = (quiet.step(state, dt, {"mu": 1.0}) for dt in (h, -h))
    for name in ("v", "vy"):
        own = rates[name] - known[name]
        np.testing.assert_allclose((getattr(ahead, name) - getattr(behind, name)) / (2 * h), own, atol=1e-7)


# Collisions


@pytest.mark.parametrize("dt", [0.1, 1.9])
def test_collisions_follow_the_exact_moments_of_the_process_for_any_step(dt):
    nu, mean, temperature, n = 0.5, 1.0, 2.0, 40_000
    stepper = VlasovPoissonPIC(
        beams=((1.0, -2.0, 0.5),),
        amplitude=0.0,
        n_cells=8,
        collision_frequency=nu,
        collision_mean=mean,
        collision_temperature=temperature,
    )
    state = begin(stepper, n, 1e4)
    n_steps = round(1.9 / dt)
    end = run(stepper, state, n_steps, dt, 1e4, KEY)
    decay = np.exp(-nu * 1.9)
    variance = temperature + (0.25 - temperature) * decay**2
    v = np.asarray(end.v, np.float64)
    assert v.mean() == pytest.approx(mean - 3 * decay, abs=4.5 * np.sqrt(variance / n))
    assert v.var() == pytest.approx(variance, rel=4.5 * np.sqrt(2 / n))
    assert stats.kstest((v - v.mean()) / v.std(), "norm").pvalue > 1e-3  # normal noise


@pytest.mark.long
def test_a_maxwellian_plasma_stays_in_equilibrium_under_collisions():
    stepper = VlasovPoissonPIC(amplitude=0.0, n_cells=32, collision_frequency=0.2, velocity_dimensions=2, dt=0.2)
    ds = hoam.simulate(stepper, {"mu": [1.0]}, [0.0, 20.0], key=KEY, n_samples=40_000, progress=False)
    for name in ("v", "vy"):
        v = ds[name].values[0, -1].astype(np.float64)
        assert v.var() == pytest.approx(1, rel=4.5 * np.sqrt(2 / 40_000))
        assert not np.array_equal(v, ds[name].values[0, 0])


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:the 8 saved times do not resolve")
def test_a_surrogate_learns_around_the_collisions():
    stepper = landau_damping(amplitude=0.3, deposit="full_f", collision_frequency=0.4, horizon=(0.0, 2.0))
    nodes = hoam.quadrature.gauss_legendre(8)
    ds = hoam.simulate(stepper, {"mu": [1.0]}, nodes, key=KEY, n_samples=256, progress=False)
    training = hoam.Training(iterations=4, n_samples=32, block=2)
    network = hoam.VectorField(width=8, depth=2)
    learned = hoam.fit(ds, structure="kinetic", potential=network, training=training, progress=False, key=KEY)
    assert learned.learned.known_noise
    assert learned.learned.known_drift
    assert learned.learned.replaces == stepper
    x = jnp.zeros((1, 2))
    np.testing.assert_allclose(learned.learned.dynamics.noise(x, 0.0, {"mu": 1.0}), [[0.0, np.sqrt(0.8)]], rtol=1e-6)


def test_without_collisions_there_is_no_noise_to_know():
    stepper = landau_damping()
    assert stepper.noise is None
    assert stepper.known_drift is None


def test_collisions_need_a_key():
    stepper = VlasovPoissonPIC(collision_frequency=0.1, n_cells=8)
    with pytest.raises(ValueError, match=r"key=None: collision_frequency=0\.1 needs random numbers"):
        stepper.step(begin(stepper, 8), 0.1, {"mu": 1.0})


# Starts


def test_single_precision_stays_under_double_precision_and_with_numpy_scalars(x64):
    kinds = (ELECTRONS, IONS._replace(charge=np.float64(1.0), mass=np.float64(25.0)))
    stepper = VlasovPoissonPIC(
        species=kinds,
        length=np.float64(10.0),
        n_cells=16,
        velocity_dimensions=2,
        magnetic_field=np.float64(0.5),
        shape="quadratic",
    )
    state = jax.tree.map(lambda leaf: leaf.astype(np.float32), begin(stepper, 20))
    end = jax.jit(stepper.step)(state, 0.1, {"mu": 1.0})
    assert {leaf.dtype for leaf in jax.tree.leaves(end)} == {np.dtype(np.float32)}


@pytest.mark.parametrize("dim", range(5))
def test_the_sobol_words_are_those_of_scipy(dim):
    theirs = qmc.Sobol(5, scramble=False, bits=32).random(256)[:, dim]
    ours = np.asarray(_sobol_word(jnp.arange(256, dtype=jnp.uint32), dim), np.float64) / 2.0**32
    # In Gray-code order there, so the sets of 2^m points agree.
    np.testing.assert_array_equal(np.sort(ours), np.sort(theirs))
    np.testing.assert_array_equal(np.sort(ours[:32]), np.sort(theirs[:32]))


def test_points_in_six_dimensions_are_more_even_than_random_ones():
    ours = np.asarray(quiet_points(KEY, 1024, 6), np.float64)
    assert ours.shape == (1024, 6)
    random = np.random.default_rng(0).random((1024, 6))
    assert qmc.discrepancy(ours) < qmc.discrepancy(random) / 5
    np.testing.assert_array_equal(quiet_points(KEY, 64, 2), quiet_points(KEY, 64))
    for dim in range(6):
        assert stats.kstest(ours[:, dim], "uniform").statistic < 3e-3


def test_any_product_density_starts_quietly():
    def waterbag(v):
        return np.where(np.abs(v) < 2, 1.0, 0.0)

    def bumps(x):
        return 2.0 + np.cos(x / 2) + 0.5 * np.sin(x)

    for start, noise in (("quiet", 2e-4), ("random", 2e-2)):
        stepper = VlasovPoissonPIC(beams=waterbag, initial_density=bumps, start=start, n_cells=64)
        state = begin(stepper, 20_000)
        x, v = np.asarray(state.x, np.float64), np.asarray(state.v, np.float64)
        assert np.abs(v).max() < 2.01
        assert v.var() == pytest.approx(4 / 3, rel=0.01)
        # Density relative to the mean 2: coefficients 1/2 and 1/4.
        coefficients = [2 * np.cos(x / 2).mean(), 2 * np.sin(x).mean(), 2 * np.sin(x / 2).mean(), 2 * np.cos(x).mean()]
        np.testing.assert_allclose(coefficients, [0.5, 0.25, 0, 0], atol=noise)


def test_a_table_draws_what_its_density_says(x64):
    table = Table(-1.0, 3.0, (0.0, 2.0, 1.0, 1.0, 0.0))
    u = jnp.linspace(0, 1, 100_001)[:-1] + 5e-6
    samples = np.asarray(distributions.quantile(u, table))
    points = np.linspace(-1, 3, 4001)
    density = np.asarray(distributions.density(jnp.asarray(points), table))
    assert np.trapezoid(density, points) == pytest.approx(1, abs=1e-9)
    for edge in (-0.5, 0.3, 1.7, 2.9):
        below = points <= edge + 1e-12
        assert (samples < edge).mean() == pytest.approx(np.trapezoid(density[below], points[below]), abs=2e-5)
    mixture = distributions.checked_beams("beams", ((0.9, 0, 1), (0.1, 4, 0.5)))
    expected = 0.9 * stats.norm.pdf(points) + 0.1 * stats.norm(4, 0.5).pdf(points)
    np.testing.assert_allclose(distributions.density(jnp.asarray(points), mixture), expected, rtol=1e-12)


def test_everything_goes_through_json():
    stepper = VlasovPoissonPIC(
        species=(ELECTRONS, IONS._replace(beams=lambda v: np.exp(-(v**2)))),
        n_cells=16,
        velocity_dimensions=2,
        magnetic_field=0.3,
    )
    tabulated = VlasovPoissonPIC(initial_density=lambda x: 1 + 0.1 * np.cos(x), beams=Table(-1.0, 1.0, (0.0, 1.0, 0.0)))
    for one in (stepper, tabulated):
        name, arguments = one.describe()
        again = rebuild_from_attribute(json.dumps({"name": name, "arguments": arguments}))
        assert again == one
        assert hash(again) == hash(one)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"beams": lambda v: np.where(np.abs(v) < 4, v, 0)}, "beams is -.* a density must be finite and at least 0"),
        ({"beams": lambda v: 0 * v + 1}, r"velocity_bounds=\(-8.0, 8.0\) cut 6.7e-01 of the mass of beams"),
        ({"beams": (Beam(1.0, float("nan"), 1.0),)}, "must hold finite numbers only"),
        ({"initial_density": lambda x: np.cos(x)}, "initial_density is -.* a density must be finite and at least 0"),
        ({"initial_density": (0.0, 0.0)}, "initial_density is 0 everywhere"),
        ({"initial_density": Table(0.0, 1.0, (1.0, 1.0))}, "it must span the box, 0 to 12.5664"),
        ({"species": (ELECTRONS, ELECTRONS)}, "species has the name 'electrons' twice"),
        ({"species": (Species("a", mass=0.0),)}, "mass=0.0 of the species 'a' must be a positive number"),
        ({"species": (Species("a", density=float("inf")),)}, "density=inf of the species 'a' must be a positive"),
        ({"species": (Species("a", charge=float("nan")),)}, "charge=nan of the species 'a' must be a finite"),
        ({"species": (Species("a", amplitude=1.5),)}, "amplitude=1.5 makes the density negative"),
        ({"species": (ELECTRONS,), "beams": ((1.0, 2.0, 1.0),)}, "the start of each is part of its Species"),
        ({"velocity_dimensions": 3}, "velocity_dimensions=3 must be 1 or 2"),
        ({"magnetic_field": 1.0}, "it needs velocity_dimensions=2"),
        ({"magnetic_field": float("nan")}, "magnetic_field=nan must be a finite number"),
        ({"collision_frequency": -1.0}, "collision_frequency=-1.0 must be a finite number of at least 0"),
        ({"collision_frequency": 1.0, "integrator": "yoshida"}, "takes a step backwards"),
        ({"collision_frequency": 1.0, "species": (ELECTRONS, IONS)}, "all species must have one mass"),
        ({"deposit": "delta"}, "deposit='delta' must be 'full_f' or 'delta_f'"),
        ({"deposit": "delta_f", "collision_frequency": 1.0}, "one species without collisions"),
        ({"horizon": (0.0, float("inf"))}, "horizon=.* must be increasing"),
    ],
)
def test_bad_physics_is_named(as_installed, wrong, says):
    with pytest.raises(ValueError, match=says):
        VlasovPoissonPIC(**wrong)


def test_strangers_among_the_species_are_named(as_installed):
    with pytest.raises(TypeError, match="species holds 'ions'; each must be a Species"):
        VlasovPoissonPIC(species=("ions",))
    stepper = VlasovPoissonPIC(species=(ELECTRONS, IONS))
    with pytest.raises(ValueError, match="species has no 'ion'; did you mean 'ions'"):
        stepper.samples_of("ion", 10)
    with pytest.raises(ValueError, match="n_samples=1 must be at least the number of species, 2"):
        stepper.init(KEY, 1, {"mu": 1.0})
    with pytest.raises(ValueError, match="finite and increasing"):
        tabulate(np.abs, 1.0, 0.0)
