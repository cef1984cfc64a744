"""Infer the Debye length mu from a noisy energy curve, by gradient descent through a surrogate or through a simulator.

`python examples/infer_mu.py` trains a surrogate of the two-stream problem (a minute or two), makes a noisy observation
with the simulator, and finds mu through the surrogate and through the simulator at two time steps.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import hoam_plugin as hoam
from hoam_plugin.observables import diagnostic_over_time

NAME = "two_stream"
RANGE = (1.2, 1.9)
END = 20.0


class Descent(NamedTuple):
    """Where gradient descent went, and what it took.

    Attributes:
        path: parameters before each iteration and at the end, shape (iterations + 1, parameters).
        loss: before each iteration.
        first_seconds: of the first iteration, mostly compilation.
        seconds: of the others.
    """

    path: np.ndarray
    loss: np.ndarray
    first_seconds: float
    seconds: float


def trained_surrogate(
    *, key: jax.Array, n_samples: int = 25_000, n_nodes: int = 256, iterations: int = 4_000, **options: Any
) -> hoam.Surrogate:
    """The force of the two-stream problem, learned from eight runs; `options` are further ones of `fit`."""
    simulator = hoam.stepper(NAME, surrogate=False)
    nodes = hoam.quadrature.gauss_legendre(n_nodes)
    mu = np.linspace(*RANGE, 8)
    truth = hoam.simulate(
        simulator, {"mu": mu}, nodes, key=key, n_samples=n_samples, dt=0.1, rates=True, progress=False
    )
    training = hoam.recipes.velocity_training(iterations)
    return hoam.fit(truth, key=key, structure="kinetic", training=training, progress=False, **options)


def population(key: jax.Array, n_samples: int) -> Any:
    """The population at the start. Its samples do not depend on mu, only its field does."""
    return hoam.stepper(NAME, surrogate=False).init(key, n_samples, {"mu": jnp.asarray(RANGE[0])})


def log_energy(stepper: Any, mu: Any, start: Any, times: Any, *, dt: float | None = None) -> Any:
    """Logarithm of the electric energy at `times`: a differentiable function of mu, by any stepper.

    Args:
        stepper: surrogate or simulator.
        mu: Debye length.
        start: a `population`.
        times: concrete and increasing.
        dt: largest step; the stepper's own by default.
    """
    parameters = {"mu": mu}
    state = stepper.refresh(start, parameters)
    return jnp.log(diagnostic_over_time(stepper, state, times, parameters, dt=dt))


def observed(mu: float, times: Any, *, key: jax.Array, n_samples: int, noise: float = 0.05) -> Any:
    """What the simulator says at mu, with multiplicative noise: the logarithm of the energy at `times`."""
    start_key, noise_key = jax.random.split(key)
    start = population(start_key, n_samples)
    curve = jax.jit(lambda mu, start: log_energy(hoam.stepper(NAME, surrogate=False), mu, start, times))
    return curve(mu, start) + noise * jax.random.normal(noise_key, (len(times),))


def descend(
    curve: Callable[[Any, Any], Any],
    fixed: Any,
    data: Any,
    *,
    low: Any,
    high: Any,
    start: Any,
    iterations: int = 60,
    learning_rate: float = 0.1,
) -> Descent:
    """Adam on the mean square of `curve(fixed, theta) - data`, with theta scaled to [0, 1] between `low` and `high`.

    The Jacobian of the curve is taken in forward mode: for one or two parameters it is cheaper than reverse mode, by
    simulator and by surrogate, and needs no memory of the steps.

    Args:
        curve: (fixed, theta) to values, theta of shape (parameters,).
        fixed: stepper and samples, passed in and not closed over, so that they are no constants to the compiler.
        data: observed values.
        low: smallest parameters allowed.
        high: largest parameters allowed.
        start: first guess.
        iterations: number of steps.
        learning_rate: the first one; it falls to 0 along a cosine.
    """
    low, high = jnp.asarray(low), jnp.asarray(high)
    adam = optax.adam(optax.cosine_decay_schedule(learning_rate, iterations), b2=0.9)

    @jax.jit
    def iterate(fixed: Any, unit: Any, moments: Any) -> Any:
        def residual(unit: Any) -> Any:
            gap = curve(fixed, low + unit * (high - low)) - data
            return gap, gap

        jacobian, gap = jax.jacfwd(residual, has_aux=True)(unit)
        gradient = 2 * jnp.mean(gap[:, None] * jacobian, axis=0)
        step, moments = adam.update(gradient, moments)
        return jnp.clip(unit + step, 0.0, 1.0), moments, jnp.mean(gap**2)

    unit = (jnp.asarray(start) - low) / (high - low)
    moments = adam.init(unit)
    path, losses, seconds = [unit], [], []
    for _ in range(iterations):
        began = time.perf_counter()
        unit, moments, loss = iterate(fixed, unit, moments)
        losses.append(float(loss))
        seconds.append(time.perf_counter() - began)
        path.append(unit)
    physical = np.asarray(low) + np.asarray(path) * np.asarray(high - low)
    return Descent(physical, np.asarray(losses), seconds[0], sum(seconds[1:]))


def infer(
    stepper: Any,
    data: Any,
    times: Any,
    *,
    key: jax.Array,
    n_samples: int,
    dt: float | None = None,
    first_guess: float = 1.8,
    iterations: int = 60,
) -> Descent:
    """Find the mu whose energy curve is `data`, through `stepper`."""

    def curve(fixed: Any, theta: Any) -> Any:
        stepper, start = fixed
        return log_energy(stepper, theta[0], start, times, dt=dt)

    low, high = ([end] for end in RANGE)
    fixed = stepper, population(key, n_samples)
    return descend(curve, fixed, data, low=low, high=high, start=[first_guess], iterations=iterations)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print mu, errors and seconds by the surrogate and by the simulator."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a saved surrogate; without one, it is trained")
    parser.add_argument("--mu", type=float, default=1.37, help="the truth")
    parser.add_argument("--samples", type=int, default=25_000, help="samples per run")
    parser.add_argument("--iterations", type=int, default=60, help="of the descent")
    parser.add_argument("--figure", help="a picture of the observation, the fit and the descents")
    options = parser.parse_args(arguments)

    times = np.linspace(0.0, END, 41)
    keys = jax.random.split(jax.random.key(0), 3)
    began = time.perf_counter()
    if options.model is None:
        model = trained_surrogate(key=keys[0], n_samples=options.samples)
        print(f"training runs and training: {time.perf_counter() - began:.1f} s")
    else:
        model = hoam.load(options.model)
    simulator = hoam.stepper(NAME, surrogate=False)
    data = observed(options.mu, times, key=keys[1], n_samples=options.samples)

    descents = {}
    print(f"{'stepper':<22} {'mu':>8} {'error':>8} {'first s':>10} {'others s':>10}")
    for label, stepper, dt in (
        ("surrogate, dt = 0.25", model, 0.25),
        ("simulator, dt = 0.2", simulator, 0.2),
        ("simulator, dt = 0.01", simulator, 0.01),
    ):
        found = infer(
            stepper, data, times, key=keys[2], n_samples=options.samples, dt=dt, iterations=options.iterations
        )
        mu = float(found.path[-1, 0])
        cost = f"{found.first_seconds:10.2f} {found.seconds:10.2f}"
        print(f"{label:<22} {mu:8.4f} {abs(mu / options.mu - 1):8.2%} {cost}")
        descents[label] = found
    if options.figure:
        own = np.asarray(
            log_energy(
                model,
                descents["surrogate, dt = 0.25"].path[-1, 0],
                population(keys[2], options.samples),
                times,
                dt=0.25,
            )
        )
        draw(options.figure, times, np.asarray(data), own, descents, options.mu)


def draw(path: str, times: Any, data: Any, fitted: Any, descents: dict[str, Descent], mu: float) -> None:
    """Left the observation and the curve at the mu that the surrogate found, right mu over the iterations."""
    from hoam_plugin.plots import new_figure, save_figure

    figure = new_figure(9, 3.4)
    left, right = figure.subplots(1, 2)
    left.semilogy(times, np.exp(data), "k.", label="observed")
    left.semilogy(times, np.exp(fitted), color="#D55E00", label="surrogate at its mu")
    left.set_xlabel("time")
    left.set_ylabel("electric energy")
    left.legend()
    for (label, found), style in zip(descents.items(), ("-", "--", ":"), strict=True):
        right.plot(found.path[:, 0], style, label=label)
    right.axhline(mu, color="0.6", linewidth=0.8, label="truth")
    right.set_xlabel("iteration")
    right.set_ylabel("mu")
    right.legend()
    save_figure(figure, path, overwrite=True, dots_per_inch=110)


if __name__ == "__main__":
    main()
