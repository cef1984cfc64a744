"""What the tests of ensembles share."""

import pytest
import xarray as xr
from example_ensembles import small_ensemble


@pytest.fixture
def ds() -> xr.Dataset:
    return small_ensemble()
