"""One iteration of `fit` against the textbook form of the same loss. Run by `python -m benchmarks.training_step`."""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import hoam_plugin as hoam
from benchmarks import naive, report
from hoam_plugin.losses import loss_and_gradient
from hoam_plugin.potentials import POTENTIALS, Embedding
from hoam_plugin.training import iterations as training
from hoam_plugin.training.data import TrainingData
from hoam_plugin.training.drawing import draw_batch
from hoam_plugin.training.iterations import Setup

_EPSILON = 0.2


class Case(NamedTuple):
    """One row of the table."""

    kind: str
    width: int
    depth: int
    n_nodes: int
    n_samples: int
    n_dims: int


_CASES = (
    Case("CoLoRA", 64, 7, 32, 128, 2),
    Case("CoLoRA", 32, 5, 32, 128, 2),
    Case("CoLoRA", 32, 5, 256, 8, 2),
    Case("CoLoRA", 64, 7, 32, 128, 9),
    Case("FiLM", 64, 7, 32, 128, 2),
    Case("FiLM", 32, 5, 256, 8, 2),
    Case("MLP", 64, 7, 32, 128, 2),
    Case("MLP", 32, 5, 256, 8, 2),
)
_LARGE = (Case("CoLoRA", 64, 7, 256, 256, 2), Case("CoLoRA", 64, 7, 256, 256, 9))


def synthetic_data(n_nodes: int, n_samples: int, n_dims: int) -> TrainingData:
    """Random samples of the right shapes: one run, one parameter."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> Any:
        return jnp.asarray(rng.standard_normal(shape), jnp.zeros(()).dtype)

    nodes, weights = hoam.quadrature.gauss_legendre(n_nodes).nodes_and_weights()
    conditions = np.stack([np.concatenate([[0.0], nodes, [1.0]]), np.ones(n_nodes + 2)], axis=1)[None]
    return TrainingData(
        points=normal(1, n_nodes + 2, 1, n_samples, n_dims),
        end_points=normal(1, 2, 1, 256, n_dims),
        conditions=normal(1, 1, 1) * 0 + jnp.asarray(conditions, jnp.zeros(()).dtype),
        weights=jnp.asarray(np.concatenate([[0.0], weights, [0.0]]), jnp.zeros(()).dtype),
        nodes=jnp.arange(1, n_nodes + 1),
        reference=normal(4, n_dims),
    )


def setup_of(case: Case, iterations: int) -> Setup:
    """The settings of one case."""
    sizes = {"rank": 3} if case.kind == "CoLoRA" else {}
    potential = POTENTIALS[case.kind](width=case.width, depth=case.depth, **sizes)
    options = hoam.Training(iterations=iterations, n_samples=case.n_samples, block=iterations, optimiser="adam")
    return Setup(potential, Embedding((None,) * case.n_dims), hoam.ActionMatching(epsilon=_EPSILON), options)


def disagreement() -> float:
    """Largest relative difference of the two gradients on small cases, in float64."""
    return max(_disagreement(Case(kind, 8, 3, 6, 4, 2)) for kind in ("CoLoRA", "FiLM", "MLP"))


def _disagreement(case: Case) -> float:
    with jax.enable_x64(True):
        setup, data = setup_of(case, 1), synthetic_data(case.n_nodes, case.n_samples, case.n_dims)
        batch = draw_batch(setup.loss, data, jax.random.key(0))
        weights = training.start(setup, jax.random.key(1), 2).weights
        weights = jax.tree.map(lambda w: w + 0.1, weights)
        network = (setup.potential, setup.embedding)
        ours = jax.jit(lambda w, b: loss_and_gradient(setup.loss, *network, w, b)[2])(weights, batch)
        theirs = jax.jit(jax.grad(lambda w, b: naive.loss(*network, _EPSILON, w, b)))(weights, batch)
        pairs = zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
        return max(float(jnp.abs(a - b).max() / jnp.maximum(jnp.abs(b).max(), 1e-3)) for a, b in pairs)


def time_ours(setup: Setup, data: TrainingData, key: Any) -> float:
    """Seconds per iteration of the loop that `fit` runs."""
    record = next(training.blocks(setup, training.start(setup, key, 2), lambda iteration: data, key))
    return record.seconds / len(record.loss)


def naive_step(setup: Setup, data: TrainingData) -> tuple[Any, Any]:
    """The compiled textbook iteration (same batches, same optimiser) and its first state."""
    optimiser = setup.training.transformation()
    weights = training.start(setup, jax.random.key(0), 2).weights

    @jax.jit
    def step(state: Any, key: Any) -> Any:
        weights, optimiser_state = state
        batch = draw_batch(setup.loss, data, key)
        gradient = jax.grad(lambda w: naive.loss(setup.potential, setup.embedding, _EPSILON, w, batch))(weights)
        updates, optimiser_state = optimiser.update(gradient, optimiser_state, weights)
        return optax.apply_updates(weights, updates), optimiser_state

    return step, (weights, optimiser.init(weights))


def measure(case: Case, repeats: int) -> list[str]:
    """One row: medians of interleaved runs after a warm-up."""
    _, width, depth, n_nodes, n_samples, n_dims = case
    heavy = width * width * depth * n_nodes * n_samples * (n_dims + 3) > 1e10
    iterations = 2 if heavy else 20
    setup = setup_of(case, iterations)
    data, key = synthetic_data(n_nodes, n_samples, n_dims), jax.random.key(2)
    step, state = naive_step(setup, data)
    jax.block_until_ready(step(state, key))
    time_ours(setup, data, key)
    ours, theirs = [], []
    for _ in range(repeats):
        ours.append(time_ours(setup, data, key))
        begin = time.perf_counter()
        jax.block_until_ready(step(state, key))
        theirs.append(time.perf_counter() - begin)
    fast, slow = statistics.median(ours), statistics.median(theirs)
    products = 2 * 3 * n_nodes * n_samples * (3 + n_dims) * width**2 * (depth - 2)
    return [
        case.kind,
        f"{depth} x {width}",
        f"{n_nodes} x {n_samples}",
        str(n_dims),
        f"{1e3 * slow:.0f}",
        f"{1e3 * fast:.1f}",
        f"{slow / fast:.1f}",
        f"{products / fast / 1e9:.0f}",
        str(training.threads(setup, data)),
    ]


def main() -> None:
    """Write `results/training_step.md`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--large", action="store_true", help="also 256 x 256, where the textbook form takes minutes")
    options = parser.parse_args()
    apart = disagreement()
    cases = (*_CASES, *_LARGE) if options.large else _CASES
    rows = [measure(case, options.repeats) for case in cases]
    header = [
        "potential",
        "layers",
        "nodes x samples",
        "D",
        "textbook ms",
        "hoam ms",
        "ratio",
        "hoam GFLOP/s",
        "threads",
    ]
    report.write(
        "training_step",
        "# Training iteration\n\n`python -m benchmarks.training_step`: the loop of `fit` (batch, loss, gradient, Adam, "
        f"averaging) against `benchmarks/naive.py` with the same batches and optimiser; epsilon = {_EPSILON}, rank 3, "
        f"float32; medians of {options.repeats} interleaved runs after a warm-up. In float64 the two gradients are "
        f"{apart:.0e} apart (relative). GFLOP/s count the square products alone.\n\n"
        f"{report.machine(['hoam-plugin', 'jax'])}\n\n{report.table(header, rows)}",
    )


if __name__ == "__main__":
    main()
