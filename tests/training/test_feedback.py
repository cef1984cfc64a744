"""A march with the model's own samples after training: wrong models are put right, others are left alone."""

import dataclasses
import functools
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
import xarray as xr
from scipy.stats import norm, qmc

import hoam_plugin as hoam
from hoam_plugin._internal.hardware import available_cores
from hoam_plugin.potentials import Corrected, FeaturePotential
from hoam_plugin.training import feedback
from hoam_plugin.training.choices import Choices, resolve

KEY = jax.random.key(7)
# Long enough for all samples of the ensembles here; nothing is trained.
LONG = hoam.Training(iterations=20_000)
NETWORK = hoam.MLP(width=4, depth=2)
STEPS, N_SAMPLES = 16, 1024
MUS, BETWEEN = (0.5, 1.0, 1.5), (0.75, 1.3)
TIMES = np.linspace(0.0, 1.0, 17)


def built(
    samples: dict[str, np.ndarray], mus: tuple[float, ...] | None = MUS, times: np.ndarray = TIMES, **options: Any
) -> xr.Dataset:
    """Arrays (run, time, sample, ...) as an ensemble; `options` of variables by name."""
    frame = hoam.ensemble.frame(times, {} if mus is None else {"mu": mus})
    variables = [hoam.Variable(name, **options.get(name, {})) for name in samples]
    return hoam.ensemble.build(frame, variables, {name: x.astype(np.float32) for name, x in samples.items()})


def normals(n_variables: int, n_runs: int, seed: int = 3, n_samples: int = N_SAMPLES) -> np.ndarray:
    """(variable, run, 1, sample): the same at all times, and evenly spread, so that moments are nearly exact."""
    draws = [qmc.Sobol(n_variables, rng=np.random.default_rng([seed, run])) for run in range(n_runs)]
    return norm.ppf(np.stack([draw.random(n_samples).T for draw in draws], axis=1))[:, :, None]


def of_run(mus: tuple[float, ...]) -> np.ndarray:
    return np.asarray(mus)[:, None, None]


def widening(mus: tuple[float, ...] = MUS, seed: int = 3) -> xr.Dataset:
    """x ~ N(mu t, (1 + mu t / 3)^2) and y ~ N(0, 1), with the correlation sin(mu t) / 2; on t in [0, 1]."""
    e, mu_t = normals(2, len(mus), seed), of_run(mus) * TIMES[None, :, None]
    correlation = np.sin(mu_t) / 2
    x = mu_t + (1 + mu_t / 3) * e[0]
    return built({"x": x, "y": correlation * e[0] + np.sqrt(1 - correlation**2) * e[1]}, mus)


def moments(mu: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of `widening` at t = 1."""
    width, correlation = 1 + mu / 3, np.sin(mu) / 2
    return np.asarray([mu, 0]), np.asarray([[width**2, correlation * width], [correlation * width, 1]])


def chosen(ds: xr.Dataset, *, epsilon: float = 0.0, training: Any = LONG, clock: Any = "physical", base: Any = None):
    return resolve(
        ds,
        structure=None,
        potential=NETWORK,
        loss=hoam.ActionMatching(epsilon=epsilon),
        training=training,
        replaces=None,
        validate=None,
        clock=clock,
        base=base,
    )


def untrained(choices: Choices, size: float = 0.0) -> hoam.Surrogate:
    """A network that moves nothing, or anything."""
    setup, rng = choices.setup, np.random.default_rng(1)
    n_conditions = 1 + len(choices.dynamics.normalisation.parameters)
    weights = setup.potential.init(jax.random.key(0), setup.embedding.n_features, n_conditions)
    leaves, structure = jax.tree.flatten(weights)
    moved = [leaf + jnp.asarray(size * rng.standard_normal(leaf.shape), leaf.dtype) for leaf in leaves]
    history = xr.Dataset({"loss": ("iteration", np.zeros(1))}, {"iteration": [1]})
    model = choices.surrogates(jax.random.key(0))(structure.unflatten(moved), history)
    return model.with_options(dt=choices.dynamics.normalisation.duration / STEPS, integrator="heun")


def corrected(choices: Choices, model: hoam.Surrogate, key: Any = KEY) -> hoam.Surrogate:
    return feedback.corrected(model, choices.runs, choices.training, key, progress=False)


@functools.cache
def put_right() -> tuple[Choices, hoam.Surrogate, hoam.Surrogate]:
    """The runs of `widening`, a network that moves nothing, and what becomes of it."""
    choices = chosen(widening())
    model = untrained(choices)
    return choices, model, corrected(choices, model)


def said(model: hoam.Surrogate) -> str:
    assert model.history is not None
    return model.history.attrs["feedback"]


def at_the_end(model: hoam.Surrogate, start: xr.Dataset) -> np.ndarray:
    """Samples of every run at the last time, (run, sample, coordinate)."""
    rows = {name: start[name].values for name in ("mu",) if name in start.coords}
    times, key, n = start["time"].values[[0, -1]], jax.random.key(11), start.sizes["sample"]
    moved = hoam.simulate(model, rows, times, key=key, n_samples=n, initial=start, progress=False)
    return last_rows(moved)


def last_rows(ds: xr.Dataset) -> np.ndarray:
    """The same of an ensemble."""
    columns = [ds[v.name].isel(time=-1).values.astype(np.float64) for v in hoam.ensemble.variables(ds)]
    return np.concatenate([column.reshape(*column.shape[:2], -1) for column in columns], axis=2)


def off(rows: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> tuple[float, float]:
    """Largest errors of mean and covariance of samples, in spreads."""
    spread = np.sqrt(np.diag(covariance))
    of_covariance = (np.cov(rows.T).reshape(covariance.shape) - covariance) / np.outer(spread, spread)
    return float(np.abs((rows.mean(axis=0) - mean) / spread).max()), float(np.abs(of_covariance).max())


# Wrong models


@pytest.mark.long
@pytest.mark.parametrize(
    ("epsilon", "size", "most"),
    [
        pytest.param(0.0, 0.0, (0.03, 0.12), id="still"),
        pytest.param(0.0, 0.5, (0.03, 0.12), id="wrong"),
        pytest.param(0.3, 0.0, (0.03, 0.2), id="noise"),
    ],
)
def test_a_wrong_model_is_put_right_between_the_runs(epsilon: float, size: float, most: tuple[float, float]) -> None:
    if epsilon == size == 0:
        _, model, better = put_right()
    else:
        choices = chosen(widening(), epsilon=epsilon)
        model = untrained(choices, size)
        better = corrected(choices, model)
    assert isinstance(better.learned.potential, Corrected)
    assert better.learned.potential.network == NETWORK
    start = widening(BETWEEN, seed=4)
    for mu, before, after in zip(BETWEEN, at_the_end(model, start), at_the_end(better, start), strict=True):
        assert min(off(before, *moments(mu))) > 0.2
        assert np.all(np.less(off(after, *moments(mu)), most))


def test_from_the_samples_of_a_run_it_reaches_the_means_of_that_run() -> None:
    choices, _, better = put_right()
    ds = choices.runs.ensemble
    for rows, wanted in zip(at_the_end(better, ds), last_rows(ds), strict=True):
        mean, covariance = off(rows, wanted.mean(axis=0), np.cov(wanted.T))
        assert mean < 0.005
        assert covariance < 0.02


def test_its_history_says_how_far_off_it_was_and_is() -> None:
    before, after = (float(number) for number in re.findall(r"by ([\d.e-]+)", said(put_right()[2])))
    assert 0.1 < before < 0.5
    assert after < before / 10


@pytest.mark.long
def test_around_a_period() -> None:
    def drifting(mus: tuple[float, ...], seed: int) -> xr.Dataset:
        """x ~ N(2.5 + 0.7 mu t, 0.4^2) on a period of 3, so that it crosses the end; y ~ N(t, 1)."""
        e, t = normals(2, len(mus), seed), TIMES[None, :, None]
        x = np.mod(2.5 + 0.7 * of_run(mus) * t + 0.4 * e[0], 3.0).astype(np.float32)
        return built({"x": np.where(x < 3, x, 0), "y": e[1] + t}, mus, x={"period": 3.0})

    choices = chosen(drifting(MUS, 3))
    better = corrected(choices, untrained(choices))
    assert isinstance(better.learned.potential, Corrected)
    for mu, (x, y) in zip(BETWEEN, at_the_end(better, drifting(BETWEEN, 4)).transpose(0, 2, 1), strict=True):
        assert x.min() >= 0
        assert x.max() <= 3
        wanted = np.exp(2j * np.pi * (2.5 + 0.7 * mu) / 3 - (2 * np.pi * 0.4 / 3) ** 2 / 2)
        found = np.mean(np.exp(2j * np.pi * x / 3))
        assert abs(found - wanted) < 0.03
        assert y.mean() == pytest.approx(1, abs=0.03)
        assert y.var() == pytest.approx(1, abs=0.1)


@pytest.mark.long
def test_with_the_clock_of_the_population_fresh_samples_are_spread_as_they_should_be() -> None:
    """Of a fast start, from samples enough that none goes astray."""
    n, times = 4096, TIMES**2

    def dashing(mus: tuple[float, ...], seed: int) -> xr.Dataset:
        """x ~ N(1.5 mu (1 - exp(-5 t)), 1)."""
        way = of_run(mus) * (1 - np.exp(-5 * times))[None, :, None]
        return built({"x": normals(1, len(mus), seed, n)[0] + 1.5 * way}, mus, times)

    choices = chosen(dashing(MUS, 3), clock="population")
    model = untrained(choices)
    assert model.learned.normalisation.clock is not None
    better = corrected(choices, model)
    assert isinstance(better.learned.potential, Corrected)
    for mu, rows in zip(BETWEEN, at_the_end(better, dashing(BETWEEN, 4)), strict=True):
        mean, variance = off(rows, np.asarray([1.5 * mu * (1 - np.exp(-5))]), np.eye(1))
        # Three standard errors of normal samples: of the moved ones, and of those of the runs.
        assert mean < 3 * np.sqrt(2 / n)
        assert variance < 3 * np.sqrt(4 / n)


@pytest.mark.long
def test_one_run_without_parameters_of_a_vector() -> None:
    def stretched(seed: int) -> xr.Dataset:
        t = TIMES[None, :, None, None]
        widths, speeds = 1 + t * np.asarray([0.5, 0.0, -0.5]), np.asarray([1.0, -1.0, 0.0])
        return built({"q": np.moveaxis(normals(3, 1, seed), 0, -1) * widths + t * speeds}, None, q={"dims": ("axis",)})

    choices = chosen(stretched(3))
    better = corrected(choices, untrained(choices))
    assert isinstance(better.learned.potential, Corrected)
    mean, covariance = off(at_the_end(better, stretched(4))[0], np.asarray([1, -1, 0]), np.diag([2.25, 1, 0.25]))
    assert mean < 0.03
    assert covariance < 0.12


# Where there is nothing to put right


@pytest.mark.long
def test_what_is_right_stays_as_it_is() -> None:
    x, y = np.repeat(normals(2, 3), len(TIMES), axis=2)
    choices = chosen(built({"x": x, "y": y}))
    model = untrained(choices)
    same = corrected(choices, model)
    assert same.learned is model.learned
    assert said(same).endswith("so that there is none")


@pytest.mark.long
def test_what_is_right_up_to_the_scatter_of_the_samples_stays_so() -> None:
    """Drawn anew at every time."""
    x, y = np.random.default_rng(0).standard_normal((2, 3, len(TIMES), N_SAMPLES))
    choices = chosen(built({"x": x, "y": y}))
    after = corrected(choices, untrained(choices))
    x, y = np.repeat(normals(2, 1, seed=4), len(TIMES), axis=2)
    mean, covariance = off(at_the_end(after, built({"x": x, "y": y}, (0.8,)))[0], np.zeros(2), np.eye(2))
    assert mean < 3 / N_SAMPLES**0.5
    assert covariance < 5 / N_SAMPLES**0.5


@pytest.mark.slow
def test_a_base_that_is_right_stays_so() -> None:
    """Under the motion of mean and covariance a normal population is exact, and a network has nothing to do."""
    choices = chosen(widening(), base="moments")
    model = untrained(choices)
    after = corrected(choices, model)
    start = widening(BETWEEN, seed=4)
    for mu, was, rows in zip(BETWEEN, at_the_end(model, start), at_the_end(after, start), strict=True):
        assert max(off(was, *moments(mu))) < 0.02
        assert max(off(rows, *moments(mu))) < 0.05


@pytest.mark.long
def test_what_does_not_help_between_the_runs_is_left_out() -> None:
    """The run in the middle goes the other way, which the ones beside it do not say."""
    way = of_run((1.0, -1.0, 1.0)) * TIMES[None, :, None]
    x, y = normals(2, 3)
    choices = chosen(built({"x": x + way, "y": y + 0 * way}))
    model = untrained(choices)
    with pytest.warns(UserWarning, match="end up .* off those of a run, .* where samples that do not move"):
        same = corrected(choices, model)
    assert same.learned is model.learned
    assert said(same).endswith("so that there is none")


def test_samples_that_run_away_are_no_reason_to_fail() -> None:
    choices = put_right()[0]
    model = untrained(choices, 1e30)
    with pytest.warns(UserWarning, match="the surrogate is of no use: its own samples run away; more saved times"):
        same = corrected(choices, model)
    assert same.learned is model.learned
    assert said(same) == "no correction was found: samples of the model ran away"
    assert same.history is not None
    assert same.history.attrs["converged"] == "unstable"


def test_too_few_samples_or_iterations_or_times_leave_the_model_alone() -> None:
    ds = widening()
    for few, training in (
        (ds.isel(time=[0, -1]), LONG),
        (ds, hoam.Training(iterations=100)),
        (ds.isel(sample=slice(32)), hoam.Training()),
    ):
        choices = chosen(few, training=training)
        model = untrained(choices)
        assert corrected(choices, model) is model
        assert "feedback" not in model.history.attrs  # type: ignore[union-attr]


def test_where_no_correction_is_affordable_what_stays_where_it_should_is_left_alone() -> None:
    x, y = np.repeat(normals(2, 3), len(TIMES), axis=2)
    choices = chosen(built({"x": x, "y": y}).isel(sample=slice(999)))
    model = untrained(choices)
    assert corrected(choices, model) is model


def test_where_no_correction_is_affordable_a_model_of_no_use_is_still_called_so() -> None:
    choices = chosen(widening().isel(sample=slice(999)))
    still = untrained(choices)
    with pytest.warns(UserWarning, match="the surrogate is of no use: its own samples end up"):
        same = corrected(choices, still)
    assert same.learned is still.learned
    assert same.history is not None
    assert same.history.attrs["converged"] == "unstable"


# What must not matter


def assert_same(a: hoam.Surrogate, b: hoam.Surrogate) -> None:
    assert isinstance(a.learned.potential, Corrected)
    jax.tree.map(np.testing.assert_array_equal, a.learned.weights, b.learned.weights)
    assert said(a) == said(b)


@pytest.mark.long
def test_the_same_key_gives_the_same_surrogate_whatever_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    choices, model, first = put_right()
    cores = 1 if available_cores() > 1 else 3
    monkeypatch.setattr("hoam_plugin._internal.threads.available_cores", lambda: cores)
    assert_same(corrected(choices, model), first)


@pytest.mark.long
def test_runs_on_disk_and_a_bar_of_progress_change_nothing(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hoam_plugin._internal.progress_lines.EVERY", 0.0)
    choices, model, first = put_right()
    hoam.ensemble.save(choices.runs.ensemble, tmp_path / "runs.zarr")
    lazy = dataclasses.replace(choices.runs, ensemble=hoam.ensemble.load(tmp_path / "runs.zarr", lazy=True))
    capsys.readouterr()
    assert_same(feedback.corrected(model, lazy, choices.training, KEY, progress=True), first)
    assert "feedback" in capsys.readouterr().err


@pytest.mark.long
def test_within_a_context_of_double_precision() -> None:
    with jax.enable_x64(True):
        choices = chosen(widening())
        better = corrected(choices, untrained(choices))
        assert isinstance(better.learned.potential, Corrected)
        leaves = [*jax.tree.leaves(better.learned.weights), better.learned.normalisation.scale]
        assert {leaf.dtype for leaf in leaves} == {jnp.dtype(jnp.float64)}
        rows = at_the_end(better, widening((0.75,), seed=4))[0]
    mean, covariance = off(rows, *moments(0.75))
    assert mean < 0.03
    assert covariance < 0.12


@pytest.mark.long
def test_units_and_origins_do_not_matter() -> None:
    def other(ds: xr.Dataset) -> xr.Dataset:
        wide = ds.astype(np.float64)
        moved = wide.assign(x=(wide["x"] + 4000) * 1e-9, y=(wide["y"] + 3000) * 1e6)
        return moved.astype(np.float32).assign_coords(time=ds["time"] * 1e-12 + 3e-10, mu=ds["mu"] * 1e5)

    choices = chosen(other(widening()))
    moved = corrected(choices, untrained(choices))
    assert isinstance(moved.learned.potential, Corrected)
    start, populations = widening((0.75,), seed=4), []
    for better, ds in ((put_right()[2], start), (moved, other(start))):
        norm = better.learned.normalisation
        shift, scale = (np.asarray(a, np.float64) for a in (norm.shift, norm.scale))
        populations.append((at_the_end(better, ds)[0] - shift) / scale)
    here, there = populations
    # What single precision leaves of samples that lie three thousand times their spread away from 0.
    np.testing.assert_allclose(here.mean(axis=0), there.mean(axis=0), atol=2e-3)
    np.testing.assert_allclose(np.cov(here.T), np.cov(there.T), atol=1e-2)


# At the end of a training


@pytest.mark.long
def test_fit_corrects_what_it_has_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A training that is long enough for more takes minutes.
    monkeypatch.setattr(feedback, "_LEAST_SAMPLES", 100)
    monkeypatch.setattr(feedback, "_LEAST_AFFORDABLE", 100)
    ds = toy.moving_gaussian((0.3, 0.6), n_samples=1024, n_times=9)
    options = {"iterations": 20, "n_samples": 512, "block": 10, "warmup": 10, "held_out": 0, "runs_per_iteration": 2}
    training = hoam.Training(**options, learning_rate=1e-3, optimiser="adam")
    network, path = hoam.MLP(width=4, depth=2), tmp_path / "model.hoam"
    loss = hoam.ActionMatching(epsilon=0.0)
    fit = functools.partial(hoam.fit, ds, key=KEY, potential=network, loss=loss, progress=False)
    better = fit(training=training, checkpoint=path)
    assert better.learned.potential == Corrected(network, FeaturePotential())
    for again in (hoam.load(path), fit(training=training, resume=path)):
        assert_same(again, better)
    plain = fit(training=dataclasses.replace(training, feedback=False))
    assert plain.history is not None
    assert "feedback" not in plain.history.attrs
    assert plain.learned.potential == network
    jax.tree.map(np.testing.assert_array_equal, better.learned.weights["network"], plain.learned.weights)
