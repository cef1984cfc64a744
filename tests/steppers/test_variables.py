"""Variables: their description survives the trip through an ensemble's attributes, and nonsense is refused."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoam_plugin.steppers import Variable

names = st.from_regex(r"[a-z][a-z_0-9]{0,8}", fullmatch=True).filter(str.isidentifier)
positive = st.floats(1e-6, 1e6)
text = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1, max_size=20)


@pytest.mark.long
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


@pytest.mark.parametrize("value", [8, 8.0, [8.0], np.asarray([[8.0]]), np.float32(8), np.asarray(8.0), "8.0", b"8"])
@pytest.mark.parametrize("field", ["period", "scale"])
def test_one_number_in_any_wrapping_is_a_number(field, value):
    assert getattr(Variable.from_attributes("q", [], {field: value}), field) == 8.0


@pytest.mark.parametrize("value", ["m", b"m", ["m"], np.asarray([b"m"]), np.asarray(["m"], object), np.str_("m")])
def test_one_text_in_any_wrapping_is_a_text(value):
    variable = Variable.from_attributes(
        "q", [], {"units": value, "velocity_of": value, "rate_of": value, "long_name": value}
    )
    assert variable == Variable("q", units="m", velocity_of="m", rate_of="m", long_name="m")
    assert Variable.from_attributes("q", [], {"units": 1}).units == "1"
    assert Variable.from_attributes("q", [], {"units": None, "velocity_of": "", "period": None}) == Variable("q")


@pytest.mark.parametrize(
    ("attributes", "says"),
    [
        ({"period": [8.0, 9.0]}, r"variable 'q' has period=\[8\.0, 9\.0\]; it must be a positive number, one for all"),
        ({"period": np.ones(3)}, r"variable 'q' has period=array\(.*\); it must be a positive number"),
        ({"period": "2 pi"}, "variable 'q' has period='2 pi'; it must be a positive number"),
        ({"period": True}, "variable 'q' has period=True"),
        ({"period": np.nan}, "variable 'q' has period=nan"),
        ({"period": 1j}, "variable 'q' has period=1j"),
        ({"period": []}, r"variable 'q' has period=\[\]"),
        ({"period": {}}, "variable 'q' has period={}"),
        ({"scale": "log"}, "variable 'q' has scale='log'; it must be a positive number"),
        ({"scale": -1}, "variable 'q' has scale=-1"),
        ({"bounds_low": "a", "bounds_high": 1.0}, "variable 'q' has bounds_low='a'; it must be a number"),
        ({"bounds_low": 2.0, "bounds_high": 1.0}, r"bounds=\(2\.0, 1\.0\) of variable 'q'"),
        ({"units": ["m", "s"]}, r"variable 'q' has units=\['m', 's'\]; it must be a text"),
        ({"velocity_of": 3}, "variable 'q' has velocity_of=3; it must be a text"),
        ({"rate_of": ["x", "y"]}, "variable 'q' has rate_of="),
    ],
)
def test_attributes_that_mean_nothing_name_the_variable(attributes, says):
    with pytest.raises(ValueError, match=says):
        Variable.from_attributes("q", [], attributes)
