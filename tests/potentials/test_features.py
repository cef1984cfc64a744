"""The potential of features and waves, and that of a network and a correction: against autodiff, and in a surrogate."""

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from jax.scipy.stats import norm

import hoam_plugin as hoam
from hoam_plugin.dynamics import weights_of_runs
from hoam_plugin.numerics.uniform_splines import interpolating
from hoam_plugin.potentials import Corrected, Embedding, FeaturePotential, description, potential_from
from hoam_plugin.steppers import state_type
from hoam_plugin.surrogates import with_learned
from hoam_plugin.training.choices import resolve

N_TIMES, N_EACH, N_PROBES, N_WAVES = 3, 4, 2, 7
# More than 16 features make squares alone; more than two driven coordinates take the gradient backwards.
PLACES = {
    "line": Embedding((None,)),
    "circle": Embedding((2.5,)),
    "torus": Embedding((2.5, 1.7), harmonics=2),
    "mixed": Embedding((None, 2.5, None)),
    "many": Embedding((*[None] * 14, 2.5), harmonics=2),
}
ALL = pytest.mark.parametrize("embedding", PLACES.values(), ids=PLACES)


def potential_at(embedding: Embedding) -> tuple[FeaturePotential, dict[str, Any], int]:
    """With its waves, and the number of its coefficients."""
    potential = FeaturePotential(n_waves=N_WAVES, harmonics=embedding.harmonics)
    weights = potential.init(jax.random.key(0), embedding.n_features, 1)
    return potential, weights, weights["coefficients"].shape[-1]


@dataclasses.dataclass(frozen=True)
class Case:
    """Samples of several times, and the potential of one of them as a plain function for JAX to differentiate."""

    potential: Any
    weights: Any
    embedding: Embedding
    shape: tuple[int, ...]

    @functools.cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        rng, n_dims = np.random.default_rng(1), len(self.embedding.periods)
        shapes = {
            "z": (N_TIMES * N_EACH, n_dims),
            "c": (N_TIMES, *self.shape),
            "rates": (N_TIMES, *self.shape),
            "probes": (N_TIMES * N_EACH, N_PROBES, n_dims),
            "drift": (N_TIMES * N_EACH, n_dims),
        }
        return {name: rng.standard_normal(shape) for name, shape in shapes.items()}

    def naive(self) -> dict[str, jax.Array]:
        """Derivatives of every sample by itself."""

        def value(z: jax.Array, c: jax.Array) -> jax.Array:
            return self.potential.value(self.weights, self.embedding.features(z[None]), c)[0]

        def of_one(z: jax.Array, c: jax.Array, rates: jax.Array, probes: jax.Array, drift: jax.Array) -> Any:
            gradient, hessian = jax.grad(value)(z, c), jax.hessian(value)(z, c)
            return {
                "value": value(z, c),
                "gradient": gradient,
                "laplacian": jnp.trace(hessian),
                "last": hessian[-1, -1],
                "along": probes @ gradient / N_PROBES**0.5,
                "estimate": jnp.mean(jnp.einsum("ki,ij,kj->k", probes, hessian, probes)),
                "rate": jax.jvp(value, (z, c), (drift, rates))[1],
            }

        a = self.arrays
        c, rates = (np.repeat(a[name], N_EACH, axis=0) for name in ("c", "rates"))
        return jax.jit(jax.vmap(of_one))(a["z"], c, rates, a["probes"], a["drift"])

    def found(self) -> Any:
        potential, embedding, weights = self.potential, self.embedding, self.weights

        @jax.jit
        def found(a: dict[str, jax.Array]) -> Any:
            features = embedding.streams(a["z"], laplacian=True, drift=a["drift"])
            exact = potential.propagate(weights, features, a["c"], a["rates"])
            features = embedding.streams(a["z"], laplacian=True, probes=a["probes"], drift=a["drift"])
            drawn = potential.propagate(weights, features, a["c"], a["rates"])
            # Only the last coordinate is driven.
            driven = dataclasses.replace(embedding, driven=(len(embedding.periods) - 1,))
            partly = potential.propagate(weights, driven.streams(a["z"], laplacian=True), a["c"], a["rates"])
            one = {name: a[name][:N_EACH] for name in ("z", "drift")}
            features = embedding.streams(one["z"], laplacian=False, drift=one["drift"])
            alone = potential.propagate(weights, features, a["c"][:1], a["rates"][:1])
            drifts = [
                potential.drift(weights, embedding, a["z"], a["c"]),
                potential.drift_at_one_time(weights, embedding, one["z"], a["c"][0]),
                potential.drift(weights, driven, a["z"], a["c"]),
            ]
            return exact, drawn, partly, alone, drifts

        return found(self.arrays)

    def check(self) -> None:
        (exact, drawn, partly, alone, drifts), naive = self.found(), self.naive()
        close = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-9)
        close(exact.value, naive["value"])
        close(exact.gradient.T, naive["gradient"])
        close(exact.laplacian, naive["laplacian"])
        close(exact.rate, naive["rate"])
        close(drawn.value, naive["value"])
        close(drawn.gradient.T, naive["along"])
        close(drawn.laplacian, naive["estimate"])
        close(drawn.rate, naive["rate"])
        close(partly.gradient.T, naive["gradient"][:, -1:])
        close(partly.laplacian, naive["last"])
        close(alone.value, naive["value"][:N_EACH])
        close(alone.gradient.T, naive["gradient"][:N_EACH])
        close(alone.rate, naive["rate"][:N_EACH])
        assert alone.laplacian is None
        close(drifts[0], naive["gradient"])
        close(drifts[1], naive["gradient"][:N_EACH])
        close(drifts[2], naive["gradient"][:, -1:])


# Features, products and waves


@pytest.mark.long
@pytest.mark.usefixtures("x64")
@ALL
def test_derivatives_are_those_of_autodiff_of_the_value(embedding: Embedding) -> None:
    potential, weights, n = potential_at(embedding)
    Case(potential, weights, embedding, (n,)).check()


@pytest.mark.usefixtures("x64")
@ALL
def test_the_basis_is_what_the_coefficients_are_of(embedding: Embedding) -> None:
    potential, weights, n = potential_at(embedding)
    z, c = (
        np.random.default_rng(2).standard_normal((9, len(embedding.periods))),
        np.random.default_rng(3).normal(size=n),
    )

    @jax.jit
    def found(z: jax.Array, c: jax.Array) -> Any:
        features = embedding.features(z)
        values = potential.basis_values(weights, features)
        return (
            values,
            potential.basis(weights, embedding.streams(z, laplacian=False)).value,
            values @ c,
            (potential.value(weights, features, c)),
        )

    values, streams, total, value = found(z, c)
    assert values.shape == (9, n)
    np.testing.assert_allclose(values, streams, atol=1e-12)
    np.testing.assert_allclose(value, total, atol=1e-11)
    # Features first, then their products: all of two of them, or of more than 16 features the squares.
    features = np.asarray(embedding.features(jnp.asarray(z)))
    n_features = embedding.n_features
    n_products = n_features * (n_features + 1) // 2 if n_features <= 16 else n_features
    assert n == n_features + n_products + N_WAVES
    np.testing.assert_allclose(values[:, :n_features], features, atol=1e-12)
    wanted = {tuple(np.round(features[:, i] ** 2, 9)) for i in range(n_features)}
    if n_features <= 16:
        pairs = [(i, j) for i in range(n_features) for j in range(i)]
        wanted |= {tuple(np.round(features[:, i] * features[:, j], 9)) for i, j in pairs}
    products = np.round(np.asarray(values)[:, n_features : n_features + n_products], 9)
    assert {tuple(column) for column in products.T} == wanted


@pytest.mark.usefixtures("x64")
def test_its_drift_is_any_affine_map_of_a_symmetric_matrix() -> None:
    potential, embedding = FeaturePotential(n_waves=3), Embedding((None, None, None))
    rng = np.random.default_rng(0)
    matrix, b, z = rng.standard_normal((3, 3)), rng.standard_normal(3), rng.standard_normal((6, 3))
    matrix = matrix + matrix.T
    one, other = np.triu_indices(3)
    products = np.where(one == other, matrix[one, other] / 2, matrix[one, other])
    weights = potential.init(jax.random.key(0), 3, 1)
    c = jnp.asarray(np.concatenate([b, products, np.zeros(3)]))
    drift = jax.jit(functools.partial(potential.drift_at_one_time, weights, embedding))(jnp.asarray(z), c)
    np.testing.assert_allclose(drift, z @ matrix + b, atol=1e-12)


def wave(turns: np.ndarray) -> np.ndarray:
    """One wave along one coordinate, over its phase."""
    potential = FeaturePotential(n_waves=1)
    weights = potential.init(jax.random.key(0), 1, 1)
    slope, phase = (float(weights["waves"][name].reshape(())) for name in ("W", "b"))
    z = jnp.asarray((turns - phase) / slope)[:, None]
    return np.asarray(jax.jit(potential.basis_values)(weights, z))[:, -1]


@pytest.mark.usefixtures("x64")
def test_a_wave_has_two_continuous_derivatives_where_its_period_ends() -> None:
    h = 1e-3
    for seam in (-1.0, 0.0, 1.0, 3.0):
        left, right = (wave(seam + side * h * np.arange(5)) for side in (-1, 1))
        # Of the second order, from one side each.
        slope = np.asarray([-3 / 2, 2, -1 / 2, 0, 0])
        bend = np.asarray([2, -5, 4, -1, 0])
        third = np.asarray([-5 / 2, 9, -12, 7, -3 / 2])
        np.testing.assert_allclose(left[0], 1, atol=1e-12)
        np.testing.assert_allclose(-slope @ left / h, slope @ right / h, atol=1e-3)
        np.testing.assert_allclose(bend @ left / h**2, bend @ right / h**2, atol=1e-2)
        np.testing.assert_allclose(bend @ right / h**2, -64, rtol=1e-3)
        # The third one is not, so that the finite differences see what they should.
        assert -third @ left / h**3 * (third @ right / h**3) < -1e4


@pytest.mark.usefixtures("x64")
def test_a_wave_is_nearly_a_cosine() -> None:
    turns = np.arange(256) / 256
    amplitudes = np.abs(np.fft.rfft(wave(turns)))[1:5] / 128
    np.testing.assert_allclose(wave(turns), wave(turns - 2), atol=1e-12)
    np.testing.assert_allclose(amplitudes / amplitudes[0], 1 / np.arange(1, 5) ** 4, rtol=1e-3)
    assert amplitudes[0] == pytest.approx(0.98, abs=0.02)


@pytest.mark.usefixtures("x64")
def test_a_wave_has_a_quarter_of_a_period_per_standard_deviation() -> None:
    for n_features in (1, 6):
        weights = FeaturePotential(n_waves=2000).init(jax.random.key(1), n_features, 1)["waves"]
        z = np.random.default_rng(0).standard_normal((500, n_features))
        assert float(np.std(z @ weights["W"])) == pytest.approx(0.25, rel=0.1)
        assert float(np.mean(weights["b"])) == pytest.approx(0.5, abs=0.03)
        assert float(np.ptp(weights["b"])) > 0.99


@pytest.mark.parametrize("n_parameters", [0, 1, 2])
def test_at_first_it_moves_nothing(n_parameters: int) -> None:
    embedding = PLACES["mixed"]
    potential = FeaturePotential(n_waves=N_WAVES)
    weights = potential.init(jax.random.key(0), embedding.n_features, 1 + n_parameters)
    modulations = jax.jit(potential.modulations)(weights, jnp.ones((2, 1 + n_parameters)))
    z = jax.random.normal(jax.random.key(1), (8, 3))
    drift = jax.jit(functools.partial(potential.drift_at_one_time, weights, embedding))(z, modulations[1])
    np.testing.assert_array_equal(drift, np.zeros((8, 3)))


def test_in_single_precision_it_is_nearly_the_same() -> None:
    embedding = PLACES["mixed"]
    potential, weights, n = potential_at(embedding)
    case = Case(potential, weights, embedding, (n,))
    rounded = {name: a.astype(np.float32) for name, a in case.arrays.items()}

    @jax.jit
    def propagated(a: Any, weights: Any) -> Any:
        features = embedding.streams(a["z"], laplacian=True, drift=a["drift"])
        return potential.propagate(weights, features, a["c"], a["rates"])

    found = propagated(rounded, weights)
    weights = jax.tree.map(np.asarray, weights)
    with jax.enable_x64(True):
        wider = [jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree) for tree in (rounded, weights)]
        wanted = propagated(*wider)
    for single, double in zip(found, wanted, strict=True):
        assert single.dtype == jnp.float32
        np.testing.assert_allclose(single, double, atol=5e-5 * float(np.abs(double).max()))


@pytest.mark.usefixtures("as_installed")
@pytest.mark.parametrize("name", ["n_waves", "harmonics"])
@pytest.mark.parametrize("value", [0, -3, 2.5, "200", True])
def test_sizes_that_make_no_sense_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name}={value!r} must be a whole number of at least 1"):
        FeaturePotential(**{name: value})


# A network and its correction


NETWORKS = {
    "CoLoRA": hoam.CoLoRA(width=4, depth=2, rank=2, hyper_width=3, harmonics=2),
    "FiLM": hoam.FiLM(width=4, depth=2, harmonics=2),
    "MLP": hoam.MLP(width=4, depth=2, harmonics=2),
}
EACH = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
MUS = np.asarray([0.5, 1.0, 2.0])


def drawn(weights: Any, seed: int, size: float) -> Any:
    """The same with numbers added, so that no layer is zero."""
    leaves, structure = jax.tree.flatten(weights)
    rng = np.random.default_rng(seed)
    return structure.unflatten([leaf + jnp.asarray(size * rng.normal(size=leaf.shape), leaf.dtype) for leaf in leaves])


def both(network: Any, embedding: Embedding, size: float = 0.3) -> tuple[Corrected, dict[str, Any]]:
    """A network and a correction, that depends on time and one parameter, neither of which is zero."""
    potential = Corrected(network, FeaturePotential(n_waves=N_WAVES, harmonics=network.harmonics))
    weights = potential.init(jax.random.key(0), embedding.n_features, 2)
    weights["network"] = drawn(weights["network"], 1, size)
    n = weights["correction"]["coefficients"].shape[-1]
    runs = weights_of_runs({"0": (MUS - MUS.mean()) / MUS.std()}, len(MUS))
    values = interpolating(size * np.random.default_rng(2).normal(size=(4, len(MUS), n)))
    weights["correction"] |= {
        "coefficients": jnp.asarray(values, weights["correction"]["coefficients"].dtype),
        "runs": {name: getattr(runs, name) for name in ("shift", "scale", "basis", "points", "table")},
    }
    return potential, weights


@pytest.mark.long
@pytest.mark.usefixtures("x64")
@EACH
def test_a_corrected_network_is_the_sum_of_both(network: Any) -> None:
    embedding = Embedding((None, 2.5), harmonics=2)
    potential, weights = both(network, embedding)
    rng = np.random.default_rng(0)
    z, conditions = jnp.asarray(rng.normal(size=(N_TIMES * N_EACH, 2))), jnp.asarray(rng.normal(size=(N_TIMES, 2)))
    direction = jnp.asarray(rng.normal(size=conditions.shape))

    @functools.partial(jax.jit, static_argnums=0)
    def of(part: Any, weights: Any) -> Any:
        modulations, rates = jax.jvp(lambda c: part.modulations(weights, c), (conditions,), (direction,))
        features = embedding.streams(z, laplacian=True, drift=z**2)
        return {
            "streams": part.propagate(weights, features, modulations, rates),
            "drift": part.drift(weights, embedding, z, modulations),
            "value": part.value(weights, features.value[:N_EACH], modulations[0]),
            "drift_at_one_time": part.drift_at_one_time(weights, embedding, z[:N_EACH], modulations[0]),
        }

    network_alone = of(network, weights["network"])
    correction_alone = of(potential.correction, weights["correction"])
    assert all(float(jnp.abs(leaf).max()) > 0.01 for leaf in jax.tree.leaves((network_alone, correction_alone)))
    total = jax.tree.map(jnp.add, network_alone, correction_alone)
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-11), of(potential, weights), total)


@pytest.mark.long
@pytest.mark.usefixtures("x64")
def test_derivatives_of_a_corrected_network_are_those_of_autodiff() -> None:
    network = NETWORKS["CoLoRA"]
    embedding = Embedding((None, 2.5), harmonics=2)
    potential, weights = both(network, embedding)
    shape = jax.eval_shape(potential.modulations, weights, jnp.zeros((1, 2))).shape[1:]
    Case(potential, weights, embedding, shape).check()


@EACH
def test_it_is_made_again_from_json(network: Any) -> None:
    potential = Corrected(network, FeaturePotential(n_waves=30, harmonics=2))
    again = potential_from(json.loads(json.dumps(description(potential))))
    assert again == potential
    assert hash(again) == hash(potential)
    alone = FeaturePotential(n_waves=3, harmonics=4)
    assert potential_from(json.loads(json.dumps(description(alone)))) == alone


# In a surrogate


def surrogate(network: Any, size: float = 0.15) -> hoam.Surrogate:
    """Not trained: x on a period of 3 and v, on t in [10, 12], with mu in [0.5, 2]."""
    rng = np.random.default_rng(0)
    frame = hoam.ensemble.frame(np.linspace(10.0, 12.0, 4), {"mu": MUS})
    samples = {"x": rng.uniform(0, 3, (3, 4, 40)), "v": 2 + rng.normal(size=(3, 4, 40))}
    variables = (hoam.Variable("x", period=3.0), hoam.Variable("v"))
    ds = hoam.ensemble.build(frame, variables, {name: values.astype(np.float32) for name, values in samples.items()})
    choices = resolve(
        ds,
        structure=None,
        potential=network,
        loss=hoam.ActionMatching(epsilon=0.0),
        training=hoam.Training(iterations=1),
        replaces=None,
        validate=None,
        clock="physical",
        base=None,
    )
    embedding = choices.setup.embedding
    potential, weights = both(network, embedding, size)
    history = xr.Dataset({"loss": ("iteration", np.zeros(1))}, {"iteration": [1]})
    model = choices.surrogates(jax.random.key(0))(weights["network"], history)
    return with_learned(model, potential=potential, weights=weights).with_options(dt=0.1)


def population(model: hoam.Surrogate, rows: Any, time: Any) -> Any:
    return state_type(("x", "v"))(jnp.asarray(time), rows[:, 0], rows[:, 1])


def rows_at_the_start(n: int) -> np.ndarray:
    rng = np.random.default_rng(5)
    return np.stack([rng.uniform(0, 3, n), rng.normal(2, 1, n)], axis=1)


@pytest.mark.long
def test_saved_and_loaded_it_moves_samples_to_the_same_bits(tmp_path: Path) -> None:
    network = NETWORKS["MLP"]
    model = surrogate(network)
    loaded = hoam.load(model.save(tmp_path / "m.hoam"))
    assert loaded.learned.potential == model.learned.potential
    state = population(model, rows_at_the_start(32).astype(np.float32), np.float32(10))
    here, there = (one.solve(state, [10.5, 12.0], {"mu": 1.3}) for one in (model, loaded))
    np.testing.assert_array_equal(here.x, there.x)
    np.testing.assert_array_equal(here.v, there.v)
    # What the correction does is part of it.
    weights = model.learned.weights["network"]
    alone = with_learned(model, potential=network, weights=weights).solve(state, [10.5, 12.0], {"mu": 1.3})
    assert float(jnp.abs(alone.v - here.v).max()) > 0.01


@pytest.mark.usefixtures("x64")
def test_its_velocity_is_the_gradient_of_the_sum_in_physical_units() -> None:
    model = surrogate(NETWORKS["MLP"])
    learned = model.learned
    normalisation, rows = learned.normalisation, jnp.asarray(rows_at_the_start(6))
    embedding = learned.network()[0]

    def s(row: jax.Array, t: jax.Array, mu: jax.Array) -> jax.Array:
        z = (row - normalisation.shift) / normalisation.scale
        condition = jnp.stack([t - 11.0, (mu - MUS.mean()) / MUS.std()])[None]
        total = jnp.zeros(())
        for name, part in (("network", NETWORKS["MLP"]), ("correction", learned.potential.correction)):
            weights = learned.weights[name]
            modulation = part.modulations(weights, condition)[0]
            total = total + part.value(weights, embedding.features(z[None]), modulation)[0]
        return total

    for t, mu in ((10.3, 0.7), (11.8, 1.9)):
        gradient = jax.jit(jax.vmap(jax.grad(s), (0, None, None)))(rows, jnp.asarray(t), jnp.asarray(mu))
        # One unit of normalised time takes 2.
        wanted = np.asarray(gradient) * np.asarray(normalisation.scale) ** 2 / 2
        np.testing.assert_allclose(model.velocity(rows, t, {"mu": mu}), wanted, atol=1e-7)


@pytest.mark.long
@pytest.mark.usefixtures("x64")
def test_its_log_density_is_transported_by_the_divergence_of_its_velocity() -> None:
    model, mu, h = surrogate(NETWORKS["MLP"]), {"mu": 1.3}, 1e-4
    rows, t, dt = jnp.asarray(rows_at_the_start(5)), 10.002, 0.002

    def initial(x: jax.Array) -> jax.Array:
        return norm.logpdf(x[:, 1], 2.0, 1.0) - jnp.log(3.0)

    end = model.solve(population(model, rows, 10.0), [t], mu, dt=dt)
    moved = jnp.stack([end.x[0], end.v[0]], axis=1)
    found = model.log_prob(population(model, moved, t), mu, initial_log_prob=initial, dt=dt)
    steps = np.eye(2) * h
    sides = [model.velocity(rows + side * step[None], 10.001, mu) for step in steps for side in (1, -1)]
    divergence = (sides[0] - sides[1])[:, 0] / (2 * h) + (sides[2] - sides[3])[:, 1] / (2 * h)
    assert float(jnp.abs(divergence).min()) > 1e-2
    np.testing.assert_allclose((initial(rows) - found) / dt, divergence, rtol=1e-2, atol=1e-3)


@pytest.mark.long
@pytest.mark.usefixtures("x64")
def test_gradients_through_it_are_those_of_central_differences() -> None:
    model, h = surrogate(NETWORKS["MLP"]), 1e-5
    rows = jnp.asarray(rows_at_the_start(5))

    @jax.jit
    def ahead(shift: jax.Array) -> jax.Array:
        """Of the start in both coordinates, the parameter, and the time of the end."""
        state = population(model, rows + shift[None, :2], 10.0)
        end = model.solve(state, jnp.stack([jnp.asarray(10.7), 11.55 + shift[3]]), {"mu": 1.3 + shift[2]})
        return jnp.mean(jnp.cos(2 * jnp.pi * end.x / 3)) + jnp.mean(end.v**2)

    gradient = jax.jit(jax.grad(ahead))(jnp.zeros(4))
    differences = [(ahead(h * e) - ahead(-h * e)) / (2 * h) for e in jnp.eye(4)]
    assert float(jnp.abs(gradient).min()) > 1e-3
    np.testing.assert_allclose(gradient, differences, rtol=1e-6, atol=1e-9)
