"""Variables: their description survives the trip through an ensemble's attributes, and nonsense is refused."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoam_plugin.variables import Variable

names = st.from_regex(r"[a-z][a-z_0-9]{0,8}", fullmatch=True).filter(str.isidentifier)
positive = st.floats(1e-6, 1e6)
text = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1, max_size=20)


@given(
    st.fixed_dictionaries(
        {
            "name": names,
            "dims": st.lists(names, max_size=2, unique=True).map(tuple),
            "period": st.none() | positive,
            "units": text,
            "velocity_of": st.none() | names,
            "long_name": text,
            "scale": st.none() | positive,
            "bounds": st.none() | st.tuples(st.floats(-1e6, -1e-6), positive),
            "rate_of": st.none() | names,
        }
    )
)
def test_attributes_describe_a_variable_completely_and_are_json_safe(fields):
    variable = Variable(**fields)
    attributes = json.loads(json.dumps(variable.attributes()))
    assert Variable.from_attributes(variable.name, variable.dims, attributes) == variable


def test_foreign_attributes_may_be_missing_or_numpy_values():
    assert Variable.from_attributes("q", [], {}) == Variable("q")
    variable = Variable.from_attributes("q", ["axis"], {"period": np.float32(2.0), "scale": np.array([3.0])})
    assert variable == Variable("q", ("axis",), period=2.0, scale=3.0)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"name": "2x"}, "name='2x' of a Variable must be a Python identifier"),
        ({"name": "x", "period": -1.0}, "period=-1.0 of variable 'x' must be a positive number"),
        ({"name": "x", "period": float("nan")}, "period=nan of variable 'x'"),
        ({"name": "x", "scale": 0.0}, "scale=0.0 of variable 'x'"),
        ({"name": "x", "bounds": (1.0, 1.0)}, r"bounds=\(1.0, 1.0\) of variable 'x' must be \(low, high\)"),
    ],
)
def test_nonsense_is_refused_in_one_sentence(wrong, says):
    with pytest.raises(ValueError, match=says):
        Variable(**wrong)
