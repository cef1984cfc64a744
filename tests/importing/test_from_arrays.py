"""`ensemble.from_arrays`: what is said of arrays, weights and ids, and what is refused."""

import jax
import numpy as np
import pytest

import hoam_plugin as hoam
from hoam_plugin.ensemble import from_arrays

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
TIMES = np.linspace(0.0, 1.0, 4)
X = RNG.normal(size=(2, 4, 50))


def test_equally_long_arrays_are_taken_as_they_are() -> None:
    said = {"parameters": {"mu": [1, 2]}, "period": {"x": 8.0}, "velocity_of": {"v": "x"}}
    ds = from_arrays(x=X, v=2 * X, q=np.stack([X, X], -1), time=TIMES, units={"x": "m", "time": "s", "mu": "K"}, **said)
    np.testing.assert_array_equal(ds["x"].values, X.astype(np.float32))
    assert ds["q"].dims == ("run", "time", "sample", "axis")
    assert (ds["x"].attrs["period"], ds["x"].attrs["units"], ds["v"].attrs["velocity_of"]) == (8.0, "m", "x")
    assert (ds["time"].attrs["units"], ds["mu"].attrs["units"]) == ("s", "K")
    assert hoam.ensemble.parameters(ds)["mu"].tolist() == [1.0, 2.0]
    assert "sampling" not in ds.attrs


def test_weights_become_equal_samples() -> None:
    weights = 10 ** RNG.uniform(0, 2, (2, 4, 5000))
    x = RNG.normal(size=weights.shape)
    ds = from_arrays(x=x, time=TIMES, weights=weights, n_samples=2000, key=KEY)
    wanted = np.average(x, axis=-1, weights=weights)
    np.testing.assert_allclose(ds["x"].mean("sample"), wanted, atol=5 / np.sqrt(2000))
    wanted = weights.sum(-1) ** 2 / (weights**2).sum(-1)
    np.testing.assert_allclose(ds["effective_particles"], wanted)
    assert ds.attrs["sampling"] == "snapshots"


def test_runs_and_times_may_have_different_numbers_of_particles() -> None:
    lists = [[RNG.normal(size=int(RNG.integers(40, 90))) for _ in TIMES] for _ in range(2)]
    ds = from_arrays(x=lists, time=TIMES, key=KEY)
    assert ds.sizes["sample"] == min(len(x) for run in lists for x in run)
    assert set(ds["x"].values[1, 2]) <= set(lists[1][2].astype(np.float32))


def shuffled(lost: int = 0) -> dict[str, np.ndarray]:
    """Particles that move evenly, in another order at each time; of some the last is another one."""
    n = 300
    start, weights = RNG.normal(size=n), RNG.uniform(0.01, 1, n)
    ids = np.stack([[RNG.permutation(n) for _ in TIMES] for _ in range(2)])
    x = start[ids] * (1 + TIMES[:, None])
    if lost:
        ids = ids.copy()
        ids[1, -1, :lost] += n
    return {"x": x, "ids": ids, "weights": weights[ids % n]}


def test_particles_are_followed_by_their_ids() -> None:
    ds = from_arrays(**shuffled(), time=TIMES, n_samples=100, key=KEY)
    assert ds.attrs["sampling"] == "trajectories"
    np.testing.assert_allclose(ds["x"] / ds["x"].values[:, :1], np.broadcast_to(1 + TIMES[:, None], (2, 4, 100)), 1e-5)


def test_particles_are_not_followed_where_some_are_lost() -> None:
    ds = from_arrays(**shuffled(lost=1), time=TIMES, n_samples=100, key=KEY)
    assert ds.attrs["sampling"] == "snapshots"
    with pytest.raises(ValueError, match="TrajectoryMatching needs trajectories, and the attribute 'sampling'"):
        hoam.TrajectoryMatching().require_ensemble(ds, ["x"])


def test_the_same_key_draws_the_same() -> None:
    one, two = (from_arrays(x=X, time=TIMES, n_samples=20, key=KEY) for _ in range(2))
    np.testing.assert_array_equal(one["x"], two["x"])


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_other_units_draw_the_same_particles(scale: float) -> None:
    weights = RNG.uniform(0.01, 1, X.shape)
    one, two = (from_arrays(x=X * s, time=TIMES, weights=weights * s, key=KEY) for s in (1.0, scale))
    np.testing.assert_allclose(two["x"], one["x"] * np.float32(scale), rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"x": X[0]}, r"x has the shape \(4, 50\); it must be .*; for one run, x=x\[None\]"),
        ({"x": X[:, :3]}, r"x has the shape \(2, 3, 50\) and time has 4 entries"),
        ({"v": X[:, :, :9]}, "the arrays differ in their runs, times or samples"),
        ({"parameters": {"mu": [1.0, 2.0, 3.0]}}, r"parameters\['mu'\] has 3 values, and there are 2 runs"),
        ({"period": {"y": 1.0}}, "period names 'y', which is no variable; known names: 'x'"),
        ({"velocity_of": {"v": "x"}}, "velocity_of names 'v', which is no variable"),
        ({"units": {"t": "s"}}, "units names 't', which is no variable"),
        ({"weights": X}, "run 0, time index 0: weights hold -.*; they must be finite and not negative"),
        ({"weights": 0 * X}, "run 0, time index 0: the weights of all 50 particles are 0"),
        ({"x": [[[], [1.0], [1.0], [1.0]]]}, "run 0, time index 0 is empty: it has no particles at time 0"),
        ({"x": X * np.where(X[1, 2, 3] == X, np.nan, 1), "n_samples": 50}, "'x' holds 1 values among 50 .* not finite"),
        ({"x": X * 1e50}, "variable 'x' reaches .*, which float32 cannot hold; use larger units"),
        ({"x": X * 1e-45}, "variable 'x' is at most .*, which float32 cannot resolve; use smaller units"),
        ({"x": np.ma.masked_less(X, 0)}, "x has .* masked entries among 400; leave these particles out"),
        ({"x": 1e12 + X}, "variable 'x' is so far from 0 that float32 does not resolve its spread"),
        ({"weights": 1.0}, r"weights must be an array \(run, time, sample\)"),
        ({"mu": X, "parameters": {"mu": [1.0, 2.0]}}, "variable 'mu' cannot be called so"),
        ({"time": TIMES[::-1]}, "time must be strictly increasing"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(changes, sentence) -> None:
    with pytest.raises(ValueError, match=sentence):
        from_arrays(**{"x": X, "time": TIMES, "key": KEY, **changes})


def test_drawing_needs_a_key_and_something_to_draw() -> None:
    with pytest.raises(TypeError, match="key=None: samples are drawn where there are weights"):
        from_arrays(x=X, time=TIMES, weights=np.ones(50))
    with pytest.raises(TypeError, match="has no variables"):
        from_arrays(time=TIMES)
