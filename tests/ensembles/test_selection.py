"""Parts of an ensemble."""

import jax
import numpy as np
import pytest
from example_ensembles import assert_bitwise

from hoam_plugin import ensembles


def test_runs_are_selected_by_parameter_values(ds):
    assert ensembles.sel_run(ds, mu=1.5).sizes["run"] == 1
    assert ensembles.sel_run(ds, nu=0.1)["mu"].values.tolist() == [1.2, 1.5]
    assert ensembles.sel_run(ds, mu=1.9, nu=0.3)["x"].values.tolist() == ds["x"].values[2:].tolist()
    assert ensembles.sel_run(ds, mu=float(np.float32(1.2))).sizes["run"] == 1
    with pytest.raises(ValueError, match=r"no run has {'mu': 1.3}; the ensemble has {'mu': \[1.2, 1.5, 1.9\]}"):
        ensembles.sel_run(ds, mu=1.3)
    with pytest.raises(ValueError, match=r"the ensemble has no parameter 'kT'; it has \['mu', 'nu'\]"):
        ensembles.sel_run(ds, kT=1.0)


def test_runs_beside_a_far_larger_parameter_are_told_apart(ds):
    far = ds.assign_coords(mu=("run", [1e300, 1.0, 2.0]))
    assert ensembles.sel_run(far, mu=1.0)["mu"].values.tolist() == [1.0]


def test_subsamples_are_random_reproducible_and_without_replacement(ds):
    one, same = (ensembles.subsample(ds, 3, key=jax.random.key(0)) for _ in range(2))
    assert_bitwise(one, same)
    assert one.sizes["sample"] == 3
    assert len(np.unique(one["v"].values[0, 0])) == 3
    everything = ensembles.subsample(ds, 5, key=jax.random.key(1))
    assert_bitwise(ds, everything)
    chosen = [i for i in range(5) if ds["v"].values[0, 0, i] in one["v"].values[0, 0]]
    np.testing.assert_array_equal(one["q"].values, ds["q"].values[:, :, chosen])
    with pytest.raises(ValueError, match="n_samples=6 exceeds the 5 samples of the ensemble"):
        ensembles.subsample(ds, 6, key=jax.random.key(0))
    with pytest.raises(ValueError, match="n_samples=0 must be a whole number of at least 1"):
        ensembles.subsample(ds, 0, key=jax.random.key(0))


def test_a_number_is_no_random_key(ds, as_installed):
    with pytest.raises(TypeError, match=r"key=0 must be a JAX random key, such as jax\.random\.key\(0\)"):
        ensembles.subsample(ds, 3, key=0)


@pytest.mark.parametrize("times", [None, [0], [2, 0], [1, 1]], ids=str)
@pytest.mark.parametrize("rows", [slice(None), slice(1, None, 2), slice(0, 1)], ids=str)
def test_pieces_of_some_times_and_samples_are_those_of_the_selected_ensemble(ds, tmp_path, times, rows):
    ensembles.save(ds, tmp_path / "e.zarr")
    chosen = range(ds.sizes["time"]) if times is None else times
    wanted = ensembles.samples(ds.isel(time=list(chosen), sample=rows), 1)
    for whole in (ds, ensembles.load(tmp_path / "e.zarr", lazy=True)):
        pieces = list(ensembles.slabs(whole, 1, None if times is None else np.asarray(times), rows))
        np.testing.assert_array_equal(np.concatenate([values for _, values in pieces]), wanted)
        assert [i for span, _ in pieces for i in range(span.start, span.stop)] == list(range(len(wanted)))
