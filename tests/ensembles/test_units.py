"""Units that two ensembles say: the same in any spelling, and refused where they differ."""

import numpy as np
import pytest
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin.ensembles.units import powers, require_same_units


def ensemble(**units: str) -> xr.Dataset:
    x = np.random.default_rng(0).normal(size=(1, 3, 20))
    return hoam.ensemble.from_arrays(x=x, v=x, time=[0.0, 1.0, 2.0], parameters={"mu": [1.0]}, units=units)


@pytest.mark.parametrize("text", ["m s-1", "m/s", "m s^-1", "m*s**-1", "m.s-1"])
def test_spellings_are_the_same(text: str) -> None:
    assert powers(text) == {"m": 1, "s": -1}
    require_same_units("prediction", ensemble(v=text), "truth", ensemble(v="m s-1"))


def test_units_that_are_not_said_fit_all() -> None:
    require_same_units("prediction", ensemble(), "truth", ensemble(x="m", time="s"))


def test_other_units_are_refused() -> None:
    sentence = (
        "prediction has 'x' in 'nm' and truth has it in 'm'; bring both to the same units, times 1e-09, or correct"
    )
    with pytest.raises(ValueError, match=sentence):
        hoam.compare(ensemble(x="m"), ensemble(x="nm"))
    with pytest.raises(ValueError, match="has 'time' in 'fs' and truth has it in 's'"):
        hoam.compare(ensemble(time="s"), ensemble(time="fs"))
    with pytest.raises(ValueError, match="has 'mu' in 'K' and truth has it in 'eV'"):
        hoam.compare(ensemble(mu="eV"), ensemble(mu="K"))
