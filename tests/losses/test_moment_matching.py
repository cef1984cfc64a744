"""Moment matching: a field from marginals alone, against a naive formulation and known solutions."""

import dataclasses
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from jax.scipy.linalg import expm

import hoam_plugin as hoam
from hoam_plugin.dynamics import Dynamics, normalisation_of
from hoam_plugin.dynamics.structure import structure_of
from hoam_plugin.losses import Batch, NodeMoments, loss_and_gradient, loss_value
from hoam_plugin.losses.weak_form import Waves, moment_targets, random_waves
from hoam_plugin.potentials.embedding import Embedding
from hoam_plugin.potentials.forms import bound
from hoam_plugin.steppers import SampleLayout, Variable, state_type
from hoam_plugin.surrogates import provenance_of
from hoam_plugin.training.data import TrainingData
from hoam_plugin.training.drawing import draw_batch, judging_batch

FIELD = hoam.VectorField(width=16, depth=3, time_harmonics=1)


def wave(waves: Waves, k: Any, z: Any) -> Any:
    return jnp.cos(jnp.sum(jnp.asarray(waves.frequencies)[k] * z) + jnp.asarray(waves.phases)[k])


def naive_loss(loss: hoam.MomentMatching, waves: Waves, drift: Any, driven: list[int], b: Batch) -> Any:
    """Node by node, combination by combination, wave by wave, sample by sample, with automatic derivatives."""
    assert b.moments is not None
    known = jnp.zeros_like(b.points) if b.drift is None else b.drift

    def of_node(points: Any, known: Any, condition: Any, weight: Any, rates: Any, whitening: Any) -> Any:
        def along(z: Any, drift_there: Any, k: Any) -> Any:
            velocity = drift_there.at[jnp.asarray(driven)].add(drift(z, condition))
            return jax.grad(lambda z: wave(waves, k, z))(z) @ velocity

        def residual(points: Any, known: Any) -> Any:
            of_wave = jax.vmap(lambda k: jnp.mean(jax.vmap(along, (0, 0, None))(points, known, k)))
            return rates - whitening @ of_wave(jnp.arange(loss.n_waves))

        first, second = (residual(*half) for half in zip(jnp.split(points, 2), jnp.split(known, 2), strict=True))
        energy = jnp.mean(jnp.sum(jax.vmap(lambda z: drift(z, condition))(points) ** 2, axis=1))
        return weight * (first @ second + loss.energy * energy) / 2

    nodes = jax.vmap(of_node)
    return jnp.sum(nodes(b.points, known, b.conditions, b.weights, b.moments.rates, b.moments.whitening))


@pytest.mark.parametrize("kind", ["field", "kinetic", pytest.param("gradient", marks=pytest.mark.slow)])
def test_fast_loss_is_the_naive_one(kind: Any) -> None:
    """Value and gradient in double precision, a period included; in chunks, and in the shares of two threads."""
    with jax.enable_x64(True):
        variables = (Variable("q", period=3.0), Variable("p", velocity_of="q"))
        split = structure_of(kind, variables, [1, 1])
        network = hoam.CoLoRA(width=6, depth=3, rank=2, hyper_width=5) if kind == "gradient" else FIELD
        embedding = Embedding((3.0, None), 2, split.driven if kind == "kinetic" else None)
        form = bound(network, split, embedding)

        @jax.jit
        def some_weights(key: Any) -> Any:
            weights = form.init(key, embedding.n_features, 2)
            return jax.tree.map(lambda w: w + 0.3 * jax.random.normal(jax.random.key(2), w.shape), weights)

        weights = some_weights(jax.random.key(1))
        keys = jax.random.split(jax.random.key(0), 6)
        loss = hoam.MomentMatching(n_waves=2, energy=0.2)
        points = jax.random.normal(keys[0], (2, 300, 2))
        batch = Batch(
            points=points,
            conditions=jax.random.uniform(keys[1], (2, 2), minval=-1.0),
            weights=jnp.asarray([0.3, 0.7]),
            end_points=points[:, :2],
            end_conditions=jnp.zeros((2, 2)),
            end_signs=jnp.asarray([1.0, -1.0]),
            reference=points[0, :2],
            drift=jax.random.normal(keys[2], points.shape).at[..., 1].set(0) if kind == "kinetic" else None,
            moments=NodeMoments(jax.random.normal(keys[3], (2, 2)), jax.random.normal(keys[4], (2, 2, 2))),
        )
        waves = random_waves(embedding.periods, loss.n_waves, loss.lowest, loss.highest)
        np.testing.assert_allclose(np.cos(waves.frequencies[:, 0] * 3.0), 1, rtol=1e-12)

        def drift(weights: Any, z: Any, condition: Any) -> Any:
            return form.drift(weights, embedding, z[None], form.modulations(weights, condition[None]))[0]

        def naive(weights: Any) -> Any:
            return naive_loss(loss, waves, lambda z, c: drift(weights, z, c), list(split.driven), batch)

        fast = jax.jit(lambda weights, batch: loss_and_gradient(loss, form, embedding, weights, batch))
        value, _, gradient = fast(weights, batch)
        expected, expected_gradient = jax.jit(jax.value_and_grad(naive))(weights)
        np.testing.assert_allclose(value, expected, rtol=1e-11)
        for ours, theirs in zip(jax.tree.leaves(gradient), jax.tree.leaves(expected_gradient), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-11)
        share = jax.jit(lambda i: loss_value(loss, form, embedding, weights, batch.part(i, 2)))
        shares = [share(jnp.asarray(i)) for i in range(2)]
        np.testing.assert_allclose(sum(shares), expected, rtol=1e-11)


def linear(matrix: np.ndarray, times: np.ndarray, start: np.ndarray | None = None) -> xr.Dataset:
    """A cloud in two dimensions under dX = A X dt, exactly, at the same trajectories; N(0, 1) by default."""
    start = np.random.default_rng(0).standard_normal((250, 2)) if start is None else start
    x = np.stack([start @ np.asarray(expm(jnp.asarray(matrix * t))).T for t in times])
    return xr.Dataset({"x": (("run", "time", "sample", "axis"), x[None].astype(np.float32))}, {"time": times})


def dynamics_of(ds: xr.Dataset, stepper: Any = None) -> Dynamics:
    variables = hoam.ensemble.variables(ds)
    layout = SampleLayout(variables, tuple(ds[v.name].shape[3:] for v in variables))
    return Dynamics(normalisation_of(ds), stepper, structure_of("field", variables, layout.widths), layout)


def test_the_true_field_has_no_residual() -> None:
    """Rates of all moments are those under the true drift, to the error of the derivative in time, on uneven times."""
    times = np.concatenate([[0.0], hoam.quadrature.gauss_legendre(30).nodes_and_weights()[0], [1.0]])
    matrix = np.asarray([[-0.4, 1.5], [-1.0, 0.3]])
    ds = linear(matrix, times)
    dynamics = dynamics_of(ds)
    waves = random_waves((None, None), 40, 0.3, 3.0)
    targets = moment_targets(waves, ds, dynamics)
    scale = np.asarray(dynamics.normalisation.scale, np.float64)
    in_units = matrix * scale[None, :] / scale[:, None]
    shift = matrix @ np.asarray(dynamics.normalisation.shift, np.float64) / scale
    for j in (0, 3, 15, 31):
        z = np.asarray(dynamics.normalisation.raw_samples(ds["x"].values[0, j], np.float64))
        along = (z @ in_units.T + shift) @ waves.frequencies.T
        mean = np.mean(-np.sin(z @ waves.frequencies.T + waves.phases) * along, axis=0)
        size = np.linalg.norm(targets.rates[0, j])
        assert size > 0.3
        explained = targets.whitening[targets.groups[j]] @ mean
        np.testing.assert_allclose(explained, targets.rates[0, j], atol=1e-3 * size)


def test_whitening_makes_energies_of_residuals() -> None:
    """Test functions that are well known have gradients of mean square 1, orthogonal to one another."""
    times = np.linspace(0, 1, 9)
    ds = linear(np.asarray([[0.0, 1.0], [-1.0, 0.0]]), times)
    waves = random_waves((None, None), 12, 0.3, 2.0)
    targets = moment_targets(waves, ds, dynamics_of(ds))
    z = np.asarray(dynamics_of(ds).normalisation.raw_samples(ds["x"].values[0, 4], np.float64))
    gradients = -np.sin(z @ waves.frequencies.T + waves.phases)[..., None] * waves.frequencies
    combined = np.einsum("ik,nkd->nid", targets.whitening[targets.groups[4]], gradients)
    eigenvalues = np.linalg.eigvalsh(np.einsum("nid,njd->ij", combined, combined) / len(z))
    assert eigenvalues.max() < 1.01
    assert np.sum(eigenvalues > 0.9) >= 8


def data_of(points: np.ndarray, targets: Any) -> TrainingData:
    n_times = points.shape[1]
    return TrainingData(
        points=jnp.asarray(points),
        end_points=jnp.asarray(points[:, [0, -1]]),
        conditions=jnp.zeros((1, n_times, 1)),
        weights=jnp.ones(n_times) / n_times,
        nodes=jnp.arange(n_times, dtype=jnp.int32),
        reference=jnp.zeros((1, points.shape[-1])),
        moments=jax.tree.map(jnp.asarray, targets),
    )


def test_subsets_of_samples_are_unbiased() -> None:
    """On average over the draws, the loss is the one of all samples, and not that plus a variance."""
    rng = np.random.default_rng(0)
    points = rng.standard_normal((1, 2, 16, 4, 1)).astype(np.float32)
    loss = hoam.MomentMatching(n_waves=3, energy=0.0)
    rates = rng.standard_normal((1, 2, 3)).astype(np.float32)
    targets = hoam.losses.MomentTargets(rates, np.eye(3, dtype=np.float32)[None], np.zeros(2, np.int32))
    data = data_of(points, targets)
    embedding = Embedding((None,))
    form = bound(FIELD, structure_of("field", (Variable("y"),), [1]), embedding)
    weights = form.init(jax.random.key(1), 1, 1)
    weights["layers"][-1]["W"] = 2 * jax.random.normal(jax.random.key(3), (16, 1))
    value = jax.jit(jax.vmap(lambda k: loss_value(loss, form, embedding, weights, draw_batch(loss, data, k))))
    values = np.asarray(value(jax.random.split(jax.random.key(0), 2000)), np.float64)

    @jax.jit
    def of_all(points: Any) -> Any:
        data = data_of(points, targets)
        return loss_value(loss, form, embedding, weights, judging_batch(loss, data, jnp.int32(0)))

    exact = float(of_all(points.reshape(1, 2, 1, 64, 1)))
    assert exact >= 0
    assert abs(values.mean() - exact) < 4 * values.std() / len(values) ** 0.5
    squares = [float(of_all(points[:, :, i : i + 1])) for i in range(16)]
    assert np.mean(squares) > exact + 10 * values.std() / len(values) ** 0.5


def fit_field(ds: xr.Dataset, iterations: int = 400, **options: Any) -> hoam.Surrogate:
    training = hoam.Training(iterations=iterations, n_samples=128, n_times=4, learning_rate=2e-2, average=0.95)
    return hoam.fit(
        ds, key=jax.random.key(0), structure="field", potential=FIELD, training=training, progress=False, **options
    )


@pytest.mark.long
def test_of_all_fields_the_gradient_is_chosen(tmp_path: Any) -> None:
    """A round cloud that shrinks and turns: marginals do not see the turning. The rollout has their spread; it is the
    default without rates, and comes back from a file."""
    # Rings of equally many samples: the irregularities of random ones would show the turning.
    radius = np.repeat(np.sqrt(-2 * np.log((np.arange(40) + 0.5) / 40)), 40)
    angle = np.tile(2 * np.pi * np.arange(40) / 40, 40) + np.repeat(np.random.default_rng(0).random(40), 40)
    start = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    ds = linear(np.asarray([[-0.5, 2.0], [-2.0, -0.5]]), np.linspace(0, 1, 17), start)
    model = fit_field(ds, 300)
    assert json.loads(provenance_of(model).configuration)["loss"]["kind"] == "MomentMatching"
    assert model.history.attrs["judged_on"] == "the loss of training"
    points = np.asarray([[0.5, 0.0], [0.0, 0.5], [-0.5, 0.0], [0.0, -0.5]], np.float32)
    velocity = np.asarray(model.velocity(jnp.asarray(points), 0.5, {}))
    np.testing.assert_allclose(velocity, -0.5 * points, atol=0.06)
    state = state_type(("x",))(jnp.zeros(()), jnp.asarray(ds["x"].values[0, 0]))
    end = model.solve(state, jnp.asarray([0.0, 1.0]), {}).x[-1]
    np.testing.assert_allclose(np.cov(end.T), np.cov(ds["x"].values[0, -1].T), atol=0.02)
    model.save(tmp_path / "field.hoam")
    np.testing.assert_array_equal(hoam.load(tmp_path / "field.hoam").velocity(jnp.asarray(points), 0.5, {}), velocity)


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Resting:
    """dx = -x dt + sqrt(2) dW in its stationary state, N(0, 1): marginals that do not move."""

    dt: float = 0.05
    horizon: tuple[float, float] = (0.0, 1.0)
    variables = (Variable("x"),)
    parameters = ()

    def init(self, key: Any, n_samples: int, parameters: Any) -> Any:
        return state_type(("x",))(jnp.zeros(()), jax.random.normal(key, (n_samples,)))

    def step(self, state: Any, dt: Any, parameters: Any, key: Any = None) -> Any:
        decay = jnp.exp(-dt)
        x = decay * state.x + jnp.sqrt(1 - decay**2) * jax.random.normal(key, state.x.shape)
        return dataclasses.replace(state, x=x, time=state.time + dt)

    def refresh(self, state: Any, parameters: Any) -> Any:
        return state

    def noise(self, state: Any, parameters: Any) -> Any:
        return {"x": 2.0**0.5 * jnp.ones_like(state.x)}


def test_known_noise_is_not_learned_as_drift() -> None:
    """The marginals rest: without noise there is no drift, under the known noise it is the one against it, -x."""
    ds = hoam.simulate(Resting(), {}, np.linspace(0, 1, 9), key=jax.random.key(1), n_samples=2000, progress=False)
    model = fit_field(ds, 200, loss=hoam.MomentMatching(n_waves=32), replaces=Resting())
    assert model.learned.known_noise
    x = jnp.asarray([[-1.0], [0.0], [1.0]])
    np.testing.assert_allclose(model.velocity(x, 0.5, {}), -x, atol=0.2)


def test_several_runs_and_physical_units() -> None:
    """Speeds that differ between runs, in the units of the ensemble, between the trained ones as well."""
    rng = np.random.default_rng(0)
    mu, times = np.asarray([1.0, 1.5, 2.0]), np.linspace(0.0, 4e-9, 9)
    y = rng.standard_normal((3, 1, 500)) * 1e-9 + (mu[:, None, None] * times[None, :, None])
    ds = xr.Dataset({"y": (("run", "time", "sample"), y.astype(np.float32))}, {"time": times, "mu": ("run", mu)})
    model = fit_field(ds, loss=hoam.MomentMatching(n_waves=16))
    for value in (1.25, 1.75):
        velocity = model.velocity(jnp.asarray([[value * 2e-9]]), 2e-9, {"mu": value})
        np.testing.assert_allclose(velocity, value, rtol=0.08)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_waves": 0}, "n_waves=0 must be a whole number of at least 1"),
        ({"lowest": 0.0}, "lowest=0.0 must be a finite number above 0"),
        ({"highest": 0.1}, "highest=0.1 must be at least lowest=0.3"),
        ({"energy": -1.0}, "energy=-1.0 must be a finite number of at least 0"),
    ],
)
def test_settings_out_of_range_are_refused(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hoam.MomentMatching(**options)
