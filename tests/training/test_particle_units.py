"""Forces between particles do not depend on units and origins."""

import dataclasses

import jax
import numpy as np
import pytest
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin.potentials import Neighbours, ParticlePotential

KEY = jax.random.key(0)
PULL, N = 0.8, 4
TIMES = np.linspace(0, 1, 17)


@dataclasses.dataclass(frozen=True)
class Units:
    """Scale and origin of positions and times."""

    x: float = 1.0
    x0: float = 0.0
    t: float = 1.0
    t0: float = 0.0


UNITS = {
    "far": Units(x0=1e3, t0=1e6),
    "tiny, and far off": Units(x=1e-24, x0=1e-21, t=1e-24),
    "large and late": Units(x=1e6, x0=-1e9, t=1e3, t0=1e8),
}


def clusters(units: Units, *, kinetic: bool) -> xr.Dataset:
    """Particles of a cluster that draw together: dx/dt = -PULL (x - centre), as springs between all pairs do."""
    start = np.random.default_rng(0).standard_normal((1, 1, 256, N, 2))
    centre = start.mean(axis=3, keepdims=True)
    apart = (start - centre) * np.exp(-PULL * TIMES)[None, :, None, None, None]
    dims = ("run", "time", "sample", "particle", "axis")
    data = {"x": (dims, units.x0 + units.x * (centre + apart))}
    if kinetic:
        data["v"] = (dims, -PULL * units.x / units.t * apart, {"velocity_of": "x"})
    return xr.Dataset(data, {"time": units.t0 + units.t * TIMES})


@pytest.mark.long
@pytest.mark.parametrize("kinetic", [False, True], ids=["positions", "velocities"])
@pytest.mark.parametrize("units", UNITS.values(), ids=UNITS)
@pytest.mark.usefixtures("x64")
def test_pairs_pull_alike(units: Units, kinetic: bool) -> None:
    ds = clusters(units, kinetic=kinetic)
    potential = ParticlePotential(n_radial=6, one_body=0, neighbours=Neighbours(2))
    model = hoam.fit(
        ds,
        key=KEY,
        structure="kinetic" if kinetic else "gradient",
        potential=potential,
        loss=hoam.ActionMatching(epsilon=0.0),
        clock="physical",
        progress=False,
    )
    columns = [ds[name].values[0, 8, :32].reshape(32, -1) for name in ds.data_vars]
    time = float(ds["time"][8])
    rate = model.velocity(np.concatenate(columns, axis=1), time, {})[:, -2 * N :].reshape(32, N, 2)
    x = (columns[0].reshape(32, N, 2) - units.x0) / units.x
    apart = x - x.mean(axis=1, keepdims=True)
    expected = PULL**2 * apart if kinetic else -PULL * apart
    found = np.asarray(rate) * (units.t**2 if kinetic else units.t) / units.x
    assert np.linalg.norm(found - expected) < 0.05 * np.linalg.norm(expected)
