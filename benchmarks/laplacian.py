"""Ways to the derivatives of the potential, over the number of coordinates. Run by `python -m benchmarks.laplacian`."""

from __future__ import annotations

import argparse
import dataclasses
import resource
import subprocess
import sys
import time
from typing import Any

import folx
import jax
import jax.numpy as jnp

import hoam_plugin as hoam
from benchmarks import report
from benchmarks.training_step import synthetic_data
from hoam_plugin.dynamics.normalisation import CONDITION_TIME_RATE
from hoam_plugin.losses import Batch, loss_and_gradient
from hoam_plugin.potentials import Embedding
from hoam_plugin.training.drawing import draw_batch, draw_probes

_EPSILON = 0.2
_NODES, _SAMPLES = 32, 128
_POTENTIAL = hoam.CoLoRA(width=64, depth=7, rank=3, hyper_width=15)


def weights_of(n_dims: int) -> Any:
    """Random weights, the output layer included."""
    weights = _POTENTIAL.init(jax.random.key(1), n_dims, 2)
    last = weights["layers"][-1]
    return {
        "hyper": weights["hyper"],
        "layers": [*weights["layers"][:-1], last | {"W": jax.random.normal(jax.random.key(2), last["W"].shape) / 8}],
    }


def ours(n_dims: int, epsilon: float) -> Any:
    """The loss that `fit` takes, compiled: (weights, batch) -> gradient."""
    embedding = Embedding((None,) * n_dims)
    return jax.jit(
        lambda weights, batch: loss_and_gradient(hoam.ActionMatching(epsilon), _POTENTIAL, embedding, weights, batch)[2]
    )


def with_folx(n_dims: int) -> Any:
    """The interior of the same loss by folx's forward Laplacian, in chunks of one time like ours."""
    embedding = Embedding((None,) * n_dims)

    def density(weights: Any, z: Any, condition: Any) -> Any:
        def s(z: Any, condition: Any) -> Any:
            modulation = _POTENTIAL.modulations(weights, condition[None])[0]
            return _POTENTIAL.value(weights, embedding.features(z[None]), modulation)[0]

        result = folx.forward_laplacian(lambda z: s(z, condition))(z)
        rate = jax.jvp(lambda c: s(z, c), (condition,), (jnp.zeros_like(condition).at[0].set(CONDITION_TIME_RATE),))[1]
        return jnp.sum(result.jacobian.dense_array**2) / 2 + rate + _EPSILON**2 / 2 * result.laplacian

    def loss(weights: Any, points: Any, condition: Any, weight: Any) -> Any:
        return weight * jnp.mean(jax.vmap(lambda z: density(weights, z, condition))(points))

    @jax.jit
    def gradient(weights: Any, batch: Batch) -> Any:
        def add(total: Any, node: Any) -> Any:
            return jax.tree.map(jnp.add, total, jax.grad(loss)(weights, *node)), None

        zero = jax.tree.map(jnp.zeros_like, weights)
        return jax.lax.scan(add, zero, (batch.points, batch.conditions, batch.weights))[0]

    return gradient


def batch_of(n_dims: int, loss: hoam.ActionMatching, n_nodes: int = _NODES, n_samples: int = _SAMPLES) -> Batch:
    """One batch of normal samples."""
    return draw_batch(loss, synthetic_data(n_nodes, n_samples, n_dims), jax.random.key(0))


def milliseconds(function: Any, *arguments: Any) -> float:
    """Median of five calls after a warm-up."""
    return 1e3 * report.median_seconds(lambda: jax.block_until_ready(function(*arguments)), 5)


def noise(n_dims: int, probes: int) -> float:
    """Variance of the gradient by fresh probes over its variance by fresh samples, each summed over the weights."""
    weights, embedding = weights_of(n_dims), Embedding((None,) * n_dims)
    loss = hoam.ActionMatching(epsilon=_EPSILON, laplacian="hutchinson", probes=probes)
    batch = batch_of(n_dims, hoam.ActionMatching(epsilon=_EPSILON, laplacian="exact"), 8, 64)

    @jax.jit
    def spread(batch: Batch, keys: Any) -> Any:
        def by_samples(key: Any) -> Any:
            fresh = dataclasses.replace(batch, points=jax.random.normal(key, batch.points.shape))
            return loss_and_gradient(loss, _POTENTIAL, embedding, weights, fresh)[2]

        def by_probes(key: Any) -> Any:
            fresh = dataclasses.replace(batch, probes=draw_probes(loss, batch.points, key))
            return loss_and_gradient(loss, _POTENTIAL, embedding, weights, fresh)[2]

        def total(draw: Any) -> Any:
            gradients = jax.lax.map(draw, keys)
            return sum(jnp.sum(jnp.var(g, axis=0)) for g in jax.tree.leaves(gradients))

        return total(by_probes) / total(by_samples)

    return float(spread(batch, jax.random.split(jax.random.key(3), 64)))


def row(n_dims: int) -> list[str]:
    """Milliseconds of every way at one number of coordinates."""
    weights = weights_of(n_dims)
    exact = batch_of(n_dims, hoam.ActionMatching(epsilon=_EPSILON, laplacian="exact"))
    estimated = batch_of(n_dims, hoam.ActionMatching(epsilon=_EPSILON, laplacian="hutchinson"))
    times = [
        milliseconds(ours(n_dims, _EPSILON), weights, exact),
        milliseconds(with_folx(n_dims), weights, exact),
        milliseconds(ours(n_dims, _EPSILON), weights, estimated),
        milliseconds(ours(n_dims, 0.0), weights, exact),
    ]
    # The square of a sign is 1: for one coordinate the estimate is exact.
    ratios = [f"{noise(n_dims, probes):.1e}" if n_dims > 1 else "exact" for probes in (1, 4)]
    return [str(n_dims), *(f"{t:.0f}" for t in times), *ratios]


def large(kind: Any) -> None:
    """One iteration at D = 100 and 256 x 256; prints milliseconds and the largest resident memory in bytes."""
    batch = batch_of(100, hoam.ActionMatching(epsilon=_EPSILON, laplacian=kind), 256, 256)
    function, weights = ours(100, _EPSILON), weights_of(100)
    jax.block_until_ready(function(weights, batch))
    begin = time.perf_counter()
    jax.block_until_ready(function(weights, batch))
    print(1e3 * (time.perf_counter() - begin), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def main() -> None:
    """Write `results/laplacian.md`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", choices=("exact", "hutchinson"))
    options = parser.parse_args()
    if options.large:
        large(options.large)
        return
    rows = [row(n_dims) for n_dims in (1, 2, 3, 6, 9, 16, 30, 100)]
    header = ["D", "exact, ms", "folx, ms", "one probe, ms", "epsilon = 0, ms", "noise of 1 probe", "of 4 probes"]
    large_rows = []
    for kind in ("exact", "hutchinson"):
        command = [sys.executable, "-m", "benchmarks.laplacian", "--large", kind]
        ms, memory = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        large_rows.append([kind, f"{float(ms) / 1e3:.1f}", f"{float(memory) / 1e9:.2f}"])
    report.write(
        "laplacian",
        f"# Derivatives over the number of coordinates\n\n`python -m benchmarks.laplacian`: loss and gradient of a "
        f"potential of 7 x 64, rank 3, at {_NODES} nodes x {_SAMPLES} samples, in one thread of the host; folx without "
        "the terms at the ends. Noise: variance of the gradient by the random directions over its variance by the "
        f"random samples of a batch, at random weights.\n\n{report.machine(['hoam-plugin', 'jax', 'folx'])}\n\n"
        f"{report.table(header, rows)}\n\nD = 100 at 256 x 256, in a process of its own:\n\n"
        f"{report.table(['Laplacian', 's', 'largest resident memory, GB'], large_rows)}",
    )


if __name__ == "__main__":
    main()
