"""The potential of splines: its derivatives against autodiff of its value, its coefficients, and its use by `fit`."""

import dataclasses
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from made_once import made_once
from scipy.interpolate import BSpline
from scipy.stats import norm

import hoam_plugin as hoam
from hoam_plugin.dynamics import weights_of_runs
from hoam_plugin.numerics.uniform_splines import Axis, interpolating
from hoam_plugin.potentials import Embedding, SplinePotential, description, modulations_and_rates, potential_from
from hoam_plugin.steppers import state_type

RANGE, SHORT = Axis(-1.3, 2.1, 9, periodic=False), Axis(-0.5, 1.0, 7, periodic=False)
# Around a period they may begin anywhere.
LOOP, TIGHT = Axis(0.0, 2.5, 8, periodic=True), Axis(0.4, 3.9, 7, periodic=True)
PLACES = {
    "range": (RANGE,),
    "loop": (TIGHT,),
    "ranges": (RANGE, SHORT),
    "range and loop": (SHORT, LOOP),
    "loop and range": (TIGHT, RANGE),
    "loops": (LOOP, TIGHT),
}
ALL = pytest.mark.parametrize("axes", PLACES.values(), ids=PLACES)
N_TIMES, N_EACH, N_PROBES = 3, 5, 2


def placed(axes: tuple[Axis, ...]) -> tuple[SplinePotential, Embedding]:
    periods = tuple(axis.high - axis.low if axis.periodic else None for axis in axes)
    potential = SplinePotential(n_splines=tuple(axis.n for axis in axes), axes=axes)
    return potential, Embedding(periods, potential.harmonics)


def size(axes: tuple[Axis, ...]) -> int:
    return int(np.prod([axis.n for axis in axes]))


def points(axes: tuple[Axis, ...], n: int, seed: int = 0) -> np.ndarray:
    """Somewhere, some of them beyond the range or in other periods."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.normal((a.low + a.high) / 2, (a.high - a.low) / 2, n) for a in axes], axis=1)


def splines_of(axis: Axis, x: np.ndarray) -> np.ndarray:
    """(point, spline) by scipy; of a range, with straight lines beyond."""
    n = axis.n_cells + 3
    knots = axis.low + axis.spacing * (np.arange(n + 4) - 3)
    curves = BSpline(knots, np.eye(axis.n)[np.arange(n) % axis.n], 3)
    if axis.periodic:
        return curves(axis.low + np.mod(x - axis.low, axis.high - axis.low))
    inside = np.clip(x, axis.low, axis.high)
    return curves(inside) + curves(inside, 1) * (x - inside)[:, None]


# Value and derivatives


@pytest.mark.usefixtures("x64")
@ALL
def test_the_value_is_the_tensor_product_of_scipys_splines(axes: tuple[Axis, ...]) -> None:
    potential, embedding = placed(axes)
    z, c = points(axes, 30), np.random.default_rng(1).standard_normal([axis.n for axis in axes])
    wanted = np.broadcast_to(c, (len(z), *c.shape))
    for axis, column in zip(axes, z.T, strict=True):
        wanted = np.einsum("nk...,nk->n...", wanted, splines_of(axis, column))
    found = jax.jit(lambda z, c: potential.value({}, embedding.features(z), c))(z, c.reshape(-1))
    np.testing.assert_allclose(found, wanted, atol=1e-11)


@dataclasses.dataclass(frozen=True)
class Case:
    """Samples of several times, and the potential of one of them as a plain function for JAX to differentiate."""

    axes: tuple[Axis, ...]

    @property
    def potential(self) -> SplinePotential:
        return placed(self.axes)[0]

    @property
    def embedding(self) -> Embedding:
        return placed(self.axes)[1]

    @functools.cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        z, rng = points(self.axes, N_TIMES * N_EACH), np.random.default_rng(1)
        shapes = {
            "c": (N_TIMES, size(self.axes)),
            "rates": (N_TIMES, size(self.axes)),
            "probes": (len(z), N_PROBES, len(self.axes)),
            "drift": z.shape,
        }
        return {"z": z, **{name: rng.standard_normal(shape) for name, shape in shapes.items()}}

    def naive(self) -> dict[str, jax.Array]:
        """Derivatives of every sample by itself."""

        def value(z: jax.Array, c: jax.Array) -> jax.Array:
            return self.potential.value({}, self.embedding.features(z[None]), c)[0]

        def of_one(z: jax.Array, c: jax.Array, rates: jax.Array, probes: jax.Array, drift: jax.Array) -> Any:
            hessian = jax.hessian(value)(z, c)
            gradient = jax.grad(value)(z, c)
            return {
                "value": value(z, c),
                "gradient": gradient,
                "laplacian": jnp.trace(hessian),
                "last": hessian[-1, -1],
                "along": probes @ gradient / N_PROBES**0.5,
                "estimate": jnp.mean(jnp.einsum("ki,ij,kj->k", probes, hessian, probes)),
                "rate": jax.jvp(value, (z, c), (drift, rates))[1],
            }

        a = self.arrays
        c, rates = (np.repeat(a[name], N_EACH, axis=0) for name in ("c", "rates"))
        return jax.jit(jax.vmap(of_one))(a["z"], c, rates, a["probes"], a["drift"])


@pytest.mark.long
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ["range", "loop and range", "loops"])
def test_derivatives_are_those_of_autodiff_of_the_value(name: str) -> None:
    case = Case(PLACES[name])
    potential, embedding, a = case.potential, case.embedding, case.arrays

    @jax.jit
    def found(a: Mapping[str, jax.Array]) -> Any:
        features = embedding.streams(a["z"], laplacian=True, drift=a["drift"])
        exact = potential.propagate({}, features, a["c"], a["rates"])
        features = embedding.streams(a["z"], laplacian=True, probes=a["probes"], drift=a["drift"])
        drawn = potential.propagate({}, features, a["c"], a["rates"])
        # Only the last coordinate is driven.
        driven = dataclasses.replace(embedding, driven=(len(case.axes) - 1,))
        partly = potential.propagate({}, driven.streams(a["z"], laplacian=True), a["c"], a["rates"])
        drifts = [
            potential.drift({}, embedding, a["z"], a["c"]),
            potential.drift_at_one_time({}, embedding, a["z"][:N_EACH], a["c"][0]),
        ]
        return exact, drawn, partly, drifts

    (exact, drawn, partly, drifts), naive = found(a), case.naive()
    close = functools.partial(np.testing.assert_allclose, atol=1e-9)
    close(exact.value, naive["value"])
    close(exact.gradient.T, naive["gradient"])
    close(exact.laplacian, naive["laplacian"])
    close(exact.rate, naive["rate"])
    close(drawn.value, naive["value"])
    close(drawn.gradient.T, naive["along"])
    close(drawn.laplacian, naive["estimate"])
    close(drawn.rate, naive["rate"])
    close(partly.gradient.T, naive["gradient"][:, -1:])
    close(partly.laplacian, naive["last"])
    close(drifts[0], naive["gradient"])
    close(drifts[1], naive["gradient"][:N_EACH])


def test_in_single_precision_it_is_nearly_the_same() -> None:
    case = Case(PLACES["loop"])

    @jax.jit
    def propagated(a: Mapping[str, jax.Array]) -> Any:
        features = case.embedding.streams(a["z"], laplacian=True, drift=a["drift"])
        return case.potential.propagate({}, features, a["c"], a["rates"])

    rounded = {name: a.astype(np.float32) for name, a in case.arrays.items()}
    found = propagated(rounded)
    with jax.enable_x64(True):
        wanted = propagated({name: a.astype(np.float64) for name, a in rounded.items()})
    for single, double in zip(found, wanted, strict=True):
        assert single.dtype == jnp.float32
        np.testing.assert_allclose(single, double, atol=2e-5 * float(np.abs(double).max()))


@pytest.mark.usefixtures("x64")
def test_around_a_period_it_comes_again_and_goes_on_across_the_seam() -> None:
    axes = PLACES["loop and range"]
    potential, embedding = placed(axes)
    c, period = jax.random.normal(jax.random.key(0), (1, size(axes))), axes[0].high - axes[0].low

    @jax.jit
    def at(x: jax.Array) -> jax.Array:
        z = jnp.stack([x, jnp.full_like(x, 0.3)], axis=1)
        s = potential.propagate({}, embedding.streams(z, laplacian=True), c, jnp.zeros_like(c))
        return jnp.stack([s.value, *s.gradient, s.laplacian])

    # Where the splines begin, and where the angle does.
    seams = np.asarray([axes[0].low, axes[0].high, period / 2, -period / 2, 0.0])
    np.testing.assert_allclose(at(seams - 1e-9), at(seams + 1e-9), atol=1e-6)
    inside = np.linspace(axes[0].low, axes[0].high, 5)
    np.testing.assert_allclose(at(inside + 3 * period), at(inside), atol=1e-11)
    assert np.ptp(np.asarray(at(inside))[0]) > 0.1


# Coefficients


AXES = (RANGE,)
TAUS, MUS = np.linspace(-1, 1, 6), np.asarray([-1.2, -0.4, 0.1, 0.7, 1.5])


def with_coefficients(values: np.ndarray, columns: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Weights whose coefficients are (time, run, spline) at even normalised times and runs' parameters."""
    runs = weights_of_runs(columns, values.shape[1])
    names = ("shift", "scale", "basis", "points", "table")
    return {
        "coefficients": jnp.asarray(interpolating(values)),
        "runs": {name: getattr(runs, name) for name in names},
    }


def conditions(tau: np.ndarray, *parameters: np.ndarray) -> jax.Array:
    return jnp.asarray(np.stack([a.reshape(-1) for a in np.broadcast_arrays(tau, *parameters)], axis=1))


@pytest.mark.usefixtures("x64")
def test_coefficients_are_interpolated_in_time_and_parameters() -> None:
    potential, _ = placed(AXES)
    direction = np.random.default_rng(0).standard_normal(RANGE.n)

    def exact(tau: np.ndarray, mu: np.ndarray) -> np.ndarray:
        """Linear in time and cubic in the parameter, which both splines reproduce."""
        return ((2 + tau) * (1 + mu - 0.5 * mu**2 + 0.2 * mu**3))[..., None] * direction

    weights = with_coefficients(exact(TAUS[:, None], MUS[None]), {"0": MUS})
    tau, mu = np.linspace(-1, 1, 13)[:, None], np.linspace(-1.2, 1.5, 9)[None]
    found = jax.jit(potential.modulations)(weights, conditions(tau, mu))
    np.testing.assert_allclose(found, exact(tau, mu).reshape(-1, RANGE.n), atol=1e-11)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("n_parameters", [0, 1, 2])
def test_at_the_runs_and_times_that_are_known_coefficients_are_exact(n_parameters: int) -> None:
    potential, _ = placed(AXES)
    n_runs = len(MUS) if n_parameters else 1
    values = np.random.default_rng(1).standard_normal((len(TAUS), n_runs, RANGE.n))
    columns = {str(i): np.random.default_rng(2 + i).standard_normal(n_runs) for i in range(n_parameters)}
    weights = with_coefficients(values, columns)
    rows = conditions(TAUS[:, None], *(column[None] for column in columns.values()))
    found = jax.jit(potential.modulations)(weights, rows)
    np.testing.assert_allclose(found, values.reshape(-1, RANGE.n), atol=1e-10)


@pytest.mark.usefixtures("x64")
def test_coefficients_are_differentiable_in_time_and_parameters() -> None:
    potential, _ = placed(AXES)
    values = np.random.default_rng(1).standard_normal((len(TAUS), len(MUS), RANGE.n))
    weights = with_coefficients(values, {"0": MUS})
    row, h = jnp.asarray([0.13, 0.52]), 1e-5

    @jax.jit
    def of(row: jax.Array) -> jax.Array:
        return potential.modulations(weights, row[None])[0]

    jacobian = jax.jit(jax.jacfwd(of))(row)
    for i, step in enumerate(h * jnp.eye(2)):
        np.testing.assert_allclose(jacobian[:, i], (of(row + step) - of(row - step)) / (2 * h), rtol=1e-5, atol=1e-7)
    c, rates = jax.jit(functools.partial(modulations_and_rates, potential), static_argnums=2)(weights, row[None], 2.0)
    np.testing.assert_allclose(c[0], of(row), atol=1e-12)
    np.testing.assert_allclose(rates[0], 2 * jacobian[:, 0], atol=1e-10)


@pytest.mark.parametrize("n_parameters", [0, 1, 2])
def test_at_first_there_is_one_run_with_coefficients_of_zero(n_parameters: int) -> None:
    potential, embedding = placed(PLACES["loops"])
    weights = potential.init(jax.random.key(0), embedding.n_features, 1 + n_parameters)
    c = jax.jit(potential.modulations)(weights, jnp.ones((2, 1 + n_parameters)))
    np.testing.assert_array_equal(c, np.zeros((2, size(PLACES["loops"]))))
    assert jax.tree.structure(weights) == jax.tree.structure(with_coefficients(np.zeros((2, 1, 3)), {}))


# What it is made of


@pytest.mark.parametrize(
    "potential",
    [
        SplinePotential(),
        SplinePotential(n_splines=9, n_steps=8, smoothness=0.1),
        SplinePotential(n_splines=(8, 30), axes=PLACES["range and loop"]),
    ],
)
def test_it_is_made_again_from_json(potential: SplinePotential) -> None:
    again = potential_from(json.loads(json.dumps(description(potential))))
    assert again == potential
    assert hash(again) == hash(potential)
    if potential.axes is not None:
        assert again.placed == potential.placed  # type: ignore[union-attr]


def test_one_of_a_file_from_before_periods_had_a_weight_says_what_it_was_solved_with() -> None:
    described = description(SplinePotential())
    del described["period_weight"]
    assert potential_from(described) == SplinePotential(period_weight=1.0)


@pytest.mark.usefixtures("as_installed")
@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"n_splines": 3}, "n_splines=3 must be a whole number of at least 7"),
        ({"n_splines": (24, 3)}, "n_splines=3 must be a whole number of at least 7"),
        ({"n_splines": 24.5}, r"n_splines=24\.5 must be a whole number"),
        ({"n_splines": "24"}, "n_splines='24' must be a whole number"),
        ({"n_steps": 0}, "n_steps=0 must be a whole number of at least 1"),
        ({"smoothness": -1}, "smoothness=-1 must be a finite number above 0"),
        ({"period_weight": 0}, "period_weight=0 must be a finite number above 0"),
        ({"smoothness": 0.0}, r"smoothness=0\.0 must be a finite number above 0"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        SplinePotential(**options)


@pytest.mark.usefixtures("as_installed")
def test_numpys_numbers_are_plain_numbers_in_it() -> None:
    assert SplinePotential(n_splines=np.int64(24)) == SplinePotential(n_splines=24)  # type: ignore[arg-type]
    json.dumps(description(SplinePotential(n_splines=(np.int64(24), 8))))  # type: ignore[arg-type]


def test_without_a_place_it_has_no_value() -> None:
    potential = SplinePotential(n_splines=9)
    with pytest.raises(ValueError, match=r"axes=None.*which fit finds"):
        potential.init(jax.random.key(0), 1, 2)
    with pytest.raises(ValueError, match="axes=None"):
        potential.value({}, jnp.zeros((3, 1)), jnp.zeros(9))


# From samples


def widening(mus: tuple[float, ...] = (0.6, 1.0, 1.4)) -> xr.Dataset:
    """y = e (1 + mu t / 4) on t in [1, 3], e normal; quantiles, so that nothing is drawn."""
    times = np.linspace(0.0, 2.0, 9)
    e = norm.ppf((np.arange(400) + 0.5) / 400)
    y = e * (1 + np.asarray(mus)[:, None, None] * times[None, :, None] / 4)
    return xr.Dataset(
        {"y": (("run", "time", "sample"), y.astype(np.float32))}, {"time": 1 + times, "mu": ("run", list(mus))}
    )


def fit(ds: xr.Dataset) -> hoam.Surrogate:
    potential = SplinePotential(n_splines=16, n_steps=8, smoothness=0.02)
    return hoam.fit(ds, key=jax.random.key(0), potential=potential, progress=False)


@made_once
def widened() -> hoam.Surrogate:
    return fit(widening()).with_options(dt=0.05)


def test_the_velocity_of_known_populations_is_found() -> None:
    y = jnp.linspace(-1.5, 1.5, 7)[:, None]
    for mu, t in ((0.6, 1.5), (1.0, 2.0), (1.2, 2.5)):
        wanted = y * (mu / 4) / (1 + mu * (t - 1) / 4)
        np.testing.assert_allclose(widened().velocity(y, t, {"mu": mu}), wanted, atol=0.02)


def test_a_file_holds_it_unchanged(tmp_path: Path) -> None:
    model = widened()
    model.save(tmp_path / "splines.hoam")
    loaded = hoam.load(tmp_path / "splines.hoam")
    assert loaded.learned.potential == model.learned.potential
    assert loaded.learned.potential.axes is not None  # type: ignore[union-attr]
    y, mu = jnp.linspace(-5.0, 5.0, 11)[:, None], {"mu": 1.1}
    np.testing.assert_array_equal(loaded.velocity(y, 1.7, mu), model.velocity(y, 1.7, mu))
    for found, wanted in zip(
        jax.tree.leaves(loaded.learned.weights), jax.tree.leaves(model.learned.weights), strict=True
    ):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.usefixtures("x64")
def test_densities_change_with_the_volume() -> None:
    model, mu = widened(), {"mu": 1.2}
    state, end = state_type(("y",)), jnp.asarray(3.0)
    start, h = np.linspace(-2.0, 2.0, 9), 1e-4

    def initial(x: Any) -> Any:
        return jax.scipy.stats.norm.logpdf(x[:, 0])

    moved = model.solve(state(jnp.asarray(1.0), jnp.asarray([*start, *(start + h), *(start - h)])), end[None], mu)
    at, after, before = jnp.reshape(moved.y, (3, len(start)))
    y = np.linspace(-12.0, 12.0, 801)
    everywhere = state(end, jnp.concatenate([at, y]))
    found, log_density = np.split(model.log_prob(everywhere, mu, initial_log_prob=initial), [len(start)])
    widths = np.log((after - before) / (2 * h))
    np.testing.assert_allclose(found, norm.logpdf(start) - widths, atol=1e-5)
    # The population is 1 + mu / 2 times as wide.
    np.testing.assert_allclose(widths, np.log(1.6), atol=0.05)
    assert np.trapezoid(np.exp(log_density), y) == pytest.approx(1, abs=1e-4)
