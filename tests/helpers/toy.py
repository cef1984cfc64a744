"""Small populations with known dynamics, shared by the tests."""

from typing import Any

import jax
import numpy as np
import xarray as xr
from made_once import made_once

import hoam_plugin as hoam
from hoam_plugin import simulators


def moving_gaussian(
    speeds: tuple[float, ...] = (1.0, 2.0, 3.0), n_samples: int = 2048, n_times: int = 9, dtype: Any = np.float32
) -> xr.Dataset:
    """A foreign ensemble (no attributes): y ~ N(mu t, 1) on t in [0, 2]; its velocity is the constant mu."""
    rng = np.random.default_rng(0)
    times = np.linspace(0.0, 2.0, n_times)
    start = rng.standard_normal((len(speeds), 1, n_samples))
    y = start + np.asarray(speeds)[:, None, None] * times[None, :, None]
    return xr.Dataset({"y": (("run", "time", "sample"), y.astype(dtype))}, {"time": times, "mu": ("run", list(speeds))})


def small_plasma() -> simulators.VlasovPoissonPIC:
    """Two streams on few cells over a short time."""
    return simulators.two_stream(n_cells=64, dt=0.1, horizon=(0.0, 4.0))


def small_plasma_ensemble(n_samples: int = 512, nodes: int = 8) -> xr.Dataset:
    """Three runs of `small_plasma` on Gauss nodes."""
    return hoam.simulate(
        small_plasma(),
        {"mu": [1.2, 1.5, 1.8]},
        hoam.quadrature.gauss_legendre(nodes),
        key=jax.random.key(0),
        n_samples=n_samples,
        progress=False,
    )


def small_surrogate(ds: xr.Dataset, epsilon: float = 0.0, seed: int = 1, **options: Any) -> hoam.Surrogate:
    """40 iterations in blocks of 10, enough for a field that is not zero. Equal shapes share a compilation."""
    return hoam.fit(
        ds,
        key=jax.random.key(seed),
        potential=hoam.CoLoRA(width=8, depth=2, rank=2, hyper_width=5),
        loss=hoam.ActionMatching(epsilon=epsilon),
        training=hoam.Training(iterations=40, n_samples=64, block=10, learning_rate=2e-2, warmup=10),
        progress=False,
        **options,
    )


@made_once
def gaussian_surrogate() -> hoam.Surrogate:
    """`small_surrogate` of `moving_gaussian`, made once for all tests."""
    return small_surrogate(moving_gaussian())


@made_once
def plasma_surrogate(epsilon: float = 0.0) -> hoam.Surrogate:
    """`small_surrogate` of `small_plasma_ensemble`, made once for all tests."""
    return small_surrogate(small_plasma_ensemble(), epsilon=epsilon)


def maxima(times, curve):
    """Times and heights of the maxima, by the parabola through three points of the logarithm."""
    log = np.log(curve)
    i = 1 + np.flatnonzero((log[1:-1] > log[:-2]) & (log[1:-1] > log[2:]))
    left, middle, right = log[i - 1], log[i], log[i + 1]
    shift = (left - right) / (2 * (left - 2 * middle + right))
    return times[i] + shift * (times[1] - times[0]), np.exp(middle - (left - right) * shift / 4)
