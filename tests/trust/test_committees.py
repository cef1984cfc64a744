"""Committees: members that differ, whose mean is a surrogate like any other."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin import simulators
from hoam_plugin._internal import hardware
from hoam_plugin.training import committees
from hoam_plugin.training.side_by_side import SideBySide
from hoam_plugin.trust import members_of

X = jnp.asarray([[1.0, 0.5], [7.0, -1.0], [20.0, 2.0]])


def velocities(model: hoam.Surrogate) -> np.ndarray:
    return np.asarray(model.velocity(X, 1.0, {"mu": 1.4}))


def test_the_committee_moves_by_the_mean_of_its_members(committee: hoam.Surrogate) -> None:
    members = members_of(committee)
    each = np.stack([velocities(member) for member in members])
    assert len(members) == 3
    assert np.ptp(each[..., 1], axis=0).min() > 0
    np.testing.assert_allclose(velocities(committee), each.mean(axis=0), rtol=1e-4, atol=1e-6)


def test_it_solves_differentiates_and_registers(committee: hoam.Surrogate) -> None:
    state = committee.init(jax.random.key(2), 64, {"mu": 1.4})

    def speed(mu: Any) -> Any:
        return jnp.mean(committee.solve(state, [1.0, 2.0], {"mu": mu}).v[-1] ** 2)

    slope = jax.jit(jax.grad(speed))(1.4)
    steps = [float(speed(1.4 + h)) for h in (0.02, -0.02)]
    np.testing.assert_allclose(slope, (steps[0] - steps[1]) / 0.04, rtol=0.05, atol=1e-4)
    hoam.register("small_plasma", committee)
    with hoam.use_surrogate("small_plasma"):
        assert hoam.stepper("small_plasma") is committee


def test_it_is_one_file(committee: hoam.Surrogate, tmp_path: Path) -> None:
    loaded = hoam.load(committee.save(tmp_path / "committee.hoam"))
    np.testing.assert_array_equal(velocities(loaded), velocities(committee))
    assert len(members_of(loaded)) == 3
    assert repr(loaded) == repr(committee)
    assert " samples at " in repr(loaded), "how much it was learned from"
    assert loaded.history is not None
    assert loaded.history.sizes["iteration"] == 20


def test_members_are_simulated_by_themselves(committee: hoam.Surrogate, runs: xr.Dataset) -> None:
    truth = runs.isel(run=[1])
    arguments: dict[str, Any] = {"key": jax.random.key(4), "n_samples": 64, "initial": truth, "progress": False}
    times = truth["time"].values
    each = hoam.simulate(committee, {"mu": [1.3]}, times, members=True, **arguments)
    assert each["x"].dims == ("member", "run", "time", "sample")
    first = hoam.simulate(members_of(committee)[0], {"mu": [1.3]}, times, **arguments)
    np.testing.assert_allclose(each["v"].isel(member=0), first["v"], rtol=1e-5, atol=1e-6)
    scores = hoam.compare(truth, each)
    assert (scores["sliced_wasserstein_spread"].sel(reference="surrogate") > 0).all()
    with pytest.raises(ValueError, match="is no committee"):
        hoam.simulate(members_of(committee)[0], {"mu": [1.3]}, times, members=True, **arguments)
    with pytest.raises(ValueError, match="keeps everything in memory"):
        hoam.simulate(committee, {"mu": [1.3]}, times, members=True, store="s.zarr", **arguments)


def test_one_program_for_all_members_gives_the_same(
    committee: hoam.Surrogate, runs: xr.Dataset, small: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = SideBySide.__init__
    monkeypatch.setattr(SideBySide, "__init__", lambda self, n: made(self, n, width=n))
    together = hoam.fit(runs, key=jax.random.key(1), members=3, **small)
    np.testing.assert_allclose(velocities(together), velocities(committee), rtol=1e-3, atol=1e-5)


def test_members_that_train_at_the_same_time_share_the_cores(
    committee: hoam.Surrogate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "_cores_of_process", lambda: 4)
    for members, own in ((2, 2), (8, 1)):
        seen = list[int]()

        def member(i: int, seen: list[int] = seen) -> hoam.Surrogate:
            seen.append(hardware.available_cores())
            return committee

        committees._all(member, members, SideBySide(members), one_at_a_time=False)
        assert seen == [own] * members


@pytest.mark.slow
def test_a_gradient_committee_has_a_density(runs: xr.Dataset) -> None:
    model = hoam.fit(
        runs,
        key=jax.random.key(1),
        members=2,
        potential=hoam.CoLoRA(width=8, depth=2, rank=2, hyper_width=5),
        loss=hoam.ActionMatching(epsilon=0.0),
        training=hoam.Training(iterations=20, n_samples=16, block=10),
        progress=False,
    )
    each = np.stack([velocities(member) for member in members_of(model)])
    np.testing.assert_allclose(velocities(model), each.mean(axis=0), rtol=1e-4, atol=1e-6)
    # Over a step the density changes by the divergence of the mean drift, to first order.
    start, h, mu = model.init(jax.random.key(2), 64, {"mu": 1.4}), 1e-2, {"mu": 1.4}
    moved = model.step(start, h, mu)

    def drift(z: Any, t: float) -> Any:
        return model.velocity(z[None], t, mu)[0]

    z = jnp.stack([moved.x, moved.v], axis=1)
    divergence = jax.vmap(lambda row: jnp.trace(jax.jacfwd(drift)(row, h / 2)))(z)
    change = model.log_prob(moved, mu) - simulators.two_stream().log_density(jnp.stack([start.x, start.v], axis=1), mu)
    np.testing.assert_allclose(change, -h * divergence, rtol=0.1, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"members": 0}, "members=0"),
        ({"members": 2, "checkpoint": "c.hoam"}, "goes with members=1 only"),
        ({"members": 2, "potential": hoam.SplinePotential()}, "is solved for"),
    ],
)
def test_what_a_committee_does_not_take(runs: xr.Dataset, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        hoam.fit(runs, key=jax.random.key(0), **options)
