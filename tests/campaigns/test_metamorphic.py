"""What must not change an answer: the order of samples and runs, names, units, origins, and how files are split."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import jax
import numpy as np
import pytest
import xarray as xr
from hypothesis import strategies as st

import hoam_plugin as hoam

KEY = jax.random.key(0)
TINY = hoam.Training(iterations=3, n_samples=16, block=1, held_out=0, feedback=False)
DIMS = ("run", "time", "sample")
# Powers of two: no digit of a sample is lost.
SCALES = st.integers(-60, 20).map(lambda k: 2.0**k)
# Sums of a hundred terms, and of squares of differences of them, in another order.
ROUND_OFF, SINGLE = 1e-10, 1e-5


def clouds(seed: int, mu: Sequence[float] = (1.0, 1.5, 2.0), dtype: str = "f8") -> xr.Dataset:
    """Two coordinates in multiples of 1/16, so that shifts by such lose nothing either."""
    rng = np.random.default_rng(seed)
    times = np.arange(4) / 4
    drift = np.asarray(mu)[:, None, None] * times[None, :, None]
    data = {
        name: (DIMS, (np.round((rng.standard_normal((len(mu), 4, 96)) + drift) * 16) / 16).astype(dtype))
        for name in ("a", "b")
    }
    energy = (("run", "time"), np.asarray(mu)[:, None] ** 2 * (1 + times))
    return xr.Dataset({**data, "electric_energy": energy}, {"time": times, "mu": ("run", [*mu])})


def scores(change: Callable[[xr.Dataset], xr.Dataset] = lambda ds: ds, own: Any = None) -> xr.Dataset:
    """Of the surrogate and of all references that draw nothing; `own` changes the truth alone, `change` all four."""
    truth, other, floor, training = (change(clouds(seed)) for seed in range(4))
    found = hoam.compare(truth if own is None else own(truth), other, floor=floor, training=training)
    # Parameters under other names, and when it was made.
    return found.drop_vars([name for name in found.coords if name != "reference"]).drop_attrs(deep=False)


def require_close(found: xr.Dataset, expected: xr.Dataset, *, but: Sequence[str] = (), rtol: float = ROUND_OFF) -> None:
    assert set(found) == set(expected)
    # What mean and covariance alone predict is computed by JAX, in single precision here.
    for reference, limit in ((["gaussian"], SINGLE), ([r for r in found["reference"].values if r != "gaussian"], rtol)):
        for name in set(expected) - {*but}:
            own, other = (scores[name].sel(reference=reference).values for scores in (found, expected))
            np.testing.assert_allclose(own, other, rtol=limit, atol=limit, err_msg=str(name))


@pytest.fixture(scope="module")
def expected() -> xr.Dataset:
    return scores()


@hypothesis.given(order=st.permutations(range(96)))
@hypothesis.settings(max_examples=5)
def test_the_order_of_samples_changes_no_score(order: list[int], expected: xr.Dataset) -> None:
    # The Gaussian and the frozen reference are the truth's own samples; of all, what is left is the order of sums.
    require_close(scores(lambda ds: ds.isel(sample=order)), expected)
    require_close(scores(own=lambda ds: ds.isel(sample=order)), expected)


@hypothesis.given(order=st.permutations(range(3)))
@hypothesis.settings(max_examples=4)
def test_the_order_of_runs_changes_no_score(order: list[int], expected: xr.Dataset) -> None:
    require_close(scores(lambda ds: ds.isel(run=order)), expected.isel(run=order))


def test_names_change_no_score(expected: xr.Dataset) -> None:
    assert scores(lambda ds: ds.rename(a="p", b="q", mu="kT")).identical(expected)
    # Names that sort the other way exchange the axes, and with them the fixed directions of the sliced distance.
    found = scores(lambda ds: ds.rename(a="z"))
    require_close(found, expected, but=["sliced_wasserstein"])
    np.testing.assert_allclose(found["sliced_wasserstein"], expected["sliced_wasserstein"], rtol=0.2)


@hypothesis.given(order=st.permutations(["a", "b", "electric_energy"]))
@hypothesis.settings(max_examples=4)
def test_the_order_of_variables_in_a_file_changes_no_score(order: list[str], expected: xr.Dataset) -> None:
    assert scores(lambda ds: ds[order]).identical(expected)


@hypothesis.given(a=SCALES, b=SCALES, time=SCALES, shift=st.integers(-64, 64), start=st.integers(-8, 8))
@hypothesis.settings(max_examples=5)
def test_units_and_origins_change_no_score(
    a: float, b: float, time: float, shift: int, start: int, expected: xr.Dataset
) -> None:
    def change(ds: xr.Dataset) -> xr.Dataset:
        return ds.assign(a=(ds["a"] + shift) * a, b=(ds["b"] - shift) * b).assign_coords(
            time=(ds["time"] + start) * time
        )

    # Two scores are relative to the mean itself, by definition, and so is a mean far from 0 to round-off.
    require_close(scores(change), expected, but=["mean_l2", "variance_l2"], rtol=1e-8)


def halves(ds: xr.Dataset, dim: str, folder: Path, suffix: str) -> list[xr.Dataset]:
    """Two files in place of one, read again."""
    parts = ds.isel({dim: slice(2)}), ds.isel({dim: slice(2, None)})
    return [hoam.ensemble.load(hoam.ensemble.save(p, folder / f"{dim}{i}{suffix}")) for i, p in enumerate(parts)]


@pytest.mark.parametrize("dim", ["run", "time"])
def test_two_files_are_as_good_as_one(dim: str, expected: xr.Dataset, tmp_path: Path) -> None:
    suffix = {"run": ".zarr", "time": ".nc"}[dim]
    joined = xr.concat(
        halves(clouds(0), dim, tmp_path, suffix), dim, data_vars="minimal", coords="minimal", join="exact"
    )
    assert scores(own=lambda _: joined).identical(expected)


# What is learned: bit by bit where the numbers are the same, or were multiplied by powers of two.


def weights(ds: xr.Dataset | xr.DataTree, **options: Any) -> list[np.ndarray]:
    options = {"potential": hoam.MLP(width=4, depth=2), "loss": hoam.ActionMatching(epsilon=0.0), **options}
    model = hoam.fit(ds, key=KEY, training=TINY, progress=False, **options)
    return [np.asarray(leaf) for leaf in jax.tree.leaves(model.learned.weights)]


def learned(dtype: str = "f4") -> xr.Dataset:
    return clouds(0, dtype=dtype).drop_vars("electric_energy")


@pytest.fixture(scope="module")
def trained() -> list[np.ndarray]:
    return weights(learned())


@hypothesis.given(scale=st.tuples(*[st.integers(-60, 20).map(lambda k: 2.0**k)] * 4))
@hypothesis.settings(max_examples=4)
def test_units_change_nothing_that_is_learned(scale: tuple[float, ...], trained: list[np.ndarray]) -> None:
    a, b, time, mu = scale
    ds = learned()
    ds = ds.assign(a=ds["a"] * np.float32(a), b=ds["b"] * np.float32(b))
    ds = ds.assign_coords(time=ds["time"] * time, mu=ds["mu"] * mu)
    assert all(map(np.array_equal, weights(ds), trained))


def test_names_change_nothing_that_is_learned(trained: list[np.ndarray]) -> None:
    assert all(map(np.array_equal, weights(learned().rename(a="p", b="c", mu="kT")), trained))


@pytest.mark.parametrize("shift", [3.0, -4096.0])
def test_origins_change_what_is_learned_by_round_off(shift: float, trained: list[np.ndarray]) -> None:
    ds = learned()
    ds = ds.assign(a=ds["a"] + np.float32(shift)).assign_coords(time=ds["time"] + shift, mu=ds["mu"] + shift)
    # The mean of all is subtracted, in single precision in the end, and three steps of the optimiser follow.
    for own, other in zip(weights(ds), trained, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-4, atol=1e-4 * np.abs(other).max())


def test_runs_of_two_files_are_learned_as_those_of_one(trained: list[np.ndarray], tmp_path: Path) -> None:
    parts = halves(learned(), "run", tmp_path, ".zarr")
    assert all(map(np.array_equal, weights(xr.concat(parts, "run", data_vars="minimal")), trained))
    assert all(map(np.array_equal, weights(hoam.ensemble.tree(parts)), trained))


@pytest.mark.filterwarnings("ignore:interpolated potentials of the other runs miss:UserWarning")
@pytest.mark.parametrize("dim", ["sample", "run"])
def test_what_is_solved_for_does_not_depend_on_the_order(dim: str) -> None:
    # A training draws its batches by place; what is solved for sums over all samples of all runs. How smooth it is, one
    # half of the samples and two quarters of them say, which are told apart by their places.
    ds, rng = learned().drop_vars("b"), np.random.default_rng(1)
    order = np.arange(ds.sizes[dim])
    for part in (slice(0, None, 2), slice(1, None, 4), slice(3, None, 4)) if dim == "sample" else (slice(None),):
        order[part] = rng.permutation(order[part])
    model, other = (
        hoam.fit(d, key=KEY, potential=hoam.SplinePotential(), progress=False) for d in (ds, ds.isel({dim: order}))
    )
    x = np.linspace(-1, 2, 9, dtype=np.float32)[:, None]
    one, two = (np.asarray(m.velocity(x, 0.4, {"mu": 1.7})) for m in (model, other))
    np.testing.assert_allclose(two, one, rtol=1e-3, atol=1e-3 * np.abs(one).max())
