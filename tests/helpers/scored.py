"""Ensembles whose scores are known, shared by the tests of scores."""

import numpy as np
import xarray as xr

from hoam_plugin import ensembles
from hoam_plugin.steppers import Variable

LENGTH = 2.0
X = Variable("x", period=LENGTH, bounds=(0.0, LENGTH))
V = Variable("v", scale=2.0, bounds=(-4.0, 4.0))
TIMES = np.linspace(0.0, 4.0, 9)


def ensemble(
    mu=(1.0, 2.0), times=TIMES, n_samples=200, seed=0, variables=(X, V), energy=lambda mu, t: mu * (1 + t)
) -> xr.Dataset:
    """Positions uniform on the circle, velocities normal around mu t / 10; an energy that is linear in mu."""
    rng = np.random.default_rng(seed)
    times, mu = np.asarray(times, float), np.asarray(mu, float)
    shape = (len(mu), len(times), n_samples)
    samples = {
        "x": rng.uniform(0, LENGTH, shape).astype(np.float32),
        "v": (rng.standard_normal(shape) + mu[:, None, None] * times[None, :, None] / 10).astype(np.float32),
    }
    diagnostic = (Variable("electric_energy"),) if energy else ()
    curve = {"electric_energy": energy(mu[:, None], times[None, :])} if energy else {}
    frame = ensembles.frame(times, {"mu": mu})
    return ensembles.build(frame, variables, samples, diagnostic, curve)


def score(scores: xr.Dataset, name: str, reference: str = "surrogate") -> np.ndarray:
    return scores[name].sel(reference=reference).values
