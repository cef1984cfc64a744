"""A potential of one's own: one class, which `fit` takes as it is and files name."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

import hoam_plugin as hoam
from hoam_plugin.potentials import POTENTIALS, ScalarPotential, Streams, per_row


@dataclasses.dataclass(frozen=True)
class Tilt(ScalarPotential):
    """s = phi(t, mu) . features: the drift is the same for all samples of a time."""

    harmonics: int = 1

    @property
    def width(self) -> int:
        return 1

    @property
    def depth(self) -> int:
        return 1

    def init(self, key: Any, n_features: int, n_conditions: int) -> Any:
        return {"slope": jnp.zeros((n_conditions, n_features)), "offset": jnp.zeros(n_features)}

    def modulations(self, weights: Any, conditions: Any) -> Any:
        return conditions @ weights["slope"] + weights["offset"][None, :]

    def propagate(self, weights: Any, streams: Streams, modulations: Any, rates: Any) -> Streams:
        phi = per_row(modulations, streams)
        along = streams.map(lambda stream: jnp.sum(stream * jnp.broadcast_to(phi, stream.shape), axis=-1))
        return along._replace(rate=along.rate + jnp.sum(streams.value * per_row(rates, streams), axis=-1))

    def value(self, weights: Any, features: Any, modulation: Any) -> Any:
        return features @ modulation


def fit(**options: Any) -> hoam.Surrogate:
    settings: dict[str, Any] = {
        "key": jax.random.key(0),
        "potential": Tilt(),
        "loss": hoam.ActionMatching(epsilon=0.0),
        "training": hoam.Training(iterations=300, n_samples=64, learning_rate=3e-2, optimiser="adam"),
        "progress": False,
    }
    return hoam.fit(toy.moving_gaussian(), **settings | options)


def test_a_potential_of_ones_own_is_learned_and_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = fit()
    y = jnp.asarray([[0.0], [1.0]])
    for mu in (1.5, 2.5):
        np.testing.assert_allclose(model.velocity(y, 1.0, {"mu": mu}), mu, rtol=0.05)
    model.save(tmp_path / "own.hoam")
    with pytest.raises(ValueError, match=r"unknown kind 'Tilt'.*into hoam_plugin\.potentials\.POTENTIALS"):
        hoam.load(tmp_path / "own.hoam")
    monkeypatch.setitem(POTENTIALS, "Tilt", Tilt)
    loaded = hoam.load(tmp_path / "own.hoam")
    np.testing.assert_array_equal(loaded.velocity(y, 1.0, {"mu": 1.5}), model.velocity(y, 1.0, {"mu": 1.5}))


@pytest.mark.usefixtures("as_installed")
def test_what_is_no_potential_is_refused() -> None:
    with pytest.raises(TypeError, match=r"potential='CoLoRA' must be CoLoRA\(...\) or FiLM"):
        fit(potential="CoLoRA")
    with pytest.raises(ValueError, match=r"potential=Tilt\(.*\): structure='field' takes VectorField"):
        fit(structure="field", loss=hoam.TrajectoryMatching())
