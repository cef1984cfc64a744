"""What arrays of coefficients may look like in a file."""

from typing import Any

import numpy as np
import pytest

from hoam_plugin.dynamics import weights_of_runs
from hoam_plugin.potentials import coefficients_fit, shape_fits


def weights(n_splines: int = 6, n_runs: int = 3, n: int = 5) -> dict[str, Any]:
    """Of three runs of one parameter."""
    runs = weights_of_runs({"mu": np.asarray([0.1, 0.2, 0.4])}, 3)
    arrays = {name: getattr(runs, name) for name in ("shift", "scale", "basis", "points", "table")}
    return {"coefficients": np.zeros((n_splines, n_runs, n)), "runs": arrays}


def test_there_may_be_as_many_splines_and_runs_as_needed():
    assert shape_fits(["coefficients"], (66, 4, 29), (4, 1, 29))
    assert shape_fits(["correction", "runs", "points"], (7, 2), (1, 0))
    assert coefficients_fit(weights())
    assert coefficients_fit({"network": {"W": np.zeros(3)}, "correction": weights()})


@pytest.mark.parametrize(
    ("path", "found"),
    [(["coefficients"], (66, 4, 28)), (["coefficients"], (66, 29)), (["layers", "W"], (4, 2, 29))],
)
def test_what_the_potential_fixes_has_to_be_so(path, found):
    assert not shape_fits(path, found, (4, 1, 29))


def test_coefficients_are_of_the_runs_beside_them():
    assert not coefficients_fit(weights(n_runs=4))
    assert not coefficients_fit({"correction": weights(n_splines=2)})
