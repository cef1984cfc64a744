"""Physics does not depend on units and origins: the same data, scaled and shifted, give the same normalised results.

Two rules stand behind it: no absolute tolerance, and no single-precision arithmetic on unshifted positions or times.
"""

import ast
import dataclasses
from typing import Any

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from repository import ROOT

import hoam_plugin as hoam
from hoam_plugin.numerics import tolerances
from hoam_plugin.registry.selection import SurrogateSelection
from hoam_plugin.steppers import clock, state_from_samples
from hoam_plugin.surrogates import TrainedRange, flow_tables

KEY = jax.random.key(0)
SPEEDS, TIMES = np.array([0.5, 1.0, 1.5]), np.linspace(0, 1, 9)


@dataclasses.dataclass(frozen=True)
class Units:
    """Scale and origin of positions (velocities scale with x / t), times and parameters."""

    x: float = 1.0
    x0: float = 0.0
    t: float = 1.0
    t0: float = 0.0
    mu: float = 1.0
    mu0: float = 0.0


# The first is the problem itself.
UNITS = {
    "normalised": Units(),
    "far positions": Units(x0=1e5),
    "late": Units(t0=1e6),
    "SI": Units(x=1e-9, t=1e-12, mu=1e-21),
    "tiny and far": Units(x=1e-24, x0=1e-20, t=1e-24, mu=1e-24),
    "large, far and late": Units(x=1e6, x0=-1e10, t=1e3, t0=1e8, mu=1e6, mu0=1e10),
}


def population(units: Units, *, kinetic: bool = False, dtype: str = "float32", n_samples: int = 256) -> xr.Dataset:
    """Clouds that move with the speed mu; kinetic ones carry their velocity."""
    rng = np.random.default_rng(0)
    start = 0.5 * rng.standard_normal((len(SPEEDS), 1, n_samples))
    x = start + 0.6 * SPEEDS[:, None, None] * TIMES[None, :, None]
    data = {"x": (("run", "time", "sample"), (units.x0 + units.x * x).astype(dtype))}
    if kinetic:
        v = units.x / units.t * (0.6 * SPEEDS[:, None, None] + 0.1 * rng.standard_normal(x.shape))
        data["v"] = (("run", "time", "sample"), v.astype(dtype), {"velocity_of": "x"})
    coords = {"time": units.t0 + units.t * TIMES, "mu": ("run", units.mu0 + units.mu * SPEEDS)}
    return xr.Dataset(data, coords)


def trained(ds: xr.Dataset, **options: Any) -> hoam.Surrogate:
    """A small surrogate; 60 iterations are enough to move."""
    training = hoam.Training(iterations=60, n_samples=64, block=20)
    options = {"loss": hoam.ActionMatching(epsilon=0.0), "potential": hoam.CoLoRA(width=8, depth=2), **options}
    return hoam.fit(ds, key=KEY, training=training, progress=False, **options)


def moved(before: Any, after: Any, units: Units) -> np.ndarray:
    """Mean displacement over the samples, normalised."""
    return (np.asarray(after, np.float64) - np.asarray(before, np.float64)).mean(-1) / units.x


def displacements(model: Any, ds: xr.Dataset, units: Units) -> dict[str, np.ndarray]:
    """How far the population moves, by every way of moving it."""
    mu, times, options = ds["mu"].values, ds["time"].values, {"key": KEY, "n_samples": 256, "progress": False}
    found = {}
    # Many saved times, between which less happens than single precision resolves.
    many = units.t0 + units.t * np.linspace(0, 1, 150)
    out = hoam.simulate(model, {"mu": mu}, many, initial=ds, **options)["x"]
    found["simulate"] = moved(out[:, 0], out[:, -1], units)
    row = {"mu": float(mu[1])}
    state = state_from_samples(model, {name: ds[name].values[1, 0] for name in ds.data_vars}, float(times[0]), row, KEY)
    solved = model.solve(state, times, row, key=KEY)
    found["solve"] = moved(state.x, solved.x[-1], units)
    n = 64
    size = jnp.float32(units.t / n)
    step = lambda i, s: model.step(s, size, row, key=jax.random.fold_in(KEY, i))  # noqa: E731
    stepped = jax.jit(lambda s: jax.lax.fori_loop(0, n, step, s))(state)
    found["step"] = moved(state.x, stepped.x, units)
    found["clock"] = np.asarray((clock.reading(stepped) - clock.reading(state)) / units.t)
    x = np.stack([ds[name].values[1, 0] for name in ds.data_vars], axis=-1)
    drift = model.velocity(jnp.asarray(x), float(times[4]), row)
    found["velocity"] = np.asarray(drift, np.float64).mean(0) * (units.t / units.x) * [1, units.t][: x.shape[1]]
    return found


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    ds = population(Units())
    return displacements(trained(ds), ds, Units())


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in UNITS if name != "normalised"])
def test_learned_populations_move_alike(name: str, expected: dict[str, np.ndarray]) -> None:
    units = UNITS[name]
    ds = population(units)
    model = trained(ds)
    # What the data themselves have lost to single precision, relative to a displacement of 0.3.
    lost = np.finfo(np.float32).eps * abs(units.x0) / units.x
    for what, value in displacements(model, ds, units).items():
        np.testing.assert_allclose(value, expected[what], rtol=2e-3 + 2 * lost, err_msg=what)
    assert abs(expected["solve"]) > 0.2


@pytest.mark.long
def test_choices_among_surrogates_are_alike(expected: dict[str, np.ndarray]) -> None:
    units = Units(x0=1e5, t0=1e6, mu0=1e5)
    ds = population(units)
    choice = SurrogateSelection((trained(ds),), None, "cloud", "raise")
    for what, value in displacements(choice, ds, units).items():
        np.testing.assert_allclose(value, expected[what], rtol=0.03, err_msg=what)


@pytest.mark.long
def test_kinetic_populations_move_alike() -> None:
    results = []
    for units in (Units(), Units(x=1e-9, x0=1e-4, t=1e-12, t0=1e-6, mu=1e-21)):
        ds = population(units, kinetic=True)
        results.append(
            displacements(
                trained(ds, structure="kinetic", potential=hoam.VectorField(8, 2, time_harmonics=1)), ds, units
            )
        )
    for what, value in results[0].items():
        np.testing.assert_allclose(results[1][what], value, rtol=2e-2, err_msg=what)


@pytest.fixture
def tables_made(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Grids for few samples, and whether each table that was made was good enough."""
    monkeypatch.setattr(flow_tables, "_SIDES", {2: (24,)})
    made: list[bool] = []
    call = flow_tables.FlowTables.__call__

    def counted(self: Any, *arguments: Any) -> Any:
        result = call(self, *arguments)
        made.append(result is not None)
        return result

    monkeypatch.setattr(flow_tables.FlowTables, "__call__", counted)
    return made


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in UNITS if name != "normalised"])
def test_tables_of_the_flow_are_alike(name: str, tables_made: list[bool]) -> None:
    results = []
    for units in (Units(), UNITS[name]):
        model = trained(population(units, kinetic=True), structure="gradient")
        start = population(units, kinetic=True, n_samples=3000).isel(run=[1])
        options = {"initial": start, "key": KEY, "n_samples": 3000, "progress": False}
        tables_made.clear()
        found = hoam.simulate(model, {"mu": start["mu"].values}, start["time"].values[[0, 4, 8]], **options)
        assert tables_made
        assert all(tables_made)
        results.append(moved(found["x"].values[0, 0], found["x"].values[0], units))
    lost = np.finfo(np.float32).eps * abs(UNITS[name].x0) / UNITS[name].x
    np.testing.assert_allclose(results[1], results[0], atol=(5e-3 + 2 * lost) * abs(results[0]).max())
    assert abs(results[0][-1]) > 0.1


@pytest.mark.long
def test_noise_moves_alike() -> None:
    results = []
    for units in (Units(), Units(x0=1e5, t0=1e5, mu0=1e5)):
        ds = population(units)
        results.append(displacements(trained(ds, loss=hoam.ActionMatching(epsilon=0.1)), ds, units))
    for what, value in results[0].items():
        np.testing.assert_allclose(results[1][what], value, rtol=2e-2, err_msg=what)


@pytest.mark.long
def test_log_densities_are_alike() -> None:
    results = []
    for units in (Units(), Units(x0=1e5, t0=1e6)):
        ds = population(units)
        model = trained(ds)
        state = model.learned.in_place.state_from_samples({"x": ds["x"].values[1, 4]}, float(ds["time"][4]))

        def gaussian(x: Any, units: Units = units) -> Any:
            return -0.5 * jnp.sum(((x - units.x0) / units.x / 0.5) ** 2, axis=-1)

        results.append(model.log_prob(state, {"mu": float(ds["mu"][1])}, initial_log_prob=gaussian))
    # Samples themselves are rounded to 0.008 here.
    np.testing.assert_allclose(results[1], results[0], atol=0.1)
    np.testing.assert_allclose(results[1].mean(), results[0].mean(), rtol=5e-3)


@pytest.mark.long
def test_half_precision_is_stepped_in_single(expected: dict[str, np.ndarray]) -> None:
    ds = population(Units(), dtype="float16")
    model = trained(ds)
    found = displacements(model, ds, Units())
    for what in ("simulate", "solve", "step"):
        np.testing.assert_allclose(found[what], expected[what], rtol=1e-2, err_msg=what)


@pytest.mark.parametrize("name", list(UNITS))
def test_guards_are_alike(name: str) -> None:
    units = UNITS[name]
    low, high = units.mu0 + units.mu * SPEEDS[[0, -1]]
    trained = TrainedRange((("mu", low, high),), (units.t0, units.t0 + units.t))

    def accepts(mu: float, t: float) -> bool:
        values = {"mu": units.mu0 + units.mu * mu}
        return trained.violation(values, units.t0 + units.t * t) is None

    assert accepts(0.5, 0.0)
    assert accepts(1.5, 1.0)
    assert accepts(1.0, np.float32(0.3))
    # A tenth beyond a range that single precision resolves.
    assert not accepts(1.7, 0.5)
    assert not accepts(0.3, 0.5)
    if np.spacing(np.float32(units.t0)) < 0.01 * units.t:
        assert not accepts(1.0, 1.1)
        assert not accepts(1.0, -0.1)
    assert not accepts(1.0, 2.0)


@pytest.mark.parametrize("name", list(UNITS))
def test_selection_comparison_and_pairing_are_alike(name: str) -> None:
    units = UNITS[name]
    ds = population(units)
    for run, value in enumerate(ds["mu"].values):
        assert hoam.ensemble.sel_run(ds, mu=float(value))["mu"].values.tolist() == [value], run
    with pytest.raises(ValueError, match="no run has"):
        hoam.ensemble.sel_run(ds, mu=units.mu0 + units.mu * 1.25)
    other = ds.assign_coords(mu=("run", ds["mu"].values[::-1]))
    with pytest.raises(ValueError, match="prediction has mu="):
        hoam.compare(ds, other)
    with pytest.raises(ValueError, match=r"prediction has time"):
        hoam.compare(ds, ds.assign_coords(time=ds["time"].values + 0.05 * units.t))
    own = population(Units())
    shift = lambda d, u: d.assign(x=d["x"] + np.float32(0.1 * u.x))  # noqa: E731
    wanted, found = hoam.compare(own, shift(own, Units())), hoam.compare(ds, shift(ds, units))
    lost = np.finfo(np.float32).eps * abs(units.x0) / units.x
    for score in ("mean_error", "sliced_wasserstein"):
        reference = wanted[score].sel(reference="surrogate")
        np.testing.assert_allclose(found[score].sel(reference="surrogate"), reference, rtol=1e-3 + 20 * lost)


@hypothesis.given(
    values=st.lists(st.floats(-1, 1).map(lambda x: round(x, 3)), min_size=2, max_size=6, unique=True),
    scale=st.integers(-24, 6).map(lambda k: 10.0**k),
    offset=st.sampled_from([0.0, 1.0, -1e3, 1e5]),
)
def test_values_equal_themselves_and_no_others(values: list[float], scale: float, offset: float) -> None:
    column = scale * (offset + np.asarray(values))
    for i, value in enumerate(column):
        assert np.flatnonzero(tolerances.same(column, value)).tolist() == [i]
        single = float(np.float32(value))
        resolved = float(np.spacing(np.float32(np.abs(column).max()))) < 1e-4 * scale * 1e-3
        if resolved:
            assert np.flatnonzero(tolerances.same(column, single)).tolist() == [i]
    assert not tolerances.is_constant(column)
    assert tolerances.is_constant(np.full(3, column[0]))


@pytest.mark.long
@hypothesis.given(
    start=st.sampled_from([0.0, 1e5, 1e6, -1e7, 1e-12]),
    dt=st.sampled_from([1e-2, 1e-14, 0.3, 7.0]),
    steps=st.integers(1, 200),
)
def test_a_clock_keeps_time(start: float, dt: float, steps: int) -> None:
    Point = hoam.steppers.state_type(("q",))
    state = Point(q=jnp.zeros(1), **clock.at(start, np.float32))
    size = float(np.float32(dt))
    end = jax.lax.fori_loop(0, steps, lambda i, s: clock.advanced(s, jnp.float32(dt)), state)
    # Twice the digits of single precision, and no less than its digits of the time that has passed.
    slack = steps * (2.0**-46 * abs(start) + 2.0**-46 * size * steps)
    assert abs(clock.reading(end) - start - steps * size) <= slack
    np.testing.assert_allclose(clock.elapsed(end, start), steps * size, rtol=1e-6, atol=slack)
    # Whoever sets the time himself is believed.
    assert clock.reading(dataclasses.replace(end, time=jnp.float32(3.0))) == pytest.approx(3.0, rel=1e-7)


@pytest.mark.long
def test_a_clock_without_digits_to_spare_says_so() -> None:
    model = trained(population(Units(t0=1e6)))
    Plain = dataclasses.make_dataclass("Plain", ["time", "x", ("aux", Any, ())], frozen=True)
    jax.tree_util.register_dataclass(Plain, ["time", "x", "aux"], [])
    with pytest.warns(UserWarning, match=r"time 1e\+06 is float32 and resolves 0.062, too little for dt=0.01"):
        model.step(Plain(jnp.float32(1e6), jnp.zeros(4)), 0.01, {"mu": 1.0})


def test_spreads_below_the_resolution_of_the_data_are_named() -> None:
    with pytest.warns(UserWarning, match=r"variable 'x' spreads by .* where float32 resolves"):
        trained(population(Units(x0=1e6)))
    with pytest.raises(ValueError, match="variable 'x' is constant"):
        trained(population(Units(x0=1e9)))


def is_absolute(call: ast.Call) -> bool:
    """`isclose` and `allclose` call everything below 1e-8 equal; max(1.0, |x|) makes a relative tolerance absolute."""
    name, arguments = ast.unparse(call.func).split(".")[-1], [ast.unparse(a) for a in call.args]
    if name in ("isclose", "allclose"):
        return not any(k.arg in ("atol", "abs_tol") and ast.unparse(k.value) in ("0", "0.0") for k in call.keywords)
    return name in ("max", "maximum") and "1.0" in arguments and any("abs(" in a for a in arguments)


@pytest.mark.long
def test_no_bare_closeness_in_the_package() -> None:
    files = [path for folder in ("hoam_plugin", "simulators", "adapters") for path in (ROOT / folder).rglob("*.py")]
    calls = [(path, node) for path in files for node in ast.walk(ast.parse(path.read_text()))]
    assert not [f"{p.name}:{n.lineno}" for p, n in calls if isinstance(n, ast.Call) and is_absolute(n)]
    wrong = "np.allclose(a, b, rtol=1e-6)", "x < 1e-6 * max(1.0, np.abs(b).max())", "math.isclose(a, b, abs_tol=1e-9)"
    for text in wrong:
        assert any(is_absolute(node) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call))
    assert not is_absolute(ast.parse("np.isclose(a, b, atol=0)", mode="eval").body)
