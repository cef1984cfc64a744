"""When numbers count as equal, and how far apart neighbours are."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from hoam_plugin.numerics import tolerances


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_units_in_the_last_place_of_the_largest_and_the_least(dtype: type) -> None:
    info = np.finfo(dtype)
    values = np.array([info.max, -info.max, 1.0, -1.5, info.tiny], dtype)
    found = tolerances.ulp(values)
    assert found.dtype == np.float64
    # The largest number is just below twice a power of two.
    assert found[0] == found[1] == float(info.max) - float(np.nextafter(info.max, dtype(0)))
    assert found[2] == found[3] == info.eps


@hypothesis.given(value=st.floats(1e-30, 1e30))
def test_a_unit_in_the_last_place_leads_to_the_next_number(value: float) -> None:
    single = np.array([value], np.float32)
    assert single.astype(np.float64) + tolerances.ulp(single) == np.nextafter(single, np.float32(np.inf))


def test_what_is_not_finite_is_constant_where_it_is_the_same() -> None:
    assert tolerances.is_constant(np.array([np.inf, np.inf]))
    assert not tolerances.is_constant(np.array([np.inf, -np.inf]))
    assert not tolerances.is_constant(np.array([1.0, np.nan]))
