"""Populations whose mean and covariance say all: `fit` moves those alone, and learns where they do not."""

import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin.training import fitting

KEY = jax.random.key(5)
N_SAMPLES, N_FRESH = 2000, 4000
MUS, BETWEEN = (0.5, 1.0, 1.5), 0.8
TIMES = np.linspace(0.0, 1.0, 17)
AXES = ("x", "y", "z")


def matrix(mu: float, t: float, n_dims: int) -> np.ndarray:
    """What standard normal numbers are multiplied with."""
    whole = np.asarray([[1 + mu * t / 2, 0, 0], [np.sin(mu * t), 1, 0], [mu * t / 3, -t / 2, 1 - t / 2]])
    return whole[:n_dims, :n_dims]


def mean(mu: float, t: float, n_dims: int) -> np.ndarray:
    return np.asarray([mu * t, 1 - t**2, 2 + mu * np.sin(3 * t)])[:n_dims]


def ensemble(rows: np.ndarray, mus: tuple[float, ...] = MUS, **options: Any) -> xr.Dataset:
    """Of an array (run, time, sample, coordinate); `options` of variables by name."""
    frame = hoam.ensemble.frame(TIMES[: rows.shape[1]], {"mu": mus})
    names = AXES[: rows.shape[-1]]
    variables = [hoam.Variable(name, **options.get(name, {})) for name in names]
    columns = np.moveaxis(rows, -1, 0).astype(np.float32)
    return hoam.ensemble.build(frame, variables, dict(zip(names, columns, strict=True)))


def normals(n_dims: int, n_samples: int = N_SAMPLES, n_runs: int = len(MUS), seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, n_dims]).standard_normal((n_runs, n_samples, n_dims))


def gaussian(n_dims: int, mus: tuple[float, ...] = MUS, n_samples: int = N_SAMPLES, seed: int = 0) -> xr.Dataset:
    """Samples that are carried along by maps of mean and covariance."""
    e = normals(n_dims, n_samples, len(mus), seed)
    rows = [
        [one @ matrix(mu, t, n_dims).T + mean(mu, t, n_dims) for t in TIMES] for mu, one in zip(mus, e, strict=True)
    ]
    return ensemble(np.asarray(rows), mus)


def scaled(factor: float, n_samples: int = N_SAMPLES) -> xr.Dataset:
    """x ~ N(mu t, 1) and y ~ N(mu t, factor^2)."""
    e = normals(2, n_samples)[:, None]
    t, mu = TIMES[None, :, None], np.asarray(MUS)[:, None, None]
    return ensemble(np.stack([e[..., 0] + mu * t, factor * e[..., 1] + mu * t], axis=-1))


def fit(ds: xr.Dataset, **options: Any) -> hoam.Surrogate:
    return hoam.fit(ds, key=KEY, progress=False, **options)


@functools.cache
def fitted(n_dims: int) -> hoam.Surrogate:
    return fit(gaussian(n_dims))


class LearnsError(Exception):
    """More than moments is about to be learned."""


@pytest.fixture(autouse=True)
def learns(monkeypatch: pytest.MonkeyPatch) -> None:
    def learn(*args: Any, **options: Any) -> Any:
        raise LearnsError

    monkeypatch.setattr(fitting.solved, "solve", learn)
    monkeypatch.setattr(fitting, "_trained", learn)


def moves_moments_alone(model: hoam.Surrogate) -> bool:
    history = model.history
    assert history is not None
    return model.learned.base is not None and "moved as mean and covariance" in history.attrs["verdict"]


def moved(model: hoam.Surrogate, start: xr.Dataset, times: np.ndarray) -> np.ndarray:
    """Rows (time, sample, coordinate) of the first run."""
    mus = {"mu": start["mu"].values[:1]}
    n, start = start.sizes["sample"], start.isel(run=[0])
    ds = hoam.simulate(model, mus, times, key=jax.random.key(1), n_samples=n, initial=start, progress=False)
    return np.stack([ds[v.name].values[0].astype(np.float64) for v in hoam.ensemble.variables(ds)], axis=-1)


# Where they say all


@pytest.mark.long
@pytest.mark.parametrize("n_dims", [2, 3])
def test_a_gaussian_is_moved_by_its_moments_between_the_runs(n_dims: int) -> None:
    model = fitted(n_dims)
    assert moves_moments_alone(model)
    assert model.history is not None
    assert model.history.attrs["converged"] == "converged"
    start = gaussian(n_dims, (BETWEEN,), N_FRESH, seed=1)
    for t, rows in zip(TIMES[[0, 8, 16]], moved(model, start, TIMES[[0, 8, 16]]), strict=True):
        covariance = matrix(BETWEEN, t, n_dims) @ matrix(BETWEEN, t, n_dims).T
        variances = np.diag(covariance)
        # Four standard errors of normal samples: of the moved ones, and of those whose moments move them.
        errors = 4 * np.sqrt(1 / N_FRESH + 1 / N_SAMPLES)
        assert np.all(np.abs(rows.mean(axis=0) - mean(BETWEEN, t, n_dims)) < errors * np.sqrt(variances))
        spread = np.sqrt(np.outer(variances, variances) + covariance**2)
        assert np.all(np.abs(np.cov(rows.T) - covariance) < errors * spread)


@pytest.mark.long
def test_it_is_written_to_its_checkpoint_and_loads_to_the_same_bits(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.hoam"
    model = fit(gaussian(2), checkpoint=path)
    start = gaussian(2, (BETWEEN,), 50, seed=1)
    here = moved(model, start, TIMES[[0, 5, 16]])
    for loaded in (hoam.load(path), hoam.load(model.save(tmp_path / "saved.hoam"))):
        assert moves_moments_alone(loaded)
        np.testing.assert_array_equal(moved(loaded, start, TIMES[[0, 5, 16]]), here)
    # The same key gives the same.
    jax.tree.map(np.testing.assert_array_equal, fitted(2).learned.weights, model.learned.weights)
    with pytest.raises(FileExistsError):
        fit(gaussian(2), checkpoint=path)


@pytest.mark.long
def test_units_and_offsets_do_not_matter() -> None:
    ds = gaussian(2).astype(np.float64)
    other = ds.assign(x=(ds["x"] + 4000) * 1e-9, y=(ds["y"] - 3000) * 1e6).astype(np.float32)
    other = other.assign_coords(time=ds["time"] * 1e-12 + 3e-10, mu=ds["mu"] * 1e5)
    model = fit(other)
    assert moves_moments_alone(model)
    assert model.learned.epsilon == fitted(2).learned.epsilon
    x, y, t = 0.7, -0.4, 0.6
    here = np.asarray(fitted(2).velocity(np.float32([[x, y]]), t, {"mu": BETWEEN}))[0]
    z = np.float32([[(x + 4000) * 1e-9, (y - 3000) * 1e6]])
    there = np.asarray(model.velocity(z, t * 1e-12 + 3e-10, {"mu": BETWEEN * 1e5}))[0] * 1e-12 / np.asarray([1e-9, 1e6])
    # What single precision leaves of samples that lie four thousand times their spread away from 0.
    np.testing.assert_allclose(there, here, atol=5e-3)


@pytest.mark.long
def test_of_a_thin_population_it_has_no_noise_which_would_ask_for_shorter_steps() -> None:
    # With twice the spread the default steps just do, as far as the scatter of the noise itself can tell.
    model = fit(scaled(0.01))
    assert moves_moments_alone(model)
    assert model.learned.epsilon == 0
    assert model.options.dt == pytest.approx(1 / 125)


@pytest.mark.long
def test_of_a_wide_one_it_has_noise_and_saying_gradient_or_a_clock_is_not_asking_for_more() -> None:
    model = fit(scaled(1.0), structure="gradient", clock="physical")
    assert moves_moments_alone(model)
    assert model.learned.epsilon == fitted(2).learned.epsilon == 0.6
    assert model.options.dt == pytest.approx(1 / 125)


# Where they do not


def curved(e: np.ndarray, t: np.ndarray, mu: np.ndarray) -> np.ndarray:
    """y follows a parabola more and more."""
    return np.stack(
        [e[..., 0] + 0 * t, e[..., 1] + mu * t * e[..., 0] ** 2, *np.moveaxis(e, -1, 0)[2:] + 0 * t], axis=-1
    )


def bimodal(e: np.ndarray, t: np.ndarray, mu: np.ndarray) -> np.ndarray:
    """Halves go apart along x."""
    x, *others = np.moveaxis(e, -1, 0) + 0 * t
    return np.stack([x + 2 * mu * t * np.sign(x), *others], axis=-1)


@pytest.mark.long
@pytest.mark.parametrize("n_dims", [2, 3])
@pytest.mark.parametrize("shape", [curved, bimodal])
def test_what_bends_or_parts_is_learned(shape: Any, n_dims: int) -> None:
    t, mu = TIMES[None, :, None], np.asarray(MUS)[:, None, None]
    ds = ensemble(shape(normals(n_dims)[:, None], t, mu))
    with pytest.raises(LearnsError):
        fit(ds)


def test_around_a_period_or_of_few_samples_or_times_it_is_learned() -> None:
    ds = gaussian(2)
    around = ensemble(np.mod(np.stack([ds["x"].values, ds["y"].values], axis=-1), 3.0) % 3.0, x={"period": 3.0})
    for few in (around, ds.isel(sample=slice(N_SAMPLES - 1)), ds.isel(time=[0, 5, 10, 16])):
        with pytest.raises(LearnsError):
            fit(few)


@pytest.mark.parametrize(
    "given",
    [
        {"potential": hoam.CoLoRA()},
        {"potential": hoam.SplinePotential()},
        {"loss": hoam.ActionMatching()},
        {"training": hoam.Training()},
        {"base": "moments"},
        {"base": "none"},
        {"validate": gaussian(2, (BETWEEN,), 100, seed=1)},
        {"resume": "a.hoam"},
        {"structure": "field"},
    ],
    ids=lambda given: "-".join(given),
)
def test_where_something_is_asked_for_it_is_learned(given: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def looked(*args: Any) -> Any:
        raise AssertionError("nobody asked for that")

    monkeypatch.setattr(fitting.moments_alone, "found", looked)
    with pytest.raises(LearnsError):
        fit(gaussian(2), **given)
