"""Roots of the dielectric function: published values, limits known in closed form, and none missed."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import dawsn

import hoam_plugin as hoam
from hoam_plugin.plasma import dispersion
from hoam_plugin.plasma.root_finding import Analytic, Rectangle, count_zeros, zeros
from hoam_plugin.simulators import Beam, Species, two_stream

MAXWELLIAN = [(1.0, 0.0, 1.0)]
TWO_STREAM = [(0.5, -3.0, 1.0), (0.5, 3.0, 1.0)]
BUMP_ON_TAIL = [(0.9, 0.0, 1.0), (0.1, 4.0, 0.5)]


def kind(beams, charge=-1.0, mass=1.0, density=1.0):
    return Species("kind", charge, mass, density, tuple(beams))


@pytest.mark.parametrize(
    ("k", "beams", "expected", "digits"),
    [
        (0.5, MAXWELLIAN, 1.415662 - 0.153359j, 6),
        (0.2, TWO_STREAM, 0.28451j, 5),
        (0.2, [(0.5, -2.4, 1.0), (0.5, 2.4, 1.0)], 0.22584j, 5),
        (0.3, [(0.9, 0.0, 1.0), (0.1, 4.5, 0.5)], 1.00122 + 0.19810j, 5),
    ],
)
def test_published_roots_to_all_digits(k, beams, expected, digits):
    assert abs(dispersion.least_damped(k, beams) - expected) < 0.75 * 10.0**-digits


def test_the_growth_rates_of_the_benchmark_problems():
    modes = 2 * np.pi / 50 * np.asarray([1, 2])
    assert hoam.dispersion.growth_rate(modes[0], two_stream().beams, mu=1.25) == pytest.approx(0.21485, abs=5e-6)
    rates = dispersion.growth_rate(modes, BUMP_ON_TAIL, mu=1.35)
    np.testing.assert_allclose(rates, [0.0982, 0.1275], atol=5e-5)


@pytest.mark.parametrize(
    ("k", "expected"),
    # As tabulated in the literature on Vlasov codes.
    [(0.3, 1.1598 - 0.0126j), (0.4, 1.2850 - 0.0661j), (0.5, 1.4156 - 0.1533j)],
)
def test_landau_damping_at_other_wavenumbers(k, expected):
    assert abs(dispersion.least_damped(k, MAXWELLIAN) - expected) < 1e-4


def test_the_dielectric_function_is_the_integral_over_velocities():
    beams, k, mu, omega = [(0.3, -1.0, 0.7), (0.7, 2.0, 1.2)], 0.6, 1.3, 0.8 + 0.4j

    def slope(v):
        return sum(-w * (v - u) / s**3 / np.sqrt(2 * np.pi) * np.exp(-((v - u) ** 2) / (2 * s**2)) for w, u, s in beams)

    integral = quad(lambda v: slope(v) / (v - omega / k), -15, 15, epsabs=1e-12, complex_func=True)[0]
    expected = 1 - integral / (mu * k) ** 2
    assert complex(dispersion.dielectric(omega, k, beams, mu)) == pytest.approx(expected, rel=1e-9)


def test_the_dielectric_function_on_the_real_axis_is_dawsons():
    u = np.linspace(-3, 3, 7)
    z = u / np.sqrt(2)
    expected = 1 + (1 - 2 * z * dawsn(z) + 1j * np.sqrt(np.pi) * z * np.exp(-(z**2))) / 0.25
    np.testing.assert_allclose(dispersion.dielectric(0.5 * u, 0.5, MAXWELLIAN), expected, rtol=1e-12)


def test_near_and_far_formulas_meet():
    # The asymptotic series takes over at |zeta| = 30.
    angles = np.exp(1j * np.linspace(-0.9, np.pi + 0.7, 60))
    near, far = (dispersion.dielectric(np.sqrt(2) * r * angles, 1.0, MAXWELLIAN) - 1 for r in (30 - 1e-9, 30 + 1e-9))
    # Between the two radii exp(-zeta^2) itself changes by 1.2e-7.
    np.testing.assert_allclose(near, far, rtol=2e-7)
    decaying = angles.imag > 0
    np.testing.assert_allclose(near[decaying], far[decaying], rtol=1e-9)


def test_long_waves_follow_bohm_and_gross():
    k = np.asarray([1e-4, 1e-3, 1e-2, 0.05])
    omega = dispersion.least_damped(k, MAXWELLIAN)
    q = (k / omega.real) ** 2
    np.testing.assert_allclose(omega.real**2, 1 + 3 * q + 15 * q**2 + 105 * q**3 + 945 * q**4, rtol=1e-8)
    assert (np.abs(omega.imag) < 1e-20).all()
    # mu only sets the unit of length times that of time.
    scaled = dispersion.least_damped(k / 2, [(1.0, 0.0, 1.0)], mu=2.0)
    np.testing.assert_allclose(scaled * 2, omega, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("k", [0.1, 0.3])
def test_cold_beams_follow_the_biquadratic(k):
    # 1 = sum of 1/2 / (omega -+ k u)^2: omega^2 = a + 1/2 -+ sqrt(2 a + 1/4) with a = (k u)^2.
    u, a = 2.5, (k * 2.5) ** 2
    expected = np.sqrt(complex(a + 0.5 - np.sqrt(2 * a + 0.25)))
    found = dispersion.least_damped(k, [(0.5, -u, 1e-3), (0.5, u, 1e-3)])
    assert found == pytest.approx(1j * expected.imag, abs=1e-5)
    assert found.imag > 0


def test_moving_ions_give_ion_acoustic_waves():
    # Electrons and ions of mass M at a hundredth of their temperature:
    # omega / k = sqrt(1 / (M (1 + k^2)) + 3 T_i / M).
    mass, k, ratio = 1836.0, 0.2, 0.01
    ions = kind([(1.0, 0.0, np.sqrt(ratio / mass))], charge=1.0, mass=mass)
    found = dispersion.roots(k, [kind(MAXWELLIAN), ions], n=40)
    expected = k * np.sqrt(1 / (mass * (1 + k**2)) + 3 * ratio / mass)
    acoustic = found[np.argmin(np.abs(found - expected))]
    assert acoustic.real == pytest.approx(expected, rel=0.02)
    # Electrons damp it: gamma / omega = -sqrt(pi / 8 / M) / (1 + k^2)^(3/2).
    assert acoustic.imag / acoustic.real == pytest.approx(-np.sqrt(np.pi / 8 / mass) / (1 + k**2) ** 1.5, rel=0.1)


def test_a_species_of_electrons_is_its_beams():
    omega = np.asarray([0.3 + 0.1j, 1.0 - 0.2j])
    plain = dispersion.dielectric(omega, 0.4, TWO_STREAM)
    np.testing.assert_allclose(dispersion.dielectric(omega, 0.4, [kind(TWO_STREAM)]), plain, rtol=1e-14)
    halves = [kind([(1.0, u, 1.0)], density=0.5) for u in (-3.0, 3.0)]
    np.testing.assert_allclose(dispersion.dielectric(omega, 0.4, halves), plain, rtol=1e-14)
    # Weights are shares, as in the steppers.
    np.testing.assert_allclose(
        dispersion.dielectric(omega, 0.4, [Beam(7.0, -3.0, 1.0), Beam(7.0, 3.0, 1.0)]), plain, rtol=1e-14
    )
    heavy = [kind(TWO_STREAM, charge=2.0, mass=4.0)]
    np.testing.assert_allclose(dispersion.dielectric(omega, 0.4, heavy), plain, rtol=1e-14)


RANDOM = np.random.default_rng(3)
CASES = [
    (
        float(10 ** RANDOM.uniform(-1.5, 0.5)),
        [
            (float(RANDOM.uniform(0.05, 1)), float(RANDOM.normal(0, 3)), float(10 ** RANDOM.uniform(-1, 0.5)))
            for _ in range(int(RANDOM.integers(1, 4)))
        ],
        float(RANDOM.uniform(0.5, 2)),
    )
    for _ in range(12)
]


@pytest.mark.parametrize(("k", "beams", "mu"), CASES)
def test_no_root_is_missed(k, beams, mu):
    found = dispersion.roots(k, beams, mu=mu, n=7)
    assert len(found) == 7
    assert (np.diff(found.imag) < 1e-8 * np.abs(found).max()).all()
    # They are roots: the change of the dielectric function over a tiny step is larger than its value there.
    h = 1e-7 * np.abs(found).max()
    values, beside = (np.abs(dispersion.dielectric(found + d, k, beams, mu)) for d in (0, h))
    assert (values < 1e-3 * beside).all()
    # As many as the argument principle counts in a much larger box, down to just above the last one.
    gap = np.flatnonzero(found.imag[:-1] - found.imag[1:] > 1e-6 * np.abs(found).max())
    last = int(gap[-1])
    floor = float(found.imag[last] + found.imag[last + 1]) / 2
    reach = 3 * max(np.abs(found.real).max(), k * max(abs(u) + 6 * s for _, u, s in beams))
    box = (-1.01 * reach, reach), (floor, 3.1 / mu + abs(found.imag[0]))
    assert dispersion.count_roots(k, beams, *box, mu=mu) == last + 1


def test_symmetric_pairs_come_with_the_positive_frequency_first():
    found = dispersion.roots(0.5, MAXWELLIAN, n=4)
    np.testing.assert_allclose(found[::2], -found[1::2].conj(), atol=1e-12)
    assert (found[::2].real > 0).all()
    assert dispersion.least_damped(0.5, MAXWELLIAN) == pytest.approx(found[0], rel=1e-12)


def test_arrays_of_wavenumbers_keep_their_shape():
    k = np.asarray([[0.2, 0.3], [0.4, 0.5]])
    omega = dispersion.least_damped(k, MAXWELLIAN)
    assert omega.shape == (2, 2)
    assert omega[1, 1] == dispersion.least_damped(0.5, MAXWELLIAN)
    assert isinstance(dispersion.growth_rate(0.5, MAXWELLIAN), float)
    assert dispersion.dielectric(np.zeros((3, 1)), k[0], MAXWELLIAN).shape == (3, 2)


def test_zeros_of_polynomials_with_their_multiplicity():
    known = [0.5 + 0.25j, -0.5 + 0.25j, 0.1j, 0.1j, -0.7 - 0.6j]
    polynomial = np.polynomial.Polynomial.fromroots(known)
    derivative = polynomial.deriv()
    box = Rectangle(-1.0, 1.1, -1.0, 1.2)

    function = Analytic(lambda z: (polynomial(z), derivative(z)), lambda z: np.full(z.shape, 0.5))
    assert count_zeros(function, box) == 5
    found = sorted(zeros(function, box), key=lambda z: (z.imag, z.real))
    np.testing.assert_allclose(found, sorted(known, key=lambda z: (z.imag, z.real)), atol=1e-6)
    assert count_zeros(function, Rectangle(-1.0, 1.0, 0.2, 1.0)) == 2
    with pytest.raises(ValueError, match="a zero lies on the edge"):
        count_zeros(function, Rectangle(-1.0, 1.0, 0.25, 1.0))


@pytest.mark.parametrize(
    ("k", "beams", "options", "says"),
    [
        (0.0, MAXWELLIAN, {}, "k=0.0 must be finite and above 0"),
        (float("nan"), MAXWELLIAN, {}, "k=nan must be finite and above 0"),
        (-0.5, MAXWELLIAN, {}, "k=-0.5 must be finite and above 0"),
        (0.5, [], {}, r"beams=\(\) must be one or more Maxwellians"),
        (0.5, [(1.0, 0.0, 0.0)], {}, "positive weight and width"),
        (0.5, [(-1.0, 0.0, 1.0)], {}, "positive weight and width"),
        (0.5, [(1.0, float("inf"), 1.0)], {}, r"beams=\(\(1.0, inf, 1.0\),\) must be"),
        (0.5, [(1.0, 0.0)], {}, "must be one or more Maxwellians"),
        (0.5, MAXWELLIAN, {"mu": 0.0}, "mu=0.0 must be a finite number above 0"),
        (0.5, [kind(MAXWELLIAN, mass=0.0)], {}, "mass=0.0 of a species must be finite and above 0"),
        (0.5, [kind(MAXWELLIAN, density=-1.0)], {}, "density=-1.0 of a species"),
        (0.5, [kind(MAXWELLIAN), (1.0, 0.0, 1.0)], {}, "mixes species and Maxwellians"),
    ],
)
def test_wrong_arguments_are_named(k, beams, options, says):
    with pytest.raises(ValueError, match=says):
        dispersion.least_damped(k, beams, **options)
    with pytest.raises(ValueError, match=says):
        dispersion.dielectric(1.0, k, beams, **options)


def test_wrong_frequencies_and_boxes_are_named():
    with pytest.raises(ValueError, match="omega=nan must be finite"):
        dispersion.dielectric(float("nan"), 0.5, MAXWELLIAN)
    with pytest.raises(ValueError, match="so far below the real axis"):
        dispersion.dielectric(-40j, 0.5, MAXWELLIAN)
    with pytest.raises(ValueError, match=r"real=\(1.0, 0.0\) must be \(low, high\)"):
        dispersion.count_roots(0.5, MAXWELLIAN, (1.0, 0.0), (-1.0, 1.0))
    with pytest.raises(ValueError, match="n=0 must be a whole number of at least 1"):
        dispersion.roots(0.5, MAXWELLIAN, n=0)
    with pytest.raises(ValueError, match="n=100000 asks for roots too strongly damped"):
        dispersion.roots(0.5, MAXWELLIAN, n=100_000)
