"""Inference of mu from a noisy energy curve through the surrogate and through the simulator: errors and seconds."""

from __future__ import annotations

import argparse
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import hoam_plugin as hoam
from benchmarks import report
from examples.infer_mu import END, NAME, RANGE, infer, log_energy, observed, population, trained_surrogate

MU = 1.37
NOISE = 0.05
# The simulator at its default accuracy and at the largest step whose energy curve is still as accurate as the
# surrogate's (see results/force_speed.md).
_STEPS = {"surrogate": 0.25, "simulator, dt = 0.2": 0.2, "simulator, dt = 0.01": 0.01}
_TARGET = "simulator, dt = 0.01"


def gradient_seconds(stepper: Any, times: Any, key: jax.Array, n_samples: int, dt: float) -> tuple[float, float]:
    """Seconds of the gradient of a mean square of the curve, in forward and in reverse mode (medians of 3)."""
    start = population(key, n_samples)

    def loss(stepper: Any, mu: Any, start: Any) -> Any:
        return jnp.mean(log_energy(stepper, mu, start, times, dt=dt) ** 2)

    def seconds(transform: Any) -> float:
        gradient = jax.jit(transform(loss, argnums=1))
        return report.median_seconds(lambda: jax.block_until_ready(gradient(stepper, MU, start)), 3)

    return seconds(jax.jacfwd), seconds(jax.grad)


def main() -> None:
    """Write `results/inference.md`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=25_000)
    parser.add_argument("--iterations", type=int, default=60, help="of the descent")
    parser.add_argument("--training", type=int, default=4_000, help="iterations of the training")
    parser.add_argument("--no-write", action="store_true", help="print only")
    options = parser.parse_args()
    times = np.linspace(0.0, END, 41)
    keys = jax.random.split(jax.random.key(0), 4)

    began = time.perf_counter()
    model = trained_surrogate(key=keys[0], n_samples=options.samples, iterations=options.training)
    training = time.perf_counter() - began
    simulator = hoam.stepper(NAME, surrogate=False)
    data = observed(MU, times, key=keys[1], n_samples=options.samples, noise=NOISE)

    rows, totals, warm, errors = [], {}, {}, {}
    for label, dt in _STEPS.items():
        stepper = model if label == "surrogate" else simulator
        found = infer(
            stepper, data, times, key=keys[2], n_samples=options.samples, dt=dt, iterations=options.iterations
        )
        forward, reverse = gradient_seconds(stepper, times, keys[2], options.samples, dt)
        mu = float(found.path[-1, 0])
        errors[label] = abs(mu / MU - 1)
        totals[label], warm[label] = found.first_seconds + found.seconds, found.seconds
        cells = [f"{seconds:.3g}" for seconds in (found.first_seconds, found.seconds, totals[label])]
        each = [f"{1e3 * seconds:.0f}" for seconds in (forward, reverse)]
        rows.append([label, f"{mu:.4f}", f"{errors[label]:.2%}", *cells, *each])
    own = "surrogate"
    share = {label: (totals[own] / totals[label], warm[own] / warm[label]) for label in _STEPS if label != own}
    pays = {
        label: f"{training / (warm[label] - warm[own]):.0f}" if warm[label] > warm[own] else "never" for label in share
    }
    lines = [
        f"- Against {label}, the surrogate takes {whole:.2g} of the wall time with compilation and {rest:.2g} without; "
        f"inferences after which the training is earned back: {pays[label]}."
        for label, (whole, rest) in share.items()
    ]
    passed = errors[own] <= 0.01 and share[_TARGET][0] <= 0.2
    text = (
        f"# Inference of mu\n\n`python -m benchmarks.inference`: `{NAME}`, truth mu = {MU}, {len(times)} values of the "
        f"electric energy on t in [0, {END:g}] with {NOISE:.0%} noise, {options.samples} samples (others than "
        f"those of the observation), {options.iterations} iterations of Adam from mu = 1.8 in "
        f"[{RANGE[0]}, {RANGE[1]}], gradients in forward mode. gradient: one gradient of a scalar with respect to mu, "
        "forward or reverse mode (medians of 3).\n\n"
        f"Surrogate: the force, learned from eight runs on 256 nodes up to t = 40 in {options.training} iterations; "
        f"{training:.0f} s with the runs.\n\n{report.machine(['hoam-plugin', 'jax'])}\n\n"
        + report.table(
            ["through", "mu", "error", "first iteration s", "others s", "total s", "gradient forward ms", "reverse ms"],
            rows,
        )
        + "\n\n"
        + "\n".join(lines)
        + f"\n- Within 1 % of mu in at most a fifth of the time through the simulator at dt = 0.01: "
        f"{'yes' if passed else 'no'}."
    )
    if options.no_write:
        print(text)
    else:
        report.write("inference", text)


if __name__ == "__main__":
    main()
