"""The posterior of a physics parameter and of the start, sampled by NUTS through a surrogate.

`python examples/posterior.py` measures the population of the Duffing problem, which comes with a small surrogate, and
infers `mu` and the mean velocity at the start. What is measured are means of x and of x^2 over the particles of an
experiment at a few times, with an instrument's noise. The likelihood is normal, and its covariance has four parts: the
noise of the instrument, that of as many particles as the experiment has, that of as many samples as the surrogate
takes, and what the surrogate itself is off by. Needs blackjax (the extra `bench`).
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import hoam_plugin as hoam

NAME = "duffing"
PARAMETERS = ("mu", "velocity")
LOW, HIGH = np.asarray([0.12, -10.5], np.float32), np.asarray([0.28, -9.5], np.float32)
TIMES = np.linspace(0.75, 4.5, 6)
DT = 0.15
# Positions are measured in this unit, in which those of the population are of order 1, with this noise of the means.
LENGTH, INSTRUMENT = 5.0, 0.01
N_PARTICLES, N_SAMPLES = 1_000, 250


class Setup(NamedTuple):
    """What is fixed before anything is measured.

    Attributes:
        model: the surrogate.
        state: a state of `N_SAMPLES` samples at the start of the simulator.
        error: covariance of what the surrogate's means are off by, over the prior, shape (2 T, 2 T).
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


def simulator_at(velocity: float) -> Any:
    """The simulator with a mean velocity at the start."""
    return dataclasses.replace(hoam.stepper(NAME, surrogate=False), velocity=velocity)


def features(x: Any) -> Any:
    """x and x^2 of every sample at all times, shape (samples, 2 T), from positions (T, samples)."""
    return jnp.concatenate([x / LENGTH, (x / LENGTH) ** 2]).T


def rolled_out(setup: Setup, theta: Any, normals: Any, key: Any) -> Any:
    """Features of the surrogate's samples: a differentiable function of theta, the same samples for the same key."""
    start = hoam.stepper(NAME, surrogate=False)
    state = dataclasses.replace(
        setup.state, x=start.position + start.width * normals[:, 0], v=theta[1] + start.width * normals[:, 1]
    )
    path = setup.model.solve(state, TIMES, {"mu": theta[0]}, key=key, dt=DT)
    return features(path.x)


def measured(theta: Sequence[float], key: Any, n_particles: int = N_PARTICLES) -> Any:
    """What the experiment gives, by the simulator: means of the features with the instrument's noise."""
    run_key, noise_key = jax.random.split(key)
    mu, velocity = map(float, theta)
    ds = hoam.simulate(simulator_at(velocity), {"mu": [mu]}, TIMES, key=run_key, n_samples=n_particles, progress=False)
    mean = features(jnp.asarray(ds["x"].sel(time=TIMES, method="nearest").values[0])).mean(axis=0)
    return mean + INSTRUMENT * jax.random.normal(noise_key, mean.shape)


def prepared(key: Any, *, n_probes: int = 16, n_samples: int = 20_000) -> Setup:
    """The surrogate that comes with the package, and how far its means are off at points of the prior."""
    model = hoam.pretrained(NAME)
    start = hoam.stepper(NAME, surrogate=False)
    state, many = (start.init(key, n, {"mu": jnp.asarray(0.2)}) for n in (N_SAMPLES, n_samples))
    setup = Setup(model, state, jnp.zeros(()))
    ours = jax.jit(lambda theta, normals, key: rolled_out(setup._replace(state=many), theta, normals, key).mean(axis=0))
    off = []
    for probe in range(n_probes):
        theta_key, normal_key, roll_key, run_key = jax.random.split(jax.random.fold_in(key, probe), 4)
        theta = LOW + (HIGH - LOW) * jax.random.uniform(theta_key, (2,))
        ds = hoam.simulate(
            simulator_at(float(theta[1])),
            {"mu": [float(theta[0])]},
            TIMES,
            key=run_key,
            n_samples=n_samples,
            progress=False,
        )
        truth = features(jnp.asarray(ds["x"].sel(time=TIMES, method="nearest").values[0])).mean(axis=0)
        off.append(truth - ours(theta, jax.random.normal(normal_key, (n_samples, 2)), roll_key))
    residuals = jnp.stack(off)
    return setup._replace(error=residuals.T @ residuals / n_probes)


def log_likelihood(setup: Setup, theta: Any, data: Any, normals: Any, key: Any) -> Any:
    """Of the data, with all four parts of the covariance."""
    found = rolled_out(setup, theta, normals, key)
    of_samples = jnp.cov(found, rowvar=False) * (1 / N_PARTICLES + 1 / N_SAMPLES)
    covariance = of_samples + setup.error + INSTRUMENT**2 * jnp.eye(len(data))
    factor = jnp.linalg.cholesky(covariance)
    rest = jax.scipy.linalg.solve_triangular(factor, data - found.mean(axis=0), lower=True)
    return -jnp.sum(rest**2) / 2 - jnp.sum(jnp.log(jnp.diag(factor)))


def sampler(setup: Setup, *, n_warmup: int = 150, n_draws: int = 300) -> Callable[[Any, Any], Posterior]:
    """A compiled function of data and key: NUTS with a flat prior on the box, by its logits."""
    import blackjax

    def inside(logits: Any) -> Any:
        return LOW + (HIGH - LOW) * jax.nn.sigmoid(logits)

    @jax.jit
    def sample(data: Any, key: Any) -> Posterior:
        normal_key, roll_key, warm_key, draw_key = jax.random.split(key, 4)
        normals = jax.random.normal(normal_key, (N_SAMPLES, 2))

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
    setup_key, data_key, sample_key = jax.random.split(jax.random.key(options.seed), 3)
    truth = (options.mu, options.velocity)
    found = sampler(prepared(setup_key))(measured(truth, data_key), sample_key)
    print(f"{'':<10} {'truth':>8} {'mean':>8} {'10 %':>8} {'90 %':>8}")
    for name, true, column in zip(PARAMETERS, truth, np.asarray(found.theta).T, strict=True):
        low, high = np.quantile(column, [0.1, 0.9])
        print(f"{name:<10} {true:8.4f} {column.mean():8.4f} {low:8.4f} {high:8.4f}")


if __name__ == "__main__":
    main()
