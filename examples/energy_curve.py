"""Downstream code that does not know who steps: the electric-energy curve over mu, by simulator or by surrogate.

`python examples/energy_curve.py` trains a small, crude surrogate first; with `--model model.hoam` it takes one that
`hoam fit` or `hoam demo` wrote.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import xarray as xr

import hoam_plugin as hoam


def energy_curve(name: str, mu: Any, times: Any, *, key: jax.Array, n_samples: int = 5_000) -> xr.DataArray:
    """Electric energy per particle over (run, time), one run per mu, by whatever stepper the name gives.

    Names resolve when Python runs: this function is not to be compiled; inside `jit`, pass a stepper as an argument.
    """
    stepper = hoam.stepper(name)
    ensemble = hoam.simulate(stepper, {"mu": mu}, times, key=key, n_samples=n_samples, progress=False)
    return ensemble["electric_energy"]


def small_surrogate(
    name: str, *, key: jax.Array, n_runs: int = 4, n_nodes: int = 32, n_samples: int = 5_000, iterations: int = 1_000
) -> hoam.Surrogate:
    """A surrogate of the named simulator, from little data and training."""
    mu = np.linspace(1.2, 1.9, n_runs)
    nodes = hoam.quadrature.gauss_legendre(n_nodes)
    truth = hoam.simulate(hoam.stepper(name), {"mu": mu}, nodes, key=key, n_samples=n_samples, progress=False)
    training = hoam.Training(iterations=iterations)
    return hoam.fit(truth, key=key, training=training, progress=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print both curves side by side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a saved surrogate; without one, a small one is trained")
    parser.add_argument("--mu", default="1.25,1.85", help="values of mu, separated by commas")
    parser.add_argument("--samples", type=int, default=5_000, help="samples per run")
    parser.add_argument("--iterations", type=int, default=1_000, help="training of the small surrogate")
    options = parser.parse_args(arguments)

    name, key = "two_stream", jax.random.key(0)
    mu = [float(value) for value in options.mu.split(",")]
    times = np.linspace(0.0, 40.0, 9)
    if options.model is None:
        model = small_surrogate(name, key=key, n_samples=options.samples, iterations=options.iterations)
    else:
        model = hoam.load(options.model)
    hoam.register(name, model)

    by_simulator = energy_curve(name, mu, times, key=key, n_samples=options.samples)
    with hoam.use_surrogate(name):
        by_surrogate = energy_curve(name, mu, times, key=key, n_samples=options.samples)

    print(f"{'mu':>6} {'time':>6} {'simulator':>12} {'surrogate':>12}")
    for run, value in enumerate(mu):
        for i, time in enumerate(times):
            print(f"{value:6g} {time:6g} {float(by_simulator[run, i]):12.4g} {float(by_surrogate[run, i]):12.4g}")


if __name__ == "__main__":
    main()
