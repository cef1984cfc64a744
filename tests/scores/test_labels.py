"""Numbers as text: short, and different for different values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoam_plugin.scores import labels

NUMBERS = st.floats(-1e30, 1e30).filter(lambda x: x == 0 or abs(x) > 1e-30)


@pytest.mark.parametrize(
    ("value", "among", "text"),
    [
        (1.25, (), "1.25"),
        (np.float32(1.2), (), "1.2"),
        (1 / 3, (), "0.333333"),
        (1000000.5, (), "1000000.5"),
        (1e6 + 1 / 3, (), "1000000.33"),
        (1e6, (1000000.5,), "1000000"),
        (4e-21, (8e-21,), "4e-21"),
        (300 * 1.380649e-23, (), "4.14195e-21"),
        (1.2345678, (1.2345679,), "1.2345678"),
        (True, (), "1"),
        (-0.0, (), "-0"),
        (np.nan, (1.0,), "nan"),
    ],
)
def test_number(value, among, text):
    assert labels.number(value, among) == text


@given(st.lists(NUMBERS, min_size=1, max_size=4), st.floats(-1e6, 1e6), st.integers(-80, 80))
def test_different_numbers_have_different_texts_that_round_to_them(values, shift, exponent):
    values = [(value % 1 + shift) * 2.0**exponent for value in values]
    values += [np.nextafter(np.float32(values[0]), np.float32(np.inf)).item()]
    for value in values:
        assert float(labels.number(value, values)) == pytest.approx(value, rel=1e-5, abs=0)
    far_apart = {round(value / max(map(abs, values)), 6) for value in values} if any(values) else {0.0}
    assert len({labels.number(value, values) for value in values}) >= len(far_apart)


@given(st.floats(-30, 12), st.floats(-1, 1), st.floats(0, 9))
def test_times_of_one_form_differ_and_are_right(exponent, direction, distance):
    gap = 10.0**exponent
    times = direction * 10**distance * gap + gap * np.arange(5)
    texts = labels.times(times)
    np.testing.assert_allclose([float(text) for text in texts], times, rtol=0, atol=0.06 * gap)
    assert len(set(texts)) == 5
    assert len({"e" in text for text in texts}) == 1


def test_times():
    assert labels.times([2.0, 8.0]) == ["2.00", "8.00"]
    assert labels.times(1e6 + np.array([0.0025, 0.005])) == ["1000000.0025", "1000000.0050"]
    assert labels.times([2.5e-13, 1e-12]) == ["2.50e-13", "1.00e-12"]
    assert labels.times([0.0]) == ["0.00"]


def test_runs():
    assert labels.runs({"mu": np.array([1.0, 1.5]), "kT": np.array([4e-21, 8e-21])}, 2) == [
        "mu = 1, kT = 4e-21",
        "mu = 1.5, kT = 8e-21",
    ]
    assert labels.runs({"mu": np.array([1.0, 1.5, 1.0])}, 3) == ["mu = 1 (run 0)", "mu = 1.5", "mu = 1 (run 2)"]
    assert labels.runs({}, 2) == ["run 0", "run 1"]
