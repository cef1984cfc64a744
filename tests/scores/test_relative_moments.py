"""The paper's relative errors of mean and diagonal covariance over time."""

import numpy as np
from scored import ensemble, score

from hoam_plugin.scores import compare


def test_relative_errors_over_time_are_those_of_raw_moments() -> None:
    truth, other = ensemble(), ensemble(seed=1)
    shifted = [ds.assign(v=ds["v"] * np.float32(1e-3) + np.float32(0.1)) for ds in (truth, other)]
    scores = compare(*shifted)
    for run in range(2):
        first, second = (ds["v"].values[run, 1:].astype(np.float64) for ds in shifted)
        for name, moment in (("mean_l2", np.mean), ("variance_l2", np.var)):
            a, b = moment(first, axis=1), moment(second, axis=1)
            expected = np.linalg.norm(a - b) / np.linalg.norm(a)
            np.testing.assert_allclose(score(scores, name)[run], expected, rtol=1e-5)


def test_a_variable_counts_with_all_its_components_and_variables_count_alike() -> None:
    truth, other = ensemble(), ensemble(seed=1)
    scores = compare(truth[["v"]], other[["v"]])
    doubled = [ds.assign(w=ds["v"] * np.float32(1e3)) for ds in (truth, other)]
    for name in ("mean_l2", "variance_l2"):
        np.testing.assert_allclose(score(compare(*doubled), name), score(scores, name), rtol=1e-5)


def test_periodic_variables_have_none() -> None:
    truth = ensemble()
    assert "mean_l2" not in compare(truth[["x"]], truth[["x"]])


def test_from_time_counts_here_too() -> None:
    truth = ensemble()
    other = truth.assign(
        v=truth["v"].where(truth["time"] >= 2.0, 5.0).astype(np.float32).assign_attrs(truth["v"].attrs)
    )
    assert (score(compare(truth, other), "mean_l2") > 0.1).all()
    np.testing.assert_array_equal(score(compare(truth, other, from_time=2.0), "mean_l2"), 0.0)
