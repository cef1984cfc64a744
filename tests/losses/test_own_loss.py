"""A loss of one's own: one class, which `fit` takes as it is."""

import dataclasses
import json
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

import hoam_plugin as hoam
from hoam_plugin.losses import LOSSES, AbstractLoss, Targets, rows_of, targets_from
from hoam_plugin.surrogates import provenance_of

SMALL = hoam.CoLoRA(width=8, depth=2, rank=2, hyper_width=5)


@dataclasses.dataclass(frozen=True)
class RobustMatching(AbstractLoss):
    """Huber's loss of the differences between the drift and finite differences of trajectories."""

    threshold: float = 1.0

    structures: ClassVar[Any] = ("gradient", "field")
    bounded: ClassVar[bool] = True
    carries_noise: ClassVar[bool] = False

    def require_ensemble(self, ds: Any, driven: Any) -> None:
        if ds.sizes["time"] < 4:
            raise ValueError("RobustMatching needs four times")

    def time_weights(self, times: Any, given: Any) -> Any:
        """The last time has no difference."""
        weights = np.append(np.ones(len(times) - 1), 0.0)
        return weights / weights.sum()

    def targets(self, ds: Any, dynamics: Any) -> Targets:
        def differences(ds: Any, dynamics: Any, run: int, times: slice) -> Any:
            y, t = ds["y"].values[run].astype(np.float64), ds["time"].values
            steps = np.diff(y, axis=0) / np.diff(t)[:, None]
            return np.concatenate([steps, steps[-1:]])[times, :, None]

        return targets_from(differences, ds, dynamics)

    def interior(self, potential: Any, embedding: Any, weights: Any, nodes: Any, reference: Any) -> Any:
        modulations = potential.modulations(weights, nodes.conditions)
        learned = potential.drift(weights, embedding, rows_of(nodes.points), modulations)
        error = jnp.sum((learned - rows_of(nodes.targets)) ** 2, axis=1)
        d = self.threshold
        huber = jnp.where(error < d**2, error / 2, d * (jnp.sqrt(jnp.maximum(error, d**2)) - d / 2))
        squares = jnp.sum(learned**2, axis=1) / 2
        return jnp.sum(nodes.weights * nodes.mean(huber)), jnp.sum(nodes.weights * nodes.mean(squares))

    def default_training(self) -> Any:
        return {"iterations": 30}


@dataclasses.dataclass(frozen=True)
class Plain(AbstractLoss):
    """Action matching without noise: what has an interior and a boundary alone is a loss of marginals."""

    def interior(self, potential: Any, embedding: Any, weights: Any, nodes: Any, reference: Any) -> Any:
        return hoam.ActionMatching(epsilon=0.0).interior(potential, embedding, weights, nodes, reference)

    def boundary(self, potential: Any, embedding: Any, weights: Any, batch: Any) -> Any:
        return hoam.ActionMatching(epsilon=0.0).boundary(potential, embedding, weights, batch)


@pytest.mark.long
def test_a_loss_of_ones_own_is_learned_with() -> None:
    """It is in no catalogue; its targets, its weights of times and its bound count, and the record names it."""
    model = hoam.fit(
        toy.moving_gaussian(speeds=(1.0, 1.5, 2.0, 2.5, 3.0), n_times=17),
        key=jax.random.key(0),
        potential=SMALL,
        loss=RobustMatching(threshold=0.5),
        training=hoam.Training(iterations=800, n_samples=64, runs_per_iteration=5, learning_rate=1e-2),
        progress=False,
    )
    assert "RobustMatching" not in LOSSES
    assert json.loads(provenance_of(model).configuration)["loss"] == {"kind": "RobustMatching", "threshold": 0.5}
    assert model.learned.epsilon == 0
    for mu in (1.25, 1.75, 2.75):
        velocity = model.velocity(jnp.linspace(-1.0, 1.0, 5)[:, None] + mu, 1.0, {"mu": mu})
        np.testing.assert_allclose(velocity.mean(), mu, rtol=0.06)


@pytest.mark.long
def test_what_a_loss_says_of_itself_counts() -> None:
    ds = toy.moving_gaussian(n_samples=256)
    options: dict[str, Any] = {"key": jax.random.key(0), "potential": SMALL, "progress": False}
    model = hoam.fit(ds, loss=RobustMatching(), **options)
    assert dict(model.history.sizes) == {"iteration": 30}  # its default training
    with pytest.raises(ValueError, match="RobustMatching needs four times"):
        hoam.fit(ds.isel(time=slice(0, 3)), loss=RobustMatching(), **options)
    with pytest.raises(ValueError, match="does not go with structure='kinetic'; it takes 'gradient' or 'field'"):
        hoam.fit(toy.small_plasma_ensemble(64), loss=RobustMatching(), structure="kinetic", key=jax.random.key(0))
    with pytest.raises(ValueError, match=r"loss=Plain\(\) learns potentials"):
        hoam.fit(ds, loss=Plain(), structure="field", key=jax.random.key(0))


@pytest.mark.long
def test_the_same_terms_are_the_same_training() -> None:
    """A loss with the terms of another one, and the defaults of the base, trains bit for bit as that one."""
    histories = [
        hoam.fit(
            toy.moving_gaussian(),
            key=jax.random.key(1),
            potential=SMALL,
            loss=loss,
            training=hoam.Training(iterations=40, n_samples=64, block=10, learning_rate=2e-2, warmup=10),
            progress=False,
        ).history
        for loss in (Plain(), hoam.ActionMatching(epsilon=0.0, time_derivative="network"))
    ]
    np.testing.assert_array_equal(histories[0]["loss"], histories[1]["loss"])


@pytest.mark.usefixtures("as_installed")
def test_what_is_no_loss_is_refused() -> None:
    with pytest.raises(TypeError, match=r"loss='huber' must be ActionMatching\(...\) or DICE\(...\)"):
        hoam.fit(toy.moving_gaussian(), key=jax.random.key(0), loss="huber")  # type: ignore[arg-type]
