"""What each structure learns around what is known: exact forces of solvable dynamics."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
import xarray as xr
from trap import SMALL_FIELD, Trap, fit_kinetic, force_error, shuffled, spring, trap_ensemble

import hoam_plugin as hoam
from hoam_plugin.surrogates import provenance_of, with_learned


@pytest.mark.long
@pytest.mark.parametrize(
    ("loss", "bound"),
    [
        (hoam.ActionMatching(samples="merged"), 0.03),
        (hoam.ActionMatching(samples="independent"), 0.04),
        (hoam.ActionMatching(quadrature=hoam.quadrature.low_discrepancy(16)), 0.08),
        (hoam.DICE(), 0.06),
    ],
    ids=["merged", "independent", "random times", "dice"],
)
def test_spring_from_marginals_alone(loss: Any, bound: float) -> None:
    ds = shuffled(trap_ensemble(Trap()))
    assert force_error(fit_kinetic(ds, loss=loss), spring) < bound


@pytest.mark.long
def test_coupled_samples_need_few_of_them() -> None:
    few = hoam.Training(iterations=600, n_samples=8, learning_rate=1e-2, warmup=20)
    ds = trap_ensemble(Trap(), n_samples=1000)
    errors = {
        samples: force_error(fit_kinetic(ds, loss=hoam.ActionMatching(samples=samples), training=few), spring)
        for samples in ("coupled", "independent")
    }
    assert errors["coupled"] < 0.03
    assert errors["coupled"] < errors["independent"] / 2


@pytest.mark.long
def test_friction_and_noise_are_known_and_the_spring_is_learned() -> None:
    ds = trap_ensemble(Trap(friction=0.7, amplitude=0.6))
    model = fit_kinetic(shuffled(ds), replaces=Trap(friction=0.7, amplitude=0.6))
    assert model.learned.known_noise
    assert model.learned.epsilon == 0
    assert force_error(model, lambda x, mu: -mu * x[:, 0] - 0.7 * x[:, 1]) < 0.08
    # The population of the rollout then has the right spread as well.
    times = np.asarray([0.0, 1.0, 2.0])
    truth = trap_like(Trap(friction=0.7, amplitude=0.6), times)
    learned = trap_like(model, times, initial=truth)
    for name in ("x", "v"):
        np.testing.assert_allclose(learned[name].std("sample"), truth[name].std("sample"), rtol=0.06)
        np.testing.assert_allclose(learned[name].mean("sample"), truth[name].mean("sample"), atol=0.05)


def trap_like(stepper: Any, times: Any, **options: Any) -> xr.Dataset:
    return hoam.simulate(
        stepper, {"mu": [2.0]}, times, key=jax.random.key(3), n_samples=4000, dt=0.02, progress=False, **options
    )


@pytest.mark.long
def test_what_is_left_of_a_known_field() -> None:
    """Streaming in a field of which the stepper declares a part: the rest is learned."""

    @jax.tree_util.register_dataclass
    @dataclasses.dataclass(frozen=True)
    class HalfKnown(Trap):
        def known_drift(self, state: Any, parameters: Any) -> dict[str, Any]:
            return {"v": -0.5 * parameters["mu"] * state.x}

        noise = property()  # type: ignore[assignment]

    model = fit_kinetic(shuffled(trap_ensemble(Trap())), replaces=HalfKnown())
    learned = model.learned.learned_drift(jnp.asarray(1.0), {"mu": jnp.asarray(2.0)}, jnp.float32)
    x = jnp.stack([jnp.linspace(-1.5, 1.5, 50), jnp.zeros(50)], axis=1)
    wanted = -x[:, 0]
    assert float(jnp.abs(learned(x)[:, 0] - wanted).mean() / jnp.abs(wanted).mean()) < 0.15
    assert force_error(with_learned(model, replaces=None), lambda x, mu: -0.5 * mu * x[:, 0]) < 0.15


@pytest.mark.slow
@pytest.mark.parametrize("potential", [hoam.CoLoRA(width=16, depth=3, rank=2), hoam.MLP(width=16, depth=3)])
def test_force_that_depends_on_the_velocity(potential: Any) -> None:
    """A potential in (x, v) finds friction that nobody declared."""
    stepper = Trap(friction=0.7)
    ds = shuffled(trap_ensemble(stepper))
    training = hoam.Training(iterations=800, n_samples=128, learning_rate=1e-2, warmup=20)
    model = fit_kinetic(ds, potential=potential, replaces=Trap(), training=training)
    assert force_error(model, lambda x, mu: -mu * x[:, 0] - 0.7 * x[:, 1], stepper=stepper) < 0.12


@pytest.mark.long
def test_force_that_depends_on_the_velocity_from_rates() -> None:
    ds = trap_ensemble(Trap(friction=0.7), nodes=12, n_samples=1000, rates=True)
    potential, training = hoam.CoLoRA(width=16, depth=3, rank=2), hoam.recipes.velocity_training(600)
    model = fit_kinetic(ds, potential=potential, replaces=Trap(), training=training)
    assert '"VelocityMatching"' in provenance_of(model).configuration
    assert force_error(model, lambda x, mu: -mu * x[:, 0] - 0.7 * x[:, 1], stepper=Trap(friction=0.7)) < 0.03


@pytest.mark.long
def test_velocity_matching_to_recorded_rates() -> None:
    ds = trap_ensemble(Trap(friction=0.7, amplitude=0.6), rates=True)
    model = fit_kinetic(ds, replaces=Trap(friction=0.7, amplitude=0.6))
    assert '"VelocityMatching"' in provenance_of(model).configuration
    assert model.learned.known_noise
    assert force_error(model, lambda x, mu: -mu * x[:, 0] - 0.7 * x[:, 1]) < 0.03


@pytest.mark.long
def test_free_field_from_rates() -> None:
    ds = trap_ensemble(Trap(), rates=True)
    model = hoam.fit(
        ds,
        key=jax.random.key(1),
        structure="field",
        potential=SMALL_FIELD,
        replaces=Trap(),
        training=hoam.recipes.velocity_training(800),
        progress=False,
    )
    x = jnp.asarray(hoam.ensemble.samples(ds, 1, 5))
    drift = model.velocity(x, jnp.asarray(ds["time"].values[5], jnp.float32), {"mu": jnp.asarray(2.0)})
    wanted = jnp.stack([x[:, 1], -2 * x[:, 0]], axis=1)
    assert float(jnp.linalg.norm(drift - wanted) / jnp.linalg.norm(wanted)) < 0.05


def test_trajectory_matching_of_foreign_trajectories() -> None:
    """Symmetric increments, of periodic positions as well: a rotation on a torus with a drift per run."""
    rng = np.random.default_rng(0)
    times = np.linspace(0.0, 2.0, 41)
    start = rng.uniform(0, 3.0, (3, 1, 2000))
    speed = np.asarray([1.0, 2.0, 3.0])[:, None, None]
    y = (start + speed * times[None, :, None]) % 3.0
    ds = xr.Dataset(
        {"y": (("run", "time", "sample"), y.astype(np.float32), {"period": 3.0})},
        {"time": times, "mu": ("run", [1.0, 2, 3])},
    )
    model = hoam.fit(
        ds,
        key=jax.random.key(1),
        structure="field",
        potential=SMALL_FIELD,
        loss=hoam.TrajectoryMatching(),
        training=hoam.recipes.velocity_training(300),
        progress=False,
    )
    drift = model.velocity(jnp.linspace(0, 3, 20)[:, None], jnp.asarray(1.0), {"mu": jnp.asarray(2.0)})
    np.testing.assert_allclose(drift, 2.0, rtol=0.02)


@pytest.mark.long
def test_trajectory_matching_of_noisy_dynamics_learns_the_current() -> None:
    """dy = -y dt + sqrt(2) dW in equilibrium N(0, 1): the velocity of the probability current is zero, not -y."""
    rng = np.random.default_rng(0)
    times = np.linspace(0.0, 1.0, 21)
    decay = np.exp(-times[1])
    y = [rng.standard_normal(20_000)]
    for _ in times[1:]:
        y.append(decay * y[-1] + (1 - decay**2) ** 0.5 * rng.standard_normal(20_000))
    ds = xr.Dataset({"y": (("run", "time", "sample"), np.stack(y)[None].astype(np.float32))}, {"time": times})
    loss = hoam.TrajectoryMatching(relative=0.0)
    training = hoam.Training(iterations=400, n_samples=256, learning_rate=3e-3)
    model = hoam.fit(
        ds,
        key=jax.random.key(1),
        structure="field",
        potential=SMALL_FIELD,
        loss=loss,
        training=training,
        progress=False,
    )
    drift = model.velocity(jnp.linspace(-1.5, 1.5, 20)[:, None], jnp.asarray(0.5), {})
    assert float(jnp.abs(drift).max()) < 0.35
    assert not model.learned.has_noise


def test_what_does_not_go_together() -> None:
    gaussian, plasma = toy.moving_gaussian(), toy.small_plasma_ensemble()
    with pytest.raises(ValueError, match="'y' is neither one nor a position"):
        fit_kinetic(gaussian)
    with pytest.raises(ValueError, match="'x' is neither one nor a position"):
        fit_kinetic(plasma.assign(v=plasma["v"].drop_attrs()))
    with pytest.raises(ValueError, match="velocity_of='z'"):
        fit_kinetic(plasma.assign(v=plasma["v"].assign_attrs(velocity_of="z")))
    with pytest.raises(Exception, match="curl"):
        hoam.fit(plasma, key=jax.random.key(0), structure="curl")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="epsilon=0\\.5"):
        fit_kinetic(plasma, loss=hoam.ActionMatching(epsilon=0.5))
    with pytest.raises(ValueError, match="learns potentials"):
        hoam.fit(plasma, key=jax.random.key(0), structure="field", loss=hoam.ActionMatching())
    with pytest.raises(ValueError, match="has no potential"):
        hoam.fit(plasma, key=jax.random.key(0), potential=SMALL_FIELD)
    with pytest.raises(ValueError, match="has no potential"):
        hoam.fit(plasma, key=jax.random.key(0), potential=hoam.VectorField())
    with pytest.raises(ValueError, match="rates=True"):
        fit_kinetic(plasma, loss=hoam.VelocityMatching())
    with pytest.raises(ValueError, match="equally spaced"):
        fit_kinetic(plasma, loss=hoam.TrajectoryMatching())
    with pytest.raises(ValueError, match="samples='merged'"):
        fit_kinetic(plasma, potential=hoam.CoLoRA(), loss=hoam.ActionMatching(samples="merged"))


@pytest.mark.long
def test_gradient_fit_says_what_else_the_ensemble_allows(capsys: pytest.CaptureFixture[str]) -> None:
    ds = trap_ensemble(Trap(), nodes=4, n_samples=64, rates=True)
    options: dict[str, Any] = {
        "key": jax.random.key(0),
        "potential": hoam.CoLoRA(width=4, depth=2),
        "training": hoam.Training(iterations=2, n_samples=8, block=2),
    }
    hoam.fit(ds, **options)
    (line,) = [text for text in capsys.readouterr().err.splitlines() if text.startswith("fit:")]
    assert "kinetic" in line
    assert "rates" in line
    hoam.fit(ds, progress=False, **options)
    assert "fit:" not in capsys.readouterr().err
