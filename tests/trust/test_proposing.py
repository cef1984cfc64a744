"""`propose`: far from the runs, where members disagree and left-out runs were missed."""

from typing import Any

import jax
import numpy as np
import pytest
import xarray as xr

import hoam_plugin as hoam

KEY = jax.random.key(5)


def ranked(committee: hoam.Surrogate, mu: list[float], n: int = 1, **options: Any) -> xr.Dataset:
    return hoam.propose(committee, {"mu": mu}, n, key=KEY, n_samples=64, **options)


@pytest.mark.long
def test_a_known_run_is_worth_nothing(committee: hoam.Surrogate, runs: xr.Dataset) -> None:
    found = ranked(committee, [1.3, 1.35, 1.5], runs=runs)
    assert found["mu"].values[0] == 1.35
    assert found["value"].values[0] > 0
    np.testing.assert_allclose(found["distance"].values[0], 1.0)
    np.testing.assert_allclose(found["value"].values[1:], 0, atol=1e-6)
    assert str(found["why"].values[0]).startswith("mu = 1.35: members come")


@pytest.mark.long
def test_a_committee_remembers_its_runs(committee: hoam.Surrogate, runs: xr.Dataset) -> None:
    of_itself, told = ranked(committee, [1.3, 1.35, 1.5]), ranked(committee, [1.3, 1.35, 1.5], runs=runs)
    np.testing.assert_allclose(of_itself["distance"], told["distance"], rtol=1e-5, atol=1e-5)
    assert of_itself["mu"][0] == told["mu"][0]


def test_several_do_not_lie_side_by_side(committee: hoam.Surrogate, runs: xr.Dataset) -> None:
    found = ranked(committee, [1.34, 1.35, 1.36, 1.55], n=2, runs=runs)
    assert found.attrs["chosen"] == 2
    assert len({value > 1.5 for value in found["mu"].values[:2].tolist()}) == 2


def test_errors_nearby_count(committee: hoam.Surrogate, runs: xr.Dataset, validation: xr.Dataset) -> None:
    errors = validation.copy(deep=True)
    errors["electric_energy_error"].loc[{"reference": "surrogate"}] = [1.0, 0.1, 0.1]
    near, far = (ranked(committee, [mu], runs=runs, validation=errors)["error"].item() for mu in (1.31, 1.49))
    assert near > 1 > far


def test_an_ensemble_trains_its_committee(runs: xr.Dataset, small: dict[str, Any]) -> None:
    found = hoam.propose(runs, {"mu": [1.25, 1.4]}, key=jax.random.key(1), n_samples=64, members=3, **small)
    assert found["mu"].values.tolist() == [1.25, 1.4]


def test_what_is_refused(committee: hoam.Surrogate, runs: xr.Dataset) -> None:
    with pytest.raises(ValueError, match="n=3 exceeds the 2 candidates"):
        ranked(committee, [1.3, 1.4], n=3)
    with pytest.raises(ValueError, match="structure= is for training"):
        ranked(committee, [1.3], structure="kinetic")
    with pytest.raises(ValueError, match="is no committee"):
        ranked(hoam.trust.members_of(committee)[0], [1.3])
    with pytest.raises(ValueError, match="'nu'"):
        hoam.propose(committee, {"nu": [1.0]}, key=KEY)
