"""The fast loss against a naive formulation, and its statistics."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hoam_plugin import quadrature
from hoam_plugin.losses.accumulation import chunk_shape
from hoam_plugin.losses.action_matching import ActionMatching, end_terms, interior_terms
from hoam_plugin.losses.batch import Batch, Nodes
from hoam_plugin.losses.evaluation import loss_and_gradient, loss_value
from hoam_plugin.potentials import MLP, CoLoRA, FiLM
from hoam_plugin.potentials.embedding import Embedding
from hoam_plugin.potentials.interface import modulations_and_rates
from hoam_plugin.training.drawing import draw_probes


def naive_hyper(weights: Any, condition: Any) -> Any:
    hidden = condition
    n_dense = len(weights["hyper"])
    for i in range(n_dense):
        dense = weights["hyper"][f"Dense_{i}"]
        hidden = hidden @ dense["kernel"] + dense["bias"]
        hidden = hidden * jax.nn.sigmoid(hidden) if i < n_dense - 1 else hidden
    return hidden


def naive_potential(potential: Any, embedding: Embedding, weights: Any, z: Any, tau: Any, rest: Any) -> Any:
    """s of one sample, written as the formulas in the docstrings of the potentials read."""
    condition = jnp.concatenate([jnp.reshape(2 * tau - 1, (1,)), rest])
    features = []
    for d, period in enumerate(embedding.periods):
        if period is None:
            features.append(z[d])
            continue
        harmonics = [2 * np.pi * k / period for k in range(1, embedding.harmonics + 1)]
        features += [jnp.cos(w * z[d]) for w in harmonics] + [jnp.sin(w * z[d]) for w in harmonics]
    x = jnp.stack(features)
    for i, layer in enumerate(weights["layers"]):
        y = layer["W"].T @ x
        last = i == potential.depth - 1
        if isinstance(potential, CoLoRA):
            phi = naive_hyper(weights, condition).reshape(potential.depth, potential.rank)
            y = y + layer["B"].T @ (phi[i] * (layer["A"].T @ x))
        elif isinstance(potential, FiLM) and not last:
            scale, shift = naive_hyper(weights, condition).reshape(-1, 2, potential.width)[i]
            y = (1 + scale) * y + shift
        elif isinstance(potential, MLP) and i == 0:
            y = jnp.concatenate([layer["W"], weights["conditions"]]).T @ jnp.concatenate([x, condition])
        if not last:
            y = y + layer["b"]
            y = y * jax.nn.sigmoid(y)
        x = y
    return x[0]


def naive_loss(potential: Any, embedding: Embedding, epsilon: float, weights: Any, batch: Batch) -> Any:
    """With the batch's probes v, the Laplacian is the mean of v^T H v over them."""

    def s(z: Any, tau: Any, rest: Any) -> Any:
        return naive_potential(potential, embedding, weights, z, tau, rest)

    def integrand(z: Any, tau: Any, rest: Any, probes: Any) -> Any:
        gradient, rate = jax.grad(s, argnums=(0, 1))(z, tau, rest)
        laplacian = jnp.einsum("ki,ij,kj->", probes, jax.hessian(s)(z, tau, rest), probes) / probes_per_sample
        return gradient @ gradient / 2 + rate + epsilon**2 / 2 * laplacian

    if batch.probes is None:
        probes_per_sample = 1  # the unit vectors as probes, without the mean, are the trace
        probes = jnp.broadcast_to(jnp.eye(batch.points.shape[2]), (*batch.points.shape, batch.points.shape[2]))
    else:
        probes_per_sample, probes = batch.probes.shape[2], batch.probes
    taus, rests = (batch.conditions[:, 0] + 1) / 2, batch.conditions[:, 1:]
    inner = jax.vmap(jax.vmap(integrand, (0, None, None, 0)))(batch.points, taus, rests, probes)
    end_taus, end_rests = (batch.end_conditions[:, 0] + 1) / 2, batch.end_conditions[:, 1:]
    ends = jax.vmap(jax.vmap(s, (0, None, None)))(batch.end_points, end_taus, end_rests)
    # The gauge: the mean over the reference points is taken off s.
    still = jax.vmap(jax.vmap(jax.grad(s, argnums=1), (0, None, None)), (None, 0, 0))(batch.reference, taus, rests)
    still_ends = jax.vmap(jax.vmap(s, (0, None, None)), (None, 0, 0))(batch.reference, end_taus, end_rests)
    inner_means, end_means = inner.mean(axis=1) - still.mean(axis=1), ends.mean(axis=1) - still_ends.mean(axis=1)
    return jnp.sum(batch.weights * inner_means) + jnp.sum(batch.end_signs * end_means)


def random_weights(potential: Any, embedding: Embedding, n_conditions: int) -> Any:
    """Weights whose output layer is not zero, so that every term of the loss counts."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda key: potential.init(key, embedding.n_features, n_conditions), jax.random.key(0))
    return jax.tree.map(lambda s: jnp.asarray(rng.normal(0, 0.5, s.shape), s.dtype), shapes)


def random_batch(n_times: int, n: int, n_dims: int, n_conditions: int, n_probes: int = 0) -> Batch:
    rng = np.random.default_rng(5)
    return Batch(
        points=jnp.asarray(rng.standard_normal((n_times, n, n_dims))),
        conditions=jnp.asarray(rng.standard_normal((n_times, n_conditions))),
        weights=jnp.asarray(np.full(n_times, 1 / n_times)),
        end_points=jnp.asarray(rng.standard_normal((2, 2 * n, n_dims))),
        end_conditions=jnp.asarray(rng.standard_normal((2, n_conditions))),
        end_signs=jnp.asarray([1.0, -1.0]),
        reference=jnp.asarray(rng.standard_normal((3, n_dims))),
        probes=jnp.asarray(rng.standard_normal((n_times, n, n_probes, n_dims))) if n_probes else None,
    )


CASES = {
    "periodic x, free v, noise": ((2 * np.pi, None), 2, 0.3),
    "three free coordinates, no noise": ((None, None, None), 1, 0.0),
    "two coordinates, no noise": ((None, 3.0), 1, 0.0),
    "six coordinates, no parameter, noise": ((None, 3.0, None, None, 1.0, None), 1, 0.1),
    "six coordinates, two probes": ((None, 3.0, None, None, 1.0, None), 2, 0.3),
}


@pytest.mark.long
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("case", "kind"), [*((case, "CoLoRA") for case in CASES), *((next(iter(CASES)), kind) for kind in ("FiLM", "MLP"))]
)
def test_fast_loss_equals_the_naive_formulation(case: str, kind: str) -> None:
    periods, harmonics, epsilon = CASES[case]
    n_conditions = 1 if "no parameter" in case else 3
    potential = {
        "CoLoRA": CoLoRA(width=8, depth=3, rank=2, hyper_width=5, hyper_depth=3, harmonics=harmonics),
        "FiLM": FiLM(width=6, depth=3, hyper_width=5, hyper_depth=3, harmonics=harmonics),
        "MLP": MLP(width=8, depth=3, harmonics=harmonics),
    }[kind]
    embedding = Embedding(periods, harmonics)
    weights = random_weights(potential, embedding, n_conditions)
    batch = random_batch(6, 5, len(periods), n_conditions, n_probes=2 if "probes" in case else 0)

    fast_loss = jax.jit(lambda w, b: loss_and_gradient(ActionMatching(epsilon), potential, embedding, w, b))
    naive_and_gradient = jax.jit(
        jax.value_and_grad(lambda w, b: naive_loss(potential, embedding, epsilon, w, b)),
        compiler_options={"xla_backend_optimization_level": 0},  # halves the time, nearly all of which is compilation
    )
    fast, _, fast_gradient = fast_loss(weights, batch)
    naive, naive_gradient = naive_and_gradient(weights, batch)

    np.testing.assert_allclose(fast, naive, rtol=1e-10)
    for a, b in zip(jax.tree.leaves(fast_gradient), jax.tree.leaves(naive_gradient), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10 * float(jnp.abs(b).max()) + 1e-300)


@pytest.mark.usefixtures("x64")
def test_streams_hold_value_gradient_laplacian_and_time_derivative() -> None:
    potential, embedding = CoLoRA(width=6, depth=3, rank=2), Embedding((2 * np.pi, None))
    weights = random_weights(potential, embedding, 2)
    points, conditions = jnp.asarray([[0.3, -1.2]]), jnp.asarray([[0.2, 0.7]])

    @jax.jit
    def compute(w: Any, z: Any, c: Any) -> Any:
        modulations, rates = modulations_and_rates(potential, w, c, 2.0)
        return potential.propagate(w, embedding.streams(z, laplacian=True), modulations, rates)

    value, gradient, laplacian, rate = compute(weights, points, conditions)

    def s(z: Any, tau: Any) -> Any:
        return naive_potential(potential, embedding, weights, z, tau, conditions[0, 1:])

    @jax.jit
    def expected(z: Any, tau: Any) -> Any:
        gradient, rate = jax.grad(s, argnums=(0, 1))(z, tau)
        return jnp.stack([s(z, tau), *gradient, jnp.trace(jax.hessian(s)(z, tau)), rate])

    streams = jnp.concatenate([value, gradient[:, 0], laplacian, rate])
    np.testing.assert_allclose(streams, expected(points[0], (conditions[0, 0] + 1) / 2), rtol=1e-11)


def test_first_loss_is_zero() -> None:
    potential, embedding = CoLoRA(depth=2), Embedding((2 * np.pi, None))

    @jax.jit
    def first(key: Any, batch: Batch) -> Any:
        weights = potential.init(key, embedding.n_features, 2)
        return loss_and_gradient(ActionMatching(0.1), potential, embedding, weights, batch)

    loss, quadratic, gradient = first(jax.random.key(0), random_batch(4, 8, 2, 2))
    assert loss == 0
    assert quadratic == 0
    assert any(jnp.abs(g).max() > 0 for g in jax.tree.leaves(gradient))


@pytest.mark.usefixtures("x64")
def test_a_function_of_time_alone_neither_lowers_nor_raises_the_loss() -> None:
    """Else the quadrature error of any c(t) between the nodes could be exploited at no cost."""
    potential, embedding = CoLoRA(width=6, depth=3), Embedding((None, None))
    weights = random_weights(potential, embedding, 2)
    first = weights["layers"][0]
    blind = [first | {"W": 0 * first["W"], "A": 0 * first["A"]}, *weights["layers"][1:]]
    compiled = jax.jit(lambda w, b: loss_and_gradient(ActionMatching(0.3), potential, embedding, w, b)[:2])
    loss, quadratic = compiled(weights | {"layers": blind}, random_batch(2, 4, 2, 2))
    np.testing.assert_allclose([loss, quadratic], 0.0, atol=1e-14)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("potential", [CoLoRA(width=4, depth=3), FiLM(width=4, depth=3), MLP(width=4, depth=3)])
def test_value_of_every_potential_is_the_first_stream(potential: Any) -> None:
    embedding = Embedding((3.0, None))
    weights = random_weights(potential, embedding, 2)
    points, conditions = jnp.asarray([[0.3, -1.2], [1.0, 0.1]]), jnp.asarray([[0.2, 0.7]])

    @jax.jit
    def both(w: Any) -> Any:
        modulations, rates = modulations_and_rates(potential, w, conditions, 2.0)
        streams = embedding.streams(points, laplacian=True)
        first = potential.propagate(w, streams, modulations, rates).value
        return first, potential.value(w, embedding.features(points), modulations[0])

    np.testing.assert_allclose(*both(weights), rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_loss_value_is_that_of_loss_and_gradient() -> None:
    potential, embedding = CoLoRA(width=6, depth=2), Embedding((None, 3.0))
    weights, batch = random_weights(potential, embedding, 2), random_batch(6, 4, 2, 2)
    value, (loss, *_) = jax.jit(
        lambda w, b: (
            loss_value(ActionMatching(0.2), potential, embedding, w, b),
            loss_and_gradient(ActionMatching(0.2), potential, embedding, w, b),
        )
    )(weights, batch)
    np.testing.assert_allclose(value, loss, rtol=1e-12)


@pytest.mark.long
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("n_probes", [0, 2])
def test_chunks_do_not_change_the_loss(n_probes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    potential, embedding = CoLoRA(width=6, depth=2), Embedding((None, None))
    weights, batch = random_weights(potential, embedding, 2), random_batch(12, 4, 2, 2, n_probes)

    @jax.jit
    def in_one_piece(w: Any, b: Batch) -> Any:
        nodes = Nodes(b.points, b.conditions, b.weights, b.probes)
        interior, quadratic = interior_terms(potential, embedding, w, nodes, b.reference, 0.2)
        return interior + end_terms(potential, embedding, w, b), quadratic

    whole, quadratic = in_one_piece(weights, batch)
    row_bytes = 8 * 5 * potential.width
    monkeypatch.setattr("hoam_plugin.losses.accumulation._CHUNK_BYTES", {"cpu": 1})
    for least, shape in ((1, (1, 1)), (2, (1, 2)), (16, (4, 4))):
        monkeypatch.setattr("hoam_plugin.losses.accumulation._LEAST_ROWS", least)
        assert chunk_shape(12, 4, row_bytes) == shape
        # A lambda of its own each time, since the limit is read while tracing.
        loss, quadratic_part, _ = jax.jit(
            lambda w, b: loss_and_gradient(ActionMatching(0.2), potential, embedding, w, b)
        )(weights, batch)
        np.testing.assert_allclose(loss, whole, rtol=1e-12)
        np.testing.assert_allclose(quadratic_part, quadratic, rtol=1e-12)


def test_chunks_divide_the_batch() -> None:
    for n_times, n in ((1, 1), (7, 64), (64, 1009), (66, 8), (256, 256)):
        times, samples = chunk_shape(n_times, n, 4 * 5 * 32)
        assert n_times % times == 0
        assert n % samples == 0
        assert times == 1 or samples == n
    assert chunk_shape(256, 256, 4 * 5 * 64) == (1, 256)
    assert chunk_shape(256, 8, 4 * 5 * 32) == (64, 8)


@pytest.mark.usefixtures("x64")
def test_estimated_laplacian_is_unbiased() -> None:
    potential, embedding = CoLoRA(width=6, depth=3), Embedding((None, 3.0, None, None))
    weights, batch = random_weights(potential, embedding, 2), random_batch(2, 2, 4, 2)
    loss = ActionMatching(epsilon=0.3, laplacian="hutchinson", probes=3)

    @jax.jit
    def both(w: Any, b: Batch, keys: Any) -> Any:
        def estimate(key: Any) -> Any:
            with_probes = dataclasses.replace(b, probes=draw_probes(loss, b.points, key))
            return loss_value(ActionMatching(0.3), potential, embedding, w, with_probes)

        return loss_value(ActionMatching(0.3), potential, embedding, w, b), jax.vmap(estimate)(keys)

    exact, estimates = both(weights, batch, jax.random.split(jax.random.key(0), 3000))
    error = float(estimates.std()) / 3000**0.5
    assert error > 0
    assert abs(float(estimates.mean() - exact)) < 4 * error


def test_the_exact_laplacian_is_taken_where_it_is_cheap() -> None:
    assert [ActionMatching().n_probes(d) for d in (1, 16, 17)] == [0, 0, 1]
    assert ActionMatching(epsilon=0.0).n_probes(100) == 0
    assert ActionMatching(laplacian="exact").n_probes(100) == 0
    assert ActionMatching(laplacian="hutchinson", probes=4).n_probes(2) == 4
    with pytest.raises(Exception, match="laplacian"):
        ActionMatching(laplacian="none")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="probes=0"):
        ActionMatching(probes=0)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("epsilon", "sigma"), [(0.0, 0.0), (0.4, 0.4)])
def test_true_drift_minimises_the_loss(epsilon: float, sigma: float) -> None:
    """For a Gaussian that moves and spreads, dX = u dt + sigma dW, no scaling or tilt of s = u x lowers the loss."""
    u, n = 0.7, 400_000
    nodes, weights = quadrature.gauss_legendre(8).nodes_and_weights()
    noise = np.random.default_rng(0).standard_normal(n)
    noise = (noise - noise.mean()) / noise.std()

    def population(t: Any) -> Any:
        return u * t + np.sqrt(0.25 + sigma**2 * t) * noise

    def loss(a: float, b: float) -> float:
        """The formula for s = a x + b x^2 / 2."""
        inner = [np.mean((a + b * population(t)) ** 2) / 2 + epsilon**2 / 2 * b for t in nodes]
        ends = [np.mean(a * x + b * x**2 / 2) for x in (population(0.0), population(1.0))]
        return float(ends[0] - ends[1] + weights @ inner)

    best = loss(u, 0.0)
    np.testing.assert_allclose(best, -(u**2) / 2, rtol=1e-10)
    assert all(loss(u + da, db) > best for da, db in ((0.1, 0), (-0.1, 0), (0, 0.05), (0, -0.05), (0.05, 0.05)))


@pytest.mark.long
def test_gauss_nodes_make_the_loss_far_less_noisy_than_random_times() -> None:
    """The point of the paper: at the same weights and numbers of samples and times."""
    potential, embedding = CoLoRA(width=16, depth=3), Embedding((None,))
    weights = random_weights(potential, embedding, 1)

    def loss(key: Any, weights: Any, rule: quadrature.Rule) -> Any:
        sample_key, time_key = jax.random.split(key)
        if rule.random:
            taus, node_weights = rule.draw(time_key), jnp.full(rule.n, 1 / rule.n)
        else:
            taus, node_weights = map(jnp.asarray, rule.nodes_and_weights())
        taus = taus.astype(jnp.float32)
        samples = jax.random.normal(sample_key, (1, 4096, 1))
        # One population that only moves, seen at all times by the same samples: what is left is the noise of time.
        points = samples + 3 * taus[:, None, None]
        ends = jnp.concatenate([samples, samples + 3])
        batch = Batch(
            points,
            (2 * taus - 1)[:, None],
            node_weights.astype(jnp.float32),
            ends,
            jnp.asarray([[-1.0], [1.0]]),
            jnp.asarray([1.0, -1.0]),
            jnp.zeros((1, 1)),
        )
        return loss_and_gradient(ActionMatching(0.0), potential, embedding, weights, batch)[0]

    def spread(rule: quadrature.Rule) -> float:
        # Weights are an argument, since XLA would spend minutes on folding them as constants.
        compiled = jax.jit(lambda key, w: loss(key, w, rule))
        return float(np.std([compiled(key, weights) for key in jax.random.split(jax.random.key(0), 20)]))

    assert spread(quadrature.gauss_legendre(16)) < spread(quadrature.uniform_random(16)) / 5


@pytest.mark.parametrize("epsilon", [-0.1, float("nan"), float("inf")])
def test_bad_epsilon_is_refused(epsilon: float) -> None:
    with pytest.raises(ValueError, match=r"epsilon=.* must be a finite number"):
        ActionMatching(epsilon=epsilon)


def test_bad_quadrature_is_refused() -> None:
    with pytest.raises(Exception, match=r"quadrature|Rule"):
        ActionMatching(quadrature=64)  # type: ignore[arg-type]
