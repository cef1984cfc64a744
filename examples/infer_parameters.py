"""The posterior of a physics parameter and of a parameter of the start, sampled by NUTS through a surrogate.

`python examples/infer_parameters.py` learns the force of the Duffing problem, measures a population of the simulator,
and infers `mu` and the mean velocity at the start. Measured are the means of x and of x^2 over the particles of an
experiment at a few times, with an instrument's noise. The likelihood is normal, and its covariance has four parts: the
noise of the instrument, that of as many particles as the experiment has, that of as many samples as the surrogate
takes, and what the surrogate's curves are off by, as their bands say. Needs blackjax (the extra `bench`).
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin import trust

NAME = "duffing"
PARAMETERS = ("mu", "velocity")
LOW, HIGH = np.asarray([0.12, -10.5]), np.asarray([0.28, -9.5])
END, TIMES, DT = 3.0, np.linspace(0.5, 3.0, 6), 0.1
# Positions are measured in this unit, in which those of the population are of order 1, with this noise of the means.
LENGTH, INSTRUMENT = 5.0, 0.01
N_PARTICLES, N_SAMPLES = 1_000, 400
# Of the bands, and the half width of the interval that holds as much of a standard normal variable.
LEVEL, QUANTILE = 0.8, 1.2816


class Setup(NamedTuple):
    """What is fixed before anything is measured.

    Attributes:
        model: the surrogate.
        state: a state of `N_SAMPLES` samples at the start of the simulator.
        error: covariance of what the surrogate's means are off by, shape (2 T, 2 T).
    """

    model: hoam.Surrogate
    state: Any
    error: Any


class Posterior(NamedTuple):
    """Samples of the posterior, and how well they were drawn.

    Attributes:
        theta: shape (samples, 2), in the order of `PARAMETERS`.
        accepted: mean acceptance rate.
        divergent: number of divergent transitions.
    """

    theta: Any
    accepted: Any
    divergent: Any


def drawn(key: Any, n: int) -> np.ndarray:
    """Points of the prior, which is flat between `LOW` and `HIGH`, shape (n, 2)."""
    return LOW + (HIGH - LOW) * np.asarray(jax.random.uniform(key, (n, 2)), np.float64)


def start_of(state: Any, velocity: Any, normals: Any) -> Any:
    """The state at the start: a differentiable function of the mean velocity, by fixed normal numbers (n, 2)."""
    simulator = hoam.stepper(NAME, surrogate=False)
    x, v = (center + simulator.width * normals[:, i] for i, center in enumerate((simulator.position, velocity)))
    return dataclasses.replace(state, x=x, v=v)


def features(x: Any) -> Any:
    """x and x^2 of every sample at all times, shape (samples, 2 T), from positions (T, samples)."""
    return jnp.concatenate([x / LENGTH, (x / LENGTH) ** 2]).T


def rolled_out(setup: Setup, theta: Any, normals: Any, key: Any) -> Any:
    """Features of the surrogate's samples: a differentiable function of theta, the same samples for the same key."""
    start = start_of(setup.state, theta[1], normals)
    return features(setup.model.solve(start, TIMES, {"mu": theta[0]}, key=key, dt=DT).x)


def runs(stepper: Any, theta: np.ndarray, times: Any, *, key: Any, n_samples: int, **options: Any) -> xr.Dataset:
    """An ensemble of one run for each row of theta, by simulator or surrogate; the same start for the same key."""
    simulator = hoam.stepper(NAME, surrogate=False)
    state = simulator.init(key, n_samples, {"mu": jnp.asarray(LOW[0])})
    keys = jax.random.split(key, len(theta))
    states = [
        start_of(state, velocity, jax.random.normal(own, (n_samples, 2)))
        for own, velocity in zip(keys, theta[:, 1].tolist(), strict=True)
    ]
    samples = {name: np.stack([getattr(state, name) for state in states])[:, None] for name in ("x", "v")}
    columns = {"mu": theta[:, 0]}
    initial = hoam.ensemble.build(hoam.ensemble.frame([0.0], columns), simulator.variables, samples)
    return hoam.simulate(
        stepper, columns, times, key=key, n_samples=n_samples, initial=initial, progress=False, **options
    )


def curves(ds: xr.Dataset) -> dict[str, xr.DataArray]:
    """What is measured, without the instrument's noise: means over (run, time), by name."""
    x = ds["x"].sel(time=TIMES, method="nearest") / LENGTH
    return {"first": x.mean("sample"), "second": (x**2).mean("sample")}


def measured(theta: np.ndarray, key: Any) -> Any:
    """What experiments at the rows of theta give, by the simulator, shape (rows, 2 T)."""
    run_key, noise_key = jax.random.split(key)
    ds = runs(hoam.stepper(NAME, surrogate=False), theta, TIMES, key=run_key, n_samples=N_PARTICLES)
    means = jnp.asarray(np.concatenate([curve.values for curve in curves(ds).values()], axis=1))
    return means + INSTRUMENT * jax.random.normal(noise_key, means.shape)


def learned(key: Any, *, n_samples: int = 4_000, iterations: int = 1_500) -> hoam.Surrogate:
    """The force on a particle, from runs of the simulator at corners and in the middle of a wider box."""
    simulator = dataclasses.replace(hoam.stepper(NAME, surrogate=False), horizon=(0.0, END))
    unit = np.asarray([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [0.5, 0.5], [0.25, 0.5], [0.75, 0.5]])
    margin = (HIGH - LOW) / 8
    theta = LOW - margin + (HIGH - LOW + 2 * margin) * unit
    nodes = hoam.quadrature.gauss_legendre(32)
    truth = runs(simulator, theta, nodes, key=key, n_samples=n_samples, rates=True)
    force = hoam.VectorField(width=24, depth=3, time_harmonics=0)
    training = hoam.recipes.velocity_training(iterations)
    model = hoam.fit(truth, key=key, structure="kinetic", potential=force, training=training, progress=False)
    # Evenly spread noise goes by the order of the samples, which changes with the parameters: a likelihood would jump.
    return model.with_options(noise="independent")


def prepared(model: hoam.Surrogate, key: Any, *, n_probes: int = 20, n_samples: int = 20_000) -> Setup:
    """What the curves of the surrogate are off by, from new runs at points of the prior.

    The bands say how large errors are, the differences themselves how those of one curve and time hang together with
    those of another: errors at six times are by no means six independent ones.
    """
    theta = drawn(key, n_probes)
    simulator = hoam.stepper(NAME, surrogate=False)
    truth, found = (
        curves(runs(stepper, theta, TIMES, key=key, n_samples=n_samples, dt=dt))
        for stepper, dt in ((simulator, None), (model, DT))
    )
    both = {f"{name}_truth": truth[name] for name in truth} | {f"{name}_left_out": found[name] for name in found}
    banded = trust.with_bands(model, xr.Dataset(both), level=LEVEL)
    spread, off = [], []
    for name, curve in found.items():
        low, high = trust.band_around(banded, name, curve.values, TIMES)
        spread.append((high - low).mean(axis=0) / (2 * QUANTILE))
        off.append((truth[name] - curve).values)
    residuals = np.concatenate(off, axis=1)
    together = residuals.T @ residuals
    scale = np.concatenate(spread) / np.sqrt(np.diag(together))
    state = simulator.init(key, N_SAMPLES, {"mu": jnp.asarray(LOW[0])})
    return Setup(model, state, jnp.asarray(together * scale[:, None] * scale, state.x.dtype))


def likelihood(setup: Setup, theta: Any, normals: Any, key: Any) -> tuple[Any, Any]:
    """Mean and covariance of what is measured at theta, shapes (2 T,) and (2 T, 2 T)."""
    found = rolled_out(setup, theta, normals, key)
    of_samples = jnp.cov(found, rowvar=False) * (1 / N_PARTICLES + 1 / N_SAMPLES)
    return found.mean(axis=0), of_samples + setup.error + INSTRUMENT**2 * jnp.eye(found.shape[1])


def log_likelihood(setup: Setup, theta: Any, data: Any, normals: Any, key: Any) -> Any:
    """Of what was measured, up to a constant."""
    mean, covariance = likelihood(setup, theta, normals, key)
    factor = jnp.linalg.cholesky(covariance)
    rest = jax.scipy.linalg.solve_triangular(factor, data - mean, lower=True)
    return -jnp.sum(rest**2) / 2 - jnp.sum(jnp.log(jnp.diag(factor)))


def in_forward_mode(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function of few parameters whose gradient takes less time than by reverse mode, and keeps no steps."""

    @jax.custom_vjp
    def wrapped(theta: Any) -> Any:
        return function(theta)

    def ahead(theta: Any) -> tuple[Any, Any]:
        def twice(theta: Any) -> tuple[Any, Any]:
            value = function(theta)
            return value, value

        slope, value = jax.jacfwd(twice, has_aux=True)(theta)
        return value, slope

    wrapped.defvjp(ahead, lambda slope, seen: (seen * slope,))
    return wrapped


def sampler(*, n_warmup: int = 100, n_draws: int = 200) -> Callable[[Setup, Any, Any], Posterior]:
    """A compiled function of setup, data and key: NUTS with a flat prior on the box, by its logits."""
    import blackjax

    @jax.jit
    def sample(setup: Setup, data: Any, key: Any) -> Posterior:
        normal_key, roll_key, warm_key, draw_key = jax.random.split(key, 4)
        normals = jax.random.normal(normal_key, (N_SAMPLES, 2))
        low, width = jnp.asarray(LOW, data.dtype), jnp.asarray(HIGH - LOW, data.dtype)

        def inside(logits: Any) -> Any:
            return low + width * jax.nn.sigmoid(logits)

        @in_forward_mode
        def log_density(logits: Any) -> Any:
            of_prior = jnp.sum(jax.nn.log_sigmoid(logits) + jax.nn.log_sigmoid(-logits))
            return of_prior + log_likelihood(setup, inside(logits), data, normals, roll_key)

        adaptation = blackjax.window_adaptation(blackjax.nuts, log_density, max_num_doublings=4)
        (state, settings), _ = adaptation.run(warm_key, jnp.zeros(2), num_steps=n_warmup)
        step = blackjax.nuts(log_density, **settings).step

        def draw(state: Any, key: Any) -> Any:
            state, info = step(key, state)
            return state, (inside(state.position), info.acceptance_rate, info.is_divergent)

        theta, accepted, divergent = jax.lax.scan(draw, state, jax.random.split(draw_key, n_draws))[1]
        return Posterior(theta, accepted.mean(), divergent.sum())

    return sample


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the truth, and what is known of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mu", type=float, default=0.18, help="the truth, 0.12 to 0.28")
    parser.add_argument("--velocity", type=float, default=-10.2, help="the truth, -10.5 to -9.5")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    fit_key, probe_key, data_key, sample_key = jax.random.split(jax.random.key(options.seed), 4)
    truth = (options.mu, options.velocity)
    setup = prepared(learned(fit_key), probe_key)
    found = sampler()(setup, measured(np.asarray([truth]), data_key)[0], sample_key)
    print(f"{'':<10} {'truth':>8} {'mean':>8} {'10 %':>8} {'90 %':>8}")
    for name, true, column in zip(PARAMETERS, truth, np.asarray(found.theta).T, strict=True):
        low, high = np.quantile(column, [0.1, 0.9])
        print(f"{name:<10} {true:8.4f} {column.mean():8.4f} {low:8.4f} {high:8.4f}")


if __name__ == "__main__":
    main()
