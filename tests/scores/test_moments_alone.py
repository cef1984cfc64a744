"""What mean and covariance alone predict, as a reference of `compare`."""

import functools

import jax
import numpy as np
import pytest
import xarray as xr
from scored import ensemble, score

import hoam_plugin as hoam
from hoam_plugin import ensembles, simulators
from hoam_plugin.scores import compare, verdict_table
from hoam_plugin.steppers import Variable

TIMES = np.linspace(0.0, 1.0, 9)


def normal(
    mu: list[float],
    seed: int,
    times: np.ndarray = TIMES,
    n: int = 2000,
    unit: float = 1.0,
    origin: float = 0.0,
    dtype: type = np.float32,
    second: float = 1.0,
) -> xr.Dataset:
    """Normal samples that drift and spread with time and parameter; x turns on a circle."""
    rng = np.random.default_rng(seed)
    shape = (len(mu), len(times), n)
    t, m = (np.asarray(times) - times[0])[None, :, None] / second, np.asarray(mu)[:, None, None]
    e = np.broadcast_to(rng.standard_normal((len(mu), 1, n, 2)), (*shape, 2))
    y = np.stack([m**2 * t + np.exp(m * t) * e[..., 0], e[..., 1] * (1 + t) + m * e[..., 0]], axis=-1)
    samples = {"x": rng.uniform(0, 1, shape).astype(np.float32), "y": (origin + unit * y).astype(dtype)}
    variables = (Variable("x", period=1.0), Variable("y", dims=("axis",)))
    return ensembles.build(ensembles.frame(times, {"mu": mu}), variables, samples)


MU = [0.6, 0.8, 1.0, 1.2]


@pytest.mark.parametrize(
    "form",
    [{}, {"unit": 1e-12}, {"origin": 300.0}, {"dtype": np.float16}, {"times": 1e6 + 1e-3 * TIMES, "second": 1e-3}],
    ids=["plain", "SI", "far", "half", "late"],
)
def test_a_normal_population_is_predicted_to_the_floor(form: dict) -> None:
    truth, floor, training = normal([0.9], 0, **form), normal([0.9], 1, **form), normal(MU, 2, **form)
    scores = compare(truth, truth, floor=floor, training=training)
    for name in ("histogram_l1", "sliced_wasserstein", "mean_error", "covariance_error", "variance_l2"):
        own, noise, still = (score(scores, name, r)[0] for r in ("gaussian", "noise_floor", "frozen"))
        assert own < min(2.5 * noise, 0.8 * still), name


def test_its_moments_are_those_of_training_interpolated_whatever_the_start() -> None:
    training = normal(MU, 2)
    # The start of another population, and times between the saved ones.
    times = np.asarray([0.0, 0.3, 0.77])
    truth = normal([0.8], 5, times=times, n=40)
    scores = compare(truth, truth, training=training)
    between = compare(truth, truth, training=training.isel(run=[1, 1]))
    # At a training run, interpolation in the parameters is the run itself.
    for name in ("mean_l2", "variance_l2"):
        np.testing.assert_allclose(score(scores, name, "gaussian"), score(between, name, "interpolation"), rtol=0.02)


def test_selected_variables_and_files_read_as_they_are_needed(tmp_path) -> None:
    truth, training = normal([0.9], 0), normal(MU, 2)
    whole = compare(truth, truth, training=training)
    part = compare(truth[["y"]], truth[["y"]], training=training[["y"]])
    for name in ("mean_l2", "variance_l2"):
        np.testing.assert_allclose(score(part, name, "gaussian"), score(whole, name, "gaussian"), rtol=1e-5)
    ensembles.save(training, tmp_path / "training.zarr")
    lazy = compare(truth, truth, training=ensembles.load(tmp_path / "training.zarr", lazy=True))
    xr.testing.assert_equal(lazy, whole)


def test_no_parameters_give_the_mean_over_the_runs() -> None:
    truth, training = normal([0.9], 0).drop_vars("mu"), normal([0.9, 0.9], 2).drop_vars("mu")
    scores = compare(truth, truth, training=training)
    assert score(scores, "sliced_wasserstein", "gaussian") < score(scores, "sliced_wasserstein", "frozen") / 5
    assert np.isnan(score(scores, "mean_error", "interpolation"))


def test_where_it_cannot_be_had_it_is_nan_and_says_why() -> None:
    truth = normal([0.9, 1.5], 0, n=50)
    scores = compare(truth, truth, training=normal(MU, 2, n=50))
    np.testing.assert_array_equal(np.isnan(score(scores, "sliced_wasserstein", "gaussian")), [False, True])
    assert scores["histogram_l1"].attrs["gaussian_note"] == "run 1: mu=1.5 is outside the training runs' [0.6, 1.2]"
    for training, note in (
        (None, "no training ensemble was given"),
        (normal(MU, 2, n=50, times=TIMES[:5]), "outside the training ensemble's [0, 0.5]"),
    ):
        scores = compare(truth, truth, training=training)
        assert np.isnan(score(scores, "sliced_wasserstein", "gaussian")).all()
        assert note in scores["mean_error"].attrs["gaussian_note"]
        assert verdict_table(scores).count("no training ensemble was given") == (training is None)
    circles = [ds[["x"]] for ds in (truth, normal(MU, 2, n=50))]
    scores = compare(circles[0], circles[0], training=circles[1])
    assert "all coordinates are periodic" in scores["histogram_l1"].attrs["gaussian_note"]
    assert "mean_l2" not in scores


@pytest.mark.long
def test_curves_come_from_the_stepper_where_it_can_be_rebuilt() -> None:
    stepper = simulators.two_stream(n_cells=64, start="random", amplitude=0.5)
    run = functools.partial(hoam.simulate, stepper, times=[0.0, 0.5, 1.0], n_samples=1000, dt=0.1, progress=False)
    truth = run({"mu": [1.25]}, key=jax.random.key(0))
    training = run({"mu": [1.2, 1.3]}, key=jax.random.key(1))
    scores = compare(truth, truth, training=training)
    # Positions stay where they are, and the energy is one of positions.
    name = "electric_energy_error"
    np.testing.assert_allclose(score(scores, name, "gaussian"), score(scores, name, "frozen"), rtol=1e-3)
    without = ensemble(mu=[1.5])
    note = compare(without, without, training=ensemble())[name].attrs["gaussian_note"]
    assert "do not name a stepper" in note
