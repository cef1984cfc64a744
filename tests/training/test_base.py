"""Learning around the motion of mean and covariance: the base alone, its file, its densities; how long steps are."""

import dataclasses
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin import ensembles
from hoam_plugin.losses import DICE
from hoam_plugin.steppers import Variable, clock, state_type
from hoam_plugin.training import step_size

N = 600
TIMES = np.linspace(3.0, 5.0, 21)


def turning(thickness: float = 0.3, mu: tuple[float, ...] = (0.8, 1.0, 1.2)) -> xr.Dataset:
    """A normal cloud, `thickness` in one direction and 1 in the other, that turns and moves on."""
    e = np.random.default_rng(0).standard_normal((N, 2)) * [1.0, thickness]
    x = np.empty((len(mu), len(TIMES), N, 2))
    for run, value in enumerate(mu):
        for i, t in enumerate((TIMES - TIMES[0]) / (TIMES[-1] - TIMES[0])):
            angle = np.pi / 4 + 0.6 * value * t
            turn = np.asarray([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            x[run, i] = e @ turn.T + [value * t, np.sin(2 * t)]
    variables = (Variable("x", dims=("axis",)),)
    return ensembles.build(ensembles.frame(TIMES, {"mu": list(mu)}), variables, {"x": x.astype(np.float32)})


def around_moments(ds: xr.Dataset, epsilon: float = 0.0, **options: float) -> hoam.Surrogate:
    training = hoam.Training(**{"iterations": 1, "n_samples": 16, "warmup": 0, **options})  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "training is")
        return hoam.fit(
            ds,
            key=jax.random.key(0),
            base="moments",
            potential=hoam.CoLoRA(width=4, depth=2, rank=1, hyper_width=4, hyper_depth=2),
            loss=hoam.ActionMatching(epsilon=epsilon),
            training=training,
            progress=False,
        )


def rolled(model: hoam.Surrogate, ds: xr.Dataset, mu: float = 1.0) -> np.ndarray:
    out = hoam.simulate(
        model, {"mu": [mu]}, TIMES, key=jax.random.key(1), n_samples=N, initial=_one(ds, mu), progress=False
    )
    return out["x"].values[0].astype(np.float64)


def _one(ds: xr.Dataset, mu: float) -> xr.Dataset:
    return ds.isel(run=[int(np.abs(ds["mu"].values - mu).argmin())])


@pytest.mark.long
@pytest.mark.parametrize("epsilon", [0.0, 0.5])
def test_with_nothing_learned_mean_and_covariance_follow_the_ensemble(epsilon: float) -> None:
    ds = turning()
    model = around_moments(ds, epsilon)
    found, truth = rolled(model, ds), _one(ds, 1.0)["x"].values[0].astype(np.float64)
    # What noise of so many samples leaves of a moment; without noise the samples move together.
    close = 0.01 if epsilon == 0 else 4 / N**0.5
    for i in (5, 12, 20):
        np.testing.assert_allclose(found[i].mean(axis=0), truth[i].mean(axis=0), atol=close)
        np.testing.assert_allclose(np.cov(found[i].T), np.cov(truth[i].T), atol=2 * close)


@pytest.mark.long
def test_a_correction_that_held_out_samples_do_not_ask_for_is_not_made() -> None:
    ds = turning()
    wild = around_moments(ds, iterations=30, learning_rate=3.0)
    assert wild.history is not None
    assert wild.history.attrs["best_iteration"] == 0
    assert "nothing beyond the base" in wild.history.attrs["verdict"]
    np.testing.assert_array_equal(rolled(wild, ds), rolled(around_moments(ds), ds))


@pytest.mark.long
@pytest.mark.parametrize(("unit", "offset", "begin"), [(1e-9, 0.0, 0.0), (1.0, 1e4, 1e5), (1e6, 1e9, 0.0)])
def test_units_and_origins_do_not_matter(unit: float, offset: float, begin: float) -> None:
    """As far as rounding the far-off samples leaves; without noise and with steps that are tried out."""
    ds = turning()
    x = (ds["x"].astype(np.float64) * unit + offset).astype(np.float32).assign_attrs(ds["x"].attrs)
    far = ds.assign(x=x).assign_coords(time=ds["time"] + begin)
    found = hoam.simulate(
        around_moments(far),
        {"mu": [1.0]},
        TIMES + begin,
        key=jax.random.key(1),
        n_samples=N,
        initial=_one(far, 1.0),
        progress=False,
    )["x"].values[0]
    close = 1e-3 + 4 * np.spacing(np.float32(offset)) / unit
    np.testing.assert_allclose((found.astype(np.float64) - offset) / unit, rolled(around_moments(ds), ds), atol=close)


def test_the_file_holds_the_base(tmp_path: Path) -> None:
    ds = turning()
    model = around_moments(ds)
    model.save(tmp_path / "m.hoam")
    again = hoam.load(tmp_path / "m.hoam")
    assert again.learned.base is not None
    np.testing.assert_array_equal(rolled(again, ds), rolled(model, ds))


def test_the_density_is_that_of_the_moved_normal_population() -> None:
    ds = turning()
    model = around_moments(ds)
    first, last = (_one(ds, 1.0)["x"].values[0, i].astype(np.float64) for i in (0, -1))
    at = jnp.asarray(last[:8], jnp.float32)
    there = state_type(("x",))(**clock.at(TIMES[-1], jnp.float32), x=at)

    def normal(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return samples.mean(axis=0), np.cov(samples.T, ddof=0)

    def log_density(mean: np.ndarray, covariance: np.ndarray, x: jax.Array) -> jax.Array:
        m, precision = jnp.asarray(mean, x.dtype), jnp.asarray(np.linalg.inv(covariance), x.dtype)
        half = jnp.einsum("ni,ij,nj->n", x - m[None, :], precision, x - m[None, :]) / 2
        return -half - jnp.asarray(np.log(2 * np.pi) + np.linalg.slogdet(covariance)[1] / 2, x.dtype)

    start, end = normal(first), normal(last)
    found = model.log_prob(there, {"mu": 1.0}, initial_log_prob=lambda x: log_density(*start, x))
    np.testing.assert_allclose(found, log_density(*end, at), atol=0.03)


def test_a_base_is_for_gradients_and_for_losses_that_know_of_it() -> None:
    ds = turning()
    with pytest.raises(ValueError, match=r"base='moments' does not go with loss=DICE"):
        hoam.fit(ds, key=jax.random.key(0), base="moments", loss=DICE(), progress=False)
    with pytest.raises(ValueError, match="structure='gradient' only"):
        hoam.fit(ds, key=jax.random.key(0), base="moments", structure="field", progress=False)


@pytest.mark.long
def test_steps_are_as_short_as_noise_in_a_thin_population_wants() -> None:
    """The drift that takes back the noise has the rate epsilon^2 / 2 variance, here some 1000 in the time of a run."""
    thin, thick = turning(thickness=0.008), turning()
    stiff, soft = around_moments(thin, 0.5), around_moments(thick, 0.5)
    default = 2.0 / 125
    assert soft.dt == pytest.approx(default)
    assert stiff.dt < default / 3
    found, truth = rolled(stiff, thin)[-1], _one(thin, 1.0)["x"].values[0, -1].astype(np.float64)
    axes = np.linalg.eigh(np.cov(truth.T))
    spread = np.sqrt(np.diag(axes[1].T @ np.cov(found.T) @ axes[1]))
    np.testing.assert_allclose(spread, np.sqrt(axes[0]), rtol=0.3)
    # With steps of before the population is another one.
    options = dataclasses.replace(stiff.options, dt=default)
    with pytest.raises(FloatingPointError):
        rolled(dataclasses.replace(stiff, options=options), thin)


def test_without_noise_steps_are_left_alone() -> None:
    ds = turning(thickness=0.008)
    model = around_moments(ds)
    assert step_size.resolved(model, ds, jax.random.key(0)) is model
