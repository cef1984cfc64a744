"""What `simulate` refuses, before anything runs."""

import math
import os

import pytest
from small_steppers import run


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"n_samples": 0}, "n_samples=0 must be a whole number of at least 1"),
        ({"n_samples": 2.5}, "n_samples=2.5 must be a whole number"),
        ({"dt": -0.1}, "dt=-0.1 must be a finite number above 0"),
        ({"dt": math.inf}, "dt=inf must be"),
        ({"dt": "fast"}, "dt='fast' must be a finite number above 0"),
        ({"times": [0.0, 1.0, 0.5]}, r"times must be strictly increasing, but times\[2\]=0.5 follows times\[1\]=1.0"),
        ({"times": [0.0, 0.0]}, r"times\[1\]=0.0 follows times\[0\]=0.0"),
        ({"times": []}, r"times has shape \(0,\); it must be a one-dimensional, non-empty list"),
        ({"times": 1.0}, r"times has shape \(\)"),
        ({"times": "gauss"}, "times='gauss' must be a number or a list of numbers"),
        ({"times": [0.0, math.nan]}, "times holds .*nan.*; every time must be finite"),
        ({"times": [-1.0, 0.0]}, "times start at -1, before the initial population's time 0; start later"),
        ({"parameters": {"theta": [1.0]}}, r"parameters={'theta': \[1.0\]} lacks \['sigma'\]; this stepper needs"),
        ({"parameters": {"theta": 1.0, "sigmma": 1.0}}, "unknown name 'sigmma'; did you mean 'sigma'?"),
        ({"parameters": {"theta": [1.0, 2.0], "sigma": [1.0, 2.0, 3.0]}}, "unequal lengths {'theta': 2, 'sigma': 3}"),
        ({"parameters": {"theta": [], "sigma": 1.0}}, r"parameters\['theta'\]=\[\] must be a non-empty list"),
        ({"parameters": {"theta": [math.nan], "sigma": 1.0}}, r"parameters\['theta'\]=\[nan\] must be"),
        ({"parameters": {"theta": "hot", "sigma": 1.0}}, r"parameters\['theta'\]='hot' must be a number or a list"),
    ],
)
def test_wrong_arguments_are_named_before_anything_runs(as_installed, options, says, tmp_path):
    with pytest.raises(ValueError, match=says):
        run(**options, store=tmp_path / "e.zarr")
    assert os.listdir(tmp_path) == []


def test_parameters_must_be_a_mapping(as_installed):
    with pytest.raises(TypeError, match=r"parameters=\[1.0\] must be a dict of name to values, such as {'mu': "):
        run(parameters=[1.0])
