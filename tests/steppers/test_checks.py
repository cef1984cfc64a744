"""What is passed as a stepper and is none: the message says what to pass instead."""

import pathlib

import pytest
import toy

import hoam_plugin as hoam
from hoam_plugin import simulators
from hoam_plugin.steppers.checks import require_stepper


def test_simulators_and_surrogates_are_steppers():
    for stepper in (toy.small_plasma(), simulators.trap(), toy.gaussian_surrogate()):
        assert require_stepper("stepper", stepper) is stepper


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (simulators.two_stream, "stepper=two_stream is a function, not a stepper; call it, as in stepper=two_stream()"),
        (simulators.VlasovPoissonPIC, "stepper=VlasovPoissonPIC is a class, not a stepper"),
        (
            "two_stream",
            r"stepper='two_stream' is a text; pass the stepper itself: hoam_plugin\.stepper\('two_stream'\)",
        ),
        (pathlib.Path("m.hoam"), r"stepper='m\.hoam' is a text; .*hoam_plugin\.load\(path\)"),
        (3, "stepper is of the type int, which is no stepper: it lacks variables, parameters, dt, horizon"),
        (toy.moving_gaussian(), "stepper is of the type Dataset, which is no stepper"),
    ],
)
def test_others_are_named(value, says):
    with pytest.raises(TypeError, match=says):
        require_stepper("stepper", value)


def test_a_surrogate_is_loaded_in_the_place_of_steppers_only(tmp_path):
    path = toy.gaussian_surrogate().save(tmp_path / "m.hoam")
    for value in (simulators.two_stream, "two_stream", 3):
        with pytest.raises(TypeError, match="replaces"):
            hoam.load(path, replaces=value)
