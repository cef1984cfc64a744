"""Calibrate the start of the population: how strongly it is perturbed and how warm its beams are, from energy curves.

The samples of the start are a differentiable function of both (the reparameterisation trick: fixed uniform points,
pushed through the inverse distribution function), and so is all that the surrogate makes of them.

A learned force is that of the population that it was trained on, not of any other. So both numbers are parameters of
the surrogate as well: its training runs differ in them, and the gradient goes through the start and through the force.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from infer_mu import Descent, descend
from jax.scipy.special import ndtri

import hoam_plugin as hoam
from hoam_plugin.observables import diagnostic_over_time
from hoam_plugin.simulators.sampling import cosine_density_quantile, quiet_points

NAME = "two_stream"
MU = 1.4
END = 20.0
NAMES = ("amplitude", "width")
LOW, HIGH = (0.02, 0.8), (0.1, 1.2)


def start(simulator: Any, theta: Any, points: Any) -> Any:
    """The state whose samples are the points (n, 2) of the unit square, pushed to the density that theta describes.

    Positions have the density 1 + amplitude cos(2 pi x / L), velocities are two beams at +-3 of the given width.
    """
    state = simulator.init(jax.random.key(0), len(points), {"mu": jnp.asarray(MU)})
    x = cosine_density_quantile(points[:, 0], simulator.length, theta[0], 1)
    right = points[:, 1] >= 0.5
    own = 2 * points[:, 1] - right.astype(points.dtype)
    v = jnp.where(right, 3.0, -3.0) + theta[1] * ndtri(own)
    return simulator.refresh(dataclasses.replace(state, x=x, v=v), {"mu": jnp.asarray(MU)})


def log_energy(stepper: Any, theta: Any, times: Any, points: Any, dt: float | None = None) -> Any:
    """Logarithm of the electric energy at `times`: a differentiable function of theta, by surrogate or simulator."""
    known = {"mu": jnp.asarray(MU), **dict(zip(NAMES, theta, strict=True))}
    # The simulator needs to know the start as samples alone.
    parameters = {name: known[name] for name in stepper.parameters}
    simulator = stepper.learned.replaces if isinstance(stepper, hoam.Surrogate) else stepper
    state = start(simulator, theta, points)
    return jnp.log(diagnostic_over_time(stepper, state, times, parameters, dt=dt))


def training_runs(*, key: jax.Array, n_samples: int, n_nodes: int, n_side: int) -> xr.Dataset:
    """Runs of the simulator for all pairs of `n_side` amplitudes and widths, which become its parameters."""
    simulator = hoam.stepper(NAME, surrogate=False)
    simulator = dataclasses.replace(simulator, horizon=(0.0, END))
    sides = [np.linspace(low, high, n_side) for low, high in zip(LOW, HIGH, strict=True)]
    amplitude, width = (grid.ravel() for grid in np.meshgrid(*sides, indexing="ij"))
    states = [
        start(simulator, jnp.asarray(theta), quiet_points(jax.random.fold_in(key, run), n_samples))
        for run, theta in enumerate(zip(amplitude.tolist(), width.tolist(), strict=True))
    ]
    samples = {name: np.stack([getattr(state, name) for state in states])[:, None] for name in ("x", "v")}
    frame = hoam.ensemble.frame([0.0], {"mu": np.full(len(states), MU)})
    runs = hoam.simulate(
        simulator,
        {"mu": np.full(len(states), MU)},
        hoam.quadrature.gauss_legendre(n_nodes),
        key=key,
        n_samples=n_samples,
        initial=hoam.ensemble.build(frame, simulator.variables, samples),
        dt=0.1,
        rates=True,
        progress=False,
    )
    return runs.assign_coords(amplitude=("run", amplitude), width=("run", width))


def trained_surrogate(
    *,
    key: jax.Array,
    n_samples: int = 25_000,
    n_nodes: int = 64,
    n_side: int = 4,
    iterations: int = 4_000,
    **options: Any,
) -> hoam.Surrogate:
    """The force at any amplitude and width in the range of the training runs; `options` are further ones of `fit`."""
    runs = training_runs(key=key, n_samples=n_samples, n_nodes=n_nodes, n_side=n_side)
    training = hoam.recipes.velocity_training(iterations)
    return hoam.fit(runs, key=key, structure="kinetic", training=training, progress=False, **options)


def observed(theta: Any, times: Any, *, key: jax.Array, n_samples: int, noise: float = 0.05) -> Any:
    """What the simulator says of a start, with multiplicative noise: the logarithm of the energy at `times`."""
    start_key, noise_key = jax.random.split(key)
    points = quiet_points(start_key, n_samples)
    curve = jax.jit(lambda theta: log_energy(hoam.stepper(NAME, surrogate=False), theta, times, points))
    return curve(jnp.asarray(theta)) + noise * jax.random.normal(noise_key, (len(times),))


def calibrate(stepper: Any, data: Any, times: Any, *, key: jax.Array, n_samples: int, iterations: int = 100) -> Descent:
    """Find amplitude and width from an energy curve, from the middle of their ranges."""
    points = quiet_points(key, n_samples)

    def curve(fixed: Any, theta: Any) -> Any:
        stepper, points = fixed
        return log_energy(stepper, theta, times, points)

    middle = [(low + high) / 2 for low, high in zip(LOW, HIGH, strict=True)]
    return descend(curve, (stepper, points), data, low=LOW, high=HIGH, start=middle, iterations=iterations)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the truth and what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--amplitude", type=float, default=0.035, help="the truth")
    parser.add_argument("--width", type=float, default=1.1, help="the truth")
    parser.add_argument("--samples", type=int, default=25_000, help="samples per run")
    parser.add_argument("--figure", help="a picture of the observation, the fit and the descent")
    options = parser.parse_args(arguments)

    times = np.linspace(0.0, END, 41)
    keys = jax.random.split(jax.random.key(0), 3)
    began = time.perf_counter()
    model = trained_surrogate(key=keys[0], n_samples=options.samples)
    print(f"training runs and training: {time.perf_counter() - began:.1f} s")
    truth = (options.amplitude, options.width)
    data = observed(truth, times, key=keys[1], n_samples=options.samples)
    found = calibrate(model, data, times, key=keys[2], n_samples=options.samples)
    print(
        f"descent: {found.seconds:.1f} s, and {found.first_seconds:.1f} s for the first iteration, mostly compilation"
    )
    print(f"{'':<10} {'truth':>8} {'found':>8} {'error':>8}")
    for name, true, value in zip(NAMES, truth, found.path[-1].tolist(), strict=True):
        print(f"{name:<10} {true:8.4f} {value:8.4f} {abs(value / true - 1):8.2%}")
    if options.figure:
        points = quiet_points(keys[2], options.samples)
        fitted = np.asarray(log_energy(model, jnp.asarray(found.path[-1]), times, points))
        draw(options.figure, times, np.asarray(data), fitted, found, truth)


def draw(path: str, times: Any, data: Any, fitted: Any, found: Descent, truth: tuple[float, float]) -> None:
    """Left the observation and the curve of the start that was found, right the path of the descent."""
    from hoam_plugin.plots import new_figure, save_figure

    figure = new_figure(9, 3.4)
    left, right = figure.subplots(1, 2)
    left.semilogy(times, np.exp(data), "k.", label="observed")
    left.semilogy(times, np.exp(fitted), color="#D55E00", label="surrogate from its start")
    left.set_xlabel("time")
    left.set_ylabel("electric energy")
    left.legend()
    right.plot(found.path[:, 0], found.path[:, 1], "-", color="#D55E00", label="descent")
    right.plot(*found.path[-1], "o", color="#D55E00", label="found")
    right.plot(*truth, "k+", markersize=12, label="truth")
    right.set_xlabel("amplitude of the perturbation")
    right.set_ylabel("width of the beams")
    right.legend()
    save_figure(figure, path, overwrite=True, dots_per_inch=110)


if __name__ == "__main__":
    main()
