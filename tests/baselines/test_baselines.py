"""The generative baselines: populations with known moments, the torus, and their place as steppers."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin.baselines import CFM, NCSM, SnapshotStepper, fit_baseline
from hoam_plugin.baselines.methods import nearest_image
from hoam_plugin.dynamics import Normalisation
from hoam_plugin.numerics.periodic import wrapped
from hoam_plugin.steppers import Stepper, Variable, default_float, state_type
from hoam_plugin.steppers.abilities import abilities_of
from hoam_plugin.training.guard import TrainingDivergedError

KEY = jax.random.key(0)
NETWORK = hoam.VectorField(width=32, depth=3, time_harmonics=2)
SMALL_NETWORK = hoam.VectorField(width=8, depth=2, time_harmonics=0)
METHODS = {"CFM": CFM(n_points=10), "NCSM": NCSM()}
PERIOD = 2.0


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Drifting:
    """dy/dt = mu from N(centre, spread^2) at t = 0, on a line or on a circle."""

    centre: float = dataclasses.field(default=0.0, metadata={"static": True})
    spread: float = dataclasses.field(default=1.0, metadata={"static": True})
    period: float | None = dataclasses.field(default=None, metadata={"static": True})
    dt: float = dataclasses.field(default=0.5, metadata={"static": True})
    horizon: tuple[float, float] = dataclasses.field(default=(0.0, 2.0), metadata={"static": True})

    parameters = ("mu",)
    diagnostic_variables = (Variable("mean"),)

    @property
    def variables(self):
        return (Variable("y", period=self.period),)

    def init(self, key, n_samples, parameters):
        y = self.centre + self.spread * jax.random.normal(key, (n_samples,))
        return self.refresh(state_type(("y",))(time=jnp.zeros(()), y=y), parameters)

    def step(self, state, dt, parameters, key=None):
        moved = dataclasses.replace(state, time=state.time + dt, y=state.y + parameters["mu"] * dt)
        return self.refresh(moved, parameters)

    def refresh(self, state, parameters):
        y = state.y if self.period is None else state.y - self.period * jnp.floor(state.y / self.period)
        return dataclasses.replace(state, y=y, aux=y.mean())

    def diagnostics(self, state, parameters):
        return {"mean": state.aux}


LINE, CIRCLE = Drifting(), Drifting(centre=1.7, spread=0.15, period=PERIOD)


def training_options(**options: Any) -> hoam.Training:
    defaults: dict[str, Any] = {"iterations": 1000, "n_samples": 512, "optimiser": "adam", "learning_rate": 1e-2}
    return hoam.Training(**(defaults | {"average": 0.99} | options))


@functools.cache
def line_runs() -> xr.Dataset:
    return toy.moving_gaussian()


@functools.cache
def circle_runs() -> xr.Dataset:
    times = np.linspace(0, 2, 9)
    return hoam.simulate(CIRCLE, {"mu": [0.2, 0.3, 0.4]}, times, key=KEY, n_samples=2048, progress=False)


@functools.cache
def line_model(name: str) -> SnapshotStepper:
    return fit_baseline(
        line_runs(),
        METHODS[name],
        key=jax.random.key(1),
        network=NETWORK,
        training=training_options(),
        replaces=LINE,
        progress=False,
    )


@functools.cache
def circle_model(name: str) -> SnapshotStepper:
    return fit_baseline(
        circle_runs(),
        METHODS[name],
        key=jax.random.key(1),
        network=NETWORK,
        training=training_options(),
        replaces=CIRCLE,
        progress=False,
    )


def drawn(model: SnapshotStepper, mu: Any, times: Any = (0.0, 1.1, 2.0), seed: int = 2, **options: Any) -> xr.Dataset:
    options = {"n_samples": 4096, "progress": False} | options
    return hoam.simulate(model, {"mu": mu}, times, key=jax.random.key(seed), **options)


# What is learned


@pytest.mark.long
@pytest.mark.parametrize("name", METHODS)
def test_moments_of_a_gaussian_between_the_training_runs(name: str) -> None:
    """The population N(mu t, 1) at a held-out mu and at times on and between the saved ones."""
    times = np.array([0.0, 0.6, 1.1, 2.0])
    y = drawn(line_model(name), [2.4], times)["y"].values[0].astype(np.float64)
    np.testing.assert_allclose(y.mean(-1), 2.4 * times, atol=0.15)
    np.testing.assert_allclose(y.std(-1), 1.0, atol=0.1)


@pytest.mark.long
@pytest.mark.parametrize("name", METHODS)
def test_a_periodic_variable_stays_in_its_period(name: str) -> None:
    """A narrow population that crosses the end of the box keeps its angular mean and spread."""
    times = np.array([0.0, 1.1, 2.0])
    y = drawn(circle_model(name), [0.33], times)["y"].values[0].astype(np.float64)
    assert (y >= 0).all()
    assert (y < PERIOD).all()
    radius = PERIOD / (2 * np.pi)
    moment = np.exp(1j * (y - CIRCLE.centre - 0.33 * times[:, None]) / radius).mean(-1)
    np.testing.assert_allclose(np.angle(moment) * radius, 0, atol=0.04)
    np.testing.assert_allclose(np.sqrt(-2 * np.log(np.abs(moment))) * radius, CIRCLE.spread, atol=0.04)


@pytest.mark.long
def test_the_gradient_in_a_parameter_is_that_of_the_mean() -> None:
    model = line_model("CFM")

    def mean_at_the_end(mu: Any) -> Any:
        state = model.init(KEY, 512, {"mu": mu})
        return model.step(state, 2.0, {"mu": mu}).y.mean()

    slopes = jax.vmap(jax.grad(mean_at_the_end))(jnp.asarray([1.5, 2.5]))
    np.testing.assert_allclose(slopes, 2.0, atol=0.3)


def test_the_loss_falls_to_that_of_the_exact_score() -> None:
    history = line_model("NCSM").history
    assert history is not None
    assert history["loss"].sizes == {"iteration": 1000}
    # Zero weights answer nothing, which leaves the mean square of the noise; the exact score leaves V / (V + sigma^2).
    assert history["loss"].values[0] == pytest.approx(1, abs=0.2)
    variance, levels = 1 / float(line_model("NCSM").normalisation.scale[0]) ** 2, np.geomspace(1, 1e-2, 10)
    least = np.mean(variance / (variance + levels**2))
    assert history["loss"].values[-100:].mean() == pytest.approx(least, rel=0.025)


# The methods by themselves


def test_flow_examples_lie_on_the_shortest_way() -> None:
    period = 3.0
    start, end = jnp.full((64, 2), 2.8), jnp.full((64, 2), 0.1)
    points, last, targets = CFM().examples(KEY, start, end, (period, None))
    np.testing.assert_allclose(targets, [[0.3, -2.7]] * 64, rtol=1e-5)
    s = (last[:, None] + 1) / 2
    np.testing.assert_allclose(points, start + s * targets, rtol=1e-5)
    assert 0 <= s.min() < 0.1
    assert 0.9 < s.max() <= 1


def test_nearest_image_and_wrapping_leave_other_coordinates_alone() -> None:
    x = jnp.asarray([[-1e-9, -7.0], [4.0, 7.0], [2.0, 0.0]])
    np.testing.assert_allclose(nearest_image(x, (3.0, None)), [[0, -7], [1, 7], [-1, 0]], atol=1e-6)
    norm = Normalisation(
        shift=jnp.zeros(2),
        scale=jnp.ones(2),
        parameter_shift=jnp.zeros(0),
        parameter_scale=jnp.zeros(0),
        periods=(3.0, None),
        horizon=(0.0, 1.0),
        parameters=(),
    )
    inside = norm.wrapped(x)
    np.testing.assert_allclose(inside, [[0, -7], [1, 7], [2, 0]], atol=1e-6)
    assert (inside[:, 0] < 3).all()


def test_langevin_dynamics_with_the_exact_score_draws_the_population() -> None:
    """Of a normal coordinate, N(0.7, 0.8^2), and of one that is uniform on its period."""
    method = NCSM()

    def field_at(last: Any) -> Any:
        sigma = method.largest * (method.smallest / method.largest) ** ((1 - last) / 2)
        slope = jnp.stack([sigma / (0.8**2 + sigma**2), jnp.zeros(())])
        return lambda z: -slope[None] * (z - jnp.asarray([[0.7, 0.0]]))

    z = method.sample(field_at, jnp.zeros((8192, 2)), KEY, (None, 3.0))
    assert z[:, 0].mean() == pytest.approx(0.7, abs=0.04)
    assert z[:, 0].std() == pytest.approx(0.8, rel=0.05)
    share = np.histogram(np.asarray(wrapped(z[:, 1], 3.0)), 4, (0, 3))[0] / 8192
    np.testing.assert_allclose(share, 0.25, atol=0.02)


# As steppers


def test_it_is_a_stepper_of_snapshots() -> None:
    model = line_model("CFM")
    assert isinstance(model, Stepper)
    assert model.snapshots
    assert model.dt == 2.0
    assert abilities_of(model).rates is None


def test_the_same_key_gives_the_same_samples() -> None:
    for name in METHODS:
        first, again, other = (drawn(line_model(name), [1.5], n_samples=64, seed=seed)["y"] for seed in (3, 3, 4))
        xr.testing.assert_identical(first, again)
        assert (np.abs(first.values - other.values).max(-1) > 0.1).all()


def test_a_time_depends_on_the_initial_population_alone() -> None:
    model, mu = line_model("CFM"), {"mu": 1.5}
    state = model.init(KEY, 64, mu)
    between = model.step(state, 0.7, mu)
    scrambled = dataclasses.replace(between, y=between.y[::-1])
    at_once, in_two = model.step(state, 2.0, mu), model.step(scrambled, 1.3, mu)
    np.testing.assert_allclose(in_two.y, at_once.y, rtol=1e-5, atol=1e-5)
    assert jax.tree.structure(in_two) == jax.tree.structure(state)
    np.testing.assert_array_equal(in_two.aux.state.y, state.y)


def test_given_initial_samples_are_what_the_flow_starts_from() -> None:
    model = line_model("CFM")
    initial = line_runs().isel(run=[0], time=[0], sample=slice(64))
    predictions = [drawn(model, [1.0], n_samples=64, seed=seed, initial=initial)["y"] for seed in (0, 1)]
    np.testing.assert_array_equal(predictions[0][:, 0], initial["y"][:, 0])
    np.testing.assert_array_equal(*predictions)
    own = LINE.init(KEY, 64, {"mu": 1.0})
    np.testing.assert_array_equal(drawn(model, [1.0], n_samples=64, initial=own)["y"][0, 0], own.y)


def test_diagnostics_are_those_of_the_drawn_samples() -> None:
    ds = drawn(line_model("NCSM"), [1.5, 2.0], n_samples=64)
    np.testing.assert_allclose(ds["mean"], ds["y"].mean("sample"), atol=1e-5)


@pytest.mark.long
def test_a_plasma_is_simulated_and_scored() -> None:
    """The replaced stepper comes from the attributes; the initial samples are shared, and later ones are scored."""
    runs = toy.small_plasma_ensemble()
    model = fit_baseline(
        runs, CFM(n_points=5), key=KEY, network=NETWORK, training=training_options(iterations=300), progress=False
    )
    assert isinstance(model.replaces, type(toy.small_plasma()))
    truth = hoam.simulate(toy.small_plasma(), {"mu": [1.4]}, [0.0, 2.0, 4.0], key=KEY, n_samples=512, progress=False)
    prediction = drawn(model, [1.4], [0.0, 2.0, 4.0], n_samples=512, initial=truth)
    np.testing.assert_array_equal(prediction["x"][:, 0], truth["x"][:, 0])
    np.testing.assert_allclose(prediction["electric_energy"][:, 0], truth["electric_energy"][:, 0], rtol=1e-4)
    scores = hoam.compare(truth, prediction, training=runs).sel(reference="surrogate")
    assert all(np.isfinite(score).all() for score in scores.data_vars.values())
    # Two independent runs of so few samples: about 0.1.
    assert scores["sliced_wasserstein"].item() < 0.15


@pytest.mark.long
def test_some_variables_of_the_replaced_stepper_are_enough() -> None:
    runs = toy.small_plasma_ensemble()[["v"]]
    options = training_options(iterations=2, block=2, n_samples=8)
    model = fit_baseline(runs, CFM(n_points=1), key=KEY, network=SMALL_NETWORK, training=options, progress=False)
    prediction = drawn(model, [1.4], [0.0, 4.0], n_samples=16)
    assert list(prediction.data_vars) == ["v"]


@pytest.mark.long
def test_vectors_in_double_precision_without_parameters(x64: None) -> None:
    @jax.tree_util.register_dataclass
    @dataclasses.dataclass(frozen=True)
    class Still:
        variables = (Variable("q", dims=("axis",)),)
        parameters, dt, horizon = (), 1.0, (0.0, 1.0)

        def init(self, key, n_samples, parameters):
            return state_type(("q",))(time=jnp.zeros(()), q=jax.random.normal(key, (n_samples, 2)))

        def step(self, state, dt, parameters, key=None):
            return dataclasses.replace(state, time=state.time + dt)

        def refresh(self, state, parameters):
            return state

    assert default_float() == np.float64
    runs = hoam.simulate(Still(), {}, [0.0, 1.0], key=KEY, n_samples=64, progress=False)
    options = training_options(iterations=3, block=2, n_samples=32)
    for method in (CFM(n_points=2), NCSM(n_levels=2, n_steps=3)):
        model = fit_baseline(
            runs, method, key=KEY, network=SMALL_NETWORK, training=options, replaces=Still(), progress=False
        )
        ds = hoam.simulate(model, {}, [0.0, 0.5, 1.0], key=KEY, n_samples=16, progress=False)
        assert ds["q"].dtype == np.float64
        assert ds["q"].shape == (1, 3, 16, 2)


# What is refused


def test_wrong_methods_say_what_would_be_right() -> None:
    for make, message in (
        (lambda: CFM(n_points=0), "n_points=0 must be a whole number of at least 1"),
        (lambda: NCSM(n_levels=1), "n_levels=1 must be a whole number of at least 2"),
        (lambda: NCSM(n_steps=0), "n_steps=0 must"),
        (lambda: NCSM(smallest=0.0), "smallest=0.0 must be a finite number above 0"),
        (lambda: NCSM(largest=0.5, smallest=0.5), "smallest=0.5 must be below largest=0.5"),
    ):
        with pytest.raises(ValueError, match=message):
            make()


def test_wrong_arguments_say_what_would_be_right(as_installed: None) -> None:
    runs = line_runs()

    def fit(ds: xr.Dataset = runs, method: Any = METHODS["CFM"], **options: Any) -> None:
        fit_baseline(ds, method, key=KEY, **({"replaces": LINE, "progress": False} | options))

    with pytest.raises(TypeError, match=r"method='CFM' must be CFM\(...\) or NCSM\(...\)"):
        fit(method="CFM")
    with pytest.raises(TypeError, match=r"must be VectorField\(...\)"):
        fit(network=hoam.CoLoRA())
    with pytest.raises(TypeError, match=r"training=100 must be Training\(...\)"):
        fit(training=100)
    with pytest.raises(ValueError, match="conservative=False"):
        fit(network=hoam.VectorField(conservative=True))
    with pytest.raises(ValueError, match="1 saved time"):
        fit(runs.isel(time=[0]))
    with pytest.raises(ValueError, match="replaces=None, and the ensemble names no known stepper"):
        fit(replaces=None)
    with pytest.raises(ValueError, match="lacks \\['y'\\]"):
        fit(replaces=toy.small_plasma())
    with pytest.raises(ValueError, match="starts at time 1, but Drifting draws its population at 0"):
        fit(runs.sel(time=slice(1, None)))
    with pytest.raises(ValueError, match="lacks the dim 'run'"):
        fit(runs.isel(run=0))
    with pytest.raises(TypeError, match="float64"):
        fit(runs.astype(np.float64))


def test_a_step_says_what_it_lacks() -> None:
    model, mu = line_model("NCSM"), {"mu": 1.5}
    state = model.init(KEY, 8, mu)
    with pytest.raises(ValueError, match="key=None: NCSM draws noise"):
        model.step(state, 1.0, mu)
    with pytest.raises(ValueError, match="carries no initial population"):
        model.step(LINE.init(KEY, 8, mu), 1.0, mu, KEY)
    with pytest.raises(ValueError, match="mu=4 is outside the trained range"):
        model.step(state, 1.0, {"mu": 4.0}, KEY)
    with pytest.raises(ValueError, match=r"time 2\.5 is outside the trained horizon"):
        drawn(model, [1.5], [0.0, 2.5], n_samples=8)
    with pytest.raises(ValueError, match=r"are of time 1; snapshots are drawn from .* the trained horizon, 0"):
        drawn(model, [1.0], [1.0, 2.0], n_samples=8, initial=line_runs().sel(run=[0], time=[1.0]))


def test_a_loss_that_is_not_finite_ends_the_training() -> None:
    options = training_options(iterations=20, block=5, n_samples=8, learning_rate=1e30, warmup=0)
    with pytest.raises(TrainingDivergedError, match=r"at iteration .* smaller learning_rate than 1e"):
        fit_baseline(
            line_runs(), CFM(), key=KEY, network=SMALL_NETWORK, training=options, replaces=LINE, progress=False
        )
