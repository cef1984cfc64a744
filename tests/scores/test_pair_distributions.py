"""Distances of pairs of particles: their distribution, and the score that compares two."""

import itertools
import math

import numpy as np
import pytest
import xarray as xr
from configurations import BOX, configurations, independent, repelling
from scored import ensemble, score

from hoam_plugin.scores import compare, pair_distribution, verdict_table
from hoam_plugin.scores.configurations import configurations_of
from hoam_plugin.steppers import Variable

NAME = "pair_distribution_error"
EPS = float(np.finfo(np.float64).eps)


def g_of(positions: np.ndarray, **options: object) -> np.ndarray:
    return pair_distribution(configurations(positions), **options)["pair_distribution"].values[0]


def error(truth: xr.Dataset, prediction: xr.Dataset, reference: str = "surrogate") -> float:
    return float(score(compare(truth, prediction), NAME, reference).item())


def oracle(x: np.ndarray, n_rings: int, reach: float, period: float | None, species: list[int]) -> dict:
    """Pairs by species and ring of configurations (sample, particle, axis), one pair after the other."""
    counts: dict[tuple[int, int], np.ndarray] = {}
    for one in x:
        for i, j in itertools.combinations(range(len(one)), 2):
            squares = 0.0
            for a, b in zip(one[i], one[j], strict=True):
                apart = float(a) - float(b)
                if period is not None:
                    apart -= period * round(apart / period)
                squares += apart**2
            kind = tuple(sorted((species[i], species[j])))
            ring = min(int(math.sqrt(squares) / reach * n_rings), n_rings)
            counts.setdefault(kind, np.zeros(n_rings + 1))[ring] += 1
    return counts


# The distribution.


@pytest.mark.parametrize("d", [1, 2, 3])
def test_independent_particles_have_g_of_one(d):
    n, n_samples, n_rings = 20, 400, 8
    g = g_of(independent(n, d, n_samples, n_times=1), n_rings=n_rings)[0]
    edges = np.linspace(0, 0.5, n_rings + 1)
    shells = {1: 2.0, 2: np.pi, 3: 4 / 3 * np.pi}[d] * np.diff(edges**d)
    # Counts of pairs are nearly Poisson's.
    spread = 1 / np.sqrt(shells * n_samples * n * (n - 1) / 2)
    assert (np.abs(g - 1) < 5 * spread).all()


def test_a_lattice_has_its_neighbours_at_their_distances():
    side, spacing = 6, BOX / 6
    lattice = np.stack(np.meshgrid(*[np.arange(side) * spacing] * 2, indexing="ij"), -1).reshape(1, 1, -1, 2)
    n, n_rings, r_max = side**2, 40, 2.9 * spacing
    found = pair_distribution(configurations(lattice), n_rings=n_rings, r_max=r_max)
    g = found["pair_distribution"].values[0, 0]
    edges = np.linspace(0, r_max, n_rings + 1)
    # g times the independent particles in the ring is the number of neighbours of one particle.
    neighbours = g * np.pi * np.diff(edges**2) / BOX**2 * (n - 1)
    expected = np.zeros(n_rings)
    for distance, number in ((1, 4), (math.sqrt(2), 4), (2, 4), (math.sqrt(5), 8), (math.sqrt(8), 4)):
        expected[np.searchsorted(edges, distance * spacing) - 1] += number
    np.testing.assert_allclose(neighbours, expected, rtol=1e3 * EPS, atol=1e3 * EPS)
    assert found["smallest_distance"].item() == pytest.approx(spacing, rel=1e3 * EPS)


@pytest.mark.parametrize("period", [BOX, None])
@pytest.mark.parametrize("n", [2, 7, 8])
def test_every_pair_is_counted_once(n, period):
    species = [i % 2 if n > 2 else 3 for i in range(n)]
    x = independent(n, 3, 5, 2, seed=n)
    found = pair_distribution(configurations(x, period=period, species=species), n_rings=11, r_max=1.7)
    for time in range(2):
        counts = oracle(x[time], 11, 1.7, period, species)
        for kind, pairs in counts.items():
            label = f"{kind[0]}-{kind[1]}"
            g = found["pair_distribution"].isel(run=0, time=time)
            g = (g.sel(pair=label) if n > 2 else g).values
            expected = pairs[:-1] / pairs.sum()
            if period is not None:
                expected = expected / (4 / 3 * np.pi * np.diff(np.linspace(0, 1.7 / BOX, 12) ** 3))
            np.testing.assert_allclose(g, expected, rtol=100 * EPS, atol=0)
    assert ("pair" in found.dims) == (n > 2)


def test_what_is_returned_says_what_it_is():
    found = pair_distribution(configurations(independent(), units="angstrom"))
    assert found["pair_distribution"].dims == ("run", "time", "r")
    assert found.sizes["r"] == 64
    assert found["r"].attrs["units"] == found["smallest_distance"].attrs["units"] == "angstrom"
    assert found["pair_distribution"].attrs["units"] == "1"
    assert found.attrs["r_max"] == BOX / 2
    assert found["kT"].dims == ("run",)
    kinds = pair_distribution(configurations(independent(), species=[0] * 11 + [5]))
    # There is no pair of a particle with itself.
    assert kinds["pair"].values.tolist() == ["0-0", "0-5"]


def test_rings_cover_all_distances_of_free_space():
    x = independent()
    found = pair_distribution(configurations(x, period=None))
    np.testing.assert_allclose(found["pair_distribution"].sum("r"), 1.0, rtol=100 * EPS)
    near = pair_distribution(configurations(x, period=None), r_max=1.0)["pair_distribution"]
    assert (near.sum("r") < 1).all()


def test_fewer_pairs_are_looked_at_where_there_are_too_many():
    n, n_samples = 60, 50
    x = independent(n, 2, n_samples, n_times=1)
    some = g_of(x, n_rings=4, most_pairs=20 * n * (n - 1) // 2)[0]
    np.testing.assert_array_equal(some, g_of(x[:, np.arange(20) * n_samples // 20], n_rings=4)[0])
    # One configuration alone has more: particles are left out, of every species its share.
    species = np.repeat([0, 1], [50, 10])
    few = configurations_of(configurations(x, species=species), most_pairs=300)
    assert len(few.particles) * (len(few.particles) - 1) / 2 <= 300
    assert [int((few.species == s).sum()) for s in (0, 1)] == [20, 4]
    np.testing.assert_array_equal(species[few.particles], few.species)
    g = pair_distribution(configurations(x, species=species), n_rings=1, most_pairs=300)["pair_distribution"]
    # 190 pairs, of which pi / 4 are within half of the box.
    assert g.sel(pair="0-0").item() == pytest.approx(1, abs=5 * math.sqrt((4 / math.pi - 1) / 190))


def test_what_is_no_number_lies_beyond():
    particles = configurations_of(configurations(independent()))
    x = independent(n_times=1)[0].reshape(40, -1)
    whole, _ = particles.distribution(x, BOX / 2)
    for bad in (np.nan, np.inf, -np.inf, 1e300):
        broken = x.copy()
        broken[:20, 0] = bad
        g, closest = particles.distribution(broken, BOX / 2)
        assert np.isfinite(g).all()
        assert math.isfinite(closest)
        assert g.sum() <= whole.sum() * 1.1
    nothing, closest = particles.distribution(np.full_like(x, np.nan), BOX / 2)
    assert not nothing.any()
    assert particles.farthest(np.full_like(x, np.nan)) == 0.0
    free = configurations_of(configurations(independent(), period=None))
    broken = x.copy()
    broken[0, 0] = 1e300
    assert free.distribution(broken, 5.0)[0].sum() == pytest.approx(1.0, rel=100 * EPS)


def test_which_ensembles_are_configurations():
    x = independent()
    ds = configurations(x)
    assert configurations_of(ensemble()) is None
    assert configurations_of(ds.isel(particle=[0])) is None
    assert configurations_of(ds.isel(axis=0, drop=True)) is None
    velocity = ds["position"].assign_attrs(Variable("velocity", velocity_of="position").attributes())
    velocity.attrs.pop("period", None)
    assert configurations_of(ds.assign(velocity=velocity)).variable.name == "position"
    # A momentum that is no velocity has the shape of positions.
    momentum = velocity.copy()
    momentum.attrs.pop("velocity_of")
    for own in (ds, configurations(x, period=None)):
        found = configurations_of(own.assign(momentum=momentum)[["momentum", "position"]])
        assert found.variable.name == "position"
        assert found.columns == slice(24, 48)
    with pytest.raises(ValueError, match=r"ds has no configurations: none of its variables \['x', 'v'\]"):
        pair_distribution(ensemble())
    with pytest.raises(ValueError, match=r"r_max=3\.0 must be at most half of the period, 2"):
        pair_distribution(ds, r_max=3.0)
    for bad in ({"n_rings": 0}, {"most_pairs": 0}, {"r_max": -1.0}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            pair_distribution(ds, **bad)


# The score.


def test_equal_ensembles_score_zero_and_others_do_not():
    truth, other = configurations(repelling()), configurations(independent(9))
    assert error(truth, truth) == 0.0
    assert error(truth, other) > 0.5
    assert error(truth, configurations(repelling(1))) < error(truth, other) / 2


def test_the_score_is_the_l1_distance_relative_to_the_truth():
    truth, other = repelling(), independent(9, seed=3)
    own, others = (g_of(x)[1:] for x in (truth, other))
    expected = np.mean(np.abs(own - others).sum(axis=-1) / own.sum(axis=-1))
    assert error(configurations(truth), configurations(other)) == pytest.approx(expected, rel=100 * EPS)


def test_only_places_relative_to_one_another_count():
    truth, other = repelling(), repelling(1)
    rng = np.random.default_rng(5)
    expected = error(configurations(truth), configurations(other))
    turns = rng.integers(-3, 4, other.shape) * BOX
    changed = {
        "order": other[:, :, rng.permutation(9)],
        "place": other + rng.uniform(0, BOX, (3, 40, 1, 2)),
        "whole periods": other + turns,
        "an origin far off": other + 1e6 * BOX,
    }
    for what, x in changed.items():
        # A pair at the edge of a ring may change it by rounding.
        assert error(configurations(truth), configurations(x)) == pytest.approx(expected, rel=1e-4), what


@pytest.mark.parametrize("period", [BOX, None])
def test_the_score_knows_no_units(period):
    unit = 1e-10
    (truth, other), own = (repelling(), repelling(1)), None if period is None else period * unit
    expected = error(configurations(truth, period=period), configurations(other, period=period))
    scaled = [configurations(x * unit, period=own, units="m") for x in (truth, other)]
    assert error(*scaled) == pytest.approx(expected, rel=1e-4)
    # Single precision, from an origin far off: as precise as the numbers themselves.
    singles = [configurations((x + 100).astype(np.float32), period=period) for x in (truth, other)]
    assert error(*singles) == pytest.approx(expected, rel=0.05)


def test_species_that_change_places_show():
    """A salt: like next to unlike. All particles as one species see nothing of a swap."""
    x, kinds = repelling(), [0, 1, 0, 1, 0, 1, 0, 1, 0]
    swapped = x[:, :, [1, 0, *range(2, 9)]]
    assert error(configurations(x), configurations(swapped)) == 0.0
    truth = configurations(x, species=kinds)
    assert error(truth, truth) == 0.0
    assert error(truth, configurations(swapped, species=kinds)) > 0.1
    # The truth's species hold for those that name none.
    assert error(truth, configurations(swapped)) == error(truth, configurations(swapped, species=kinds))
    # Particles of a species are alike, and may come in an order of their own that their species say.
    assert error(truth, configurations(x[:, :, [2, 1, 0, *range(3, 9)]], species=kinds)) == 0.0
    assert error(truth, configurations(swapped, species=[1, 0, *kinds[2:]])) == 0.0
    with pytest.raises(ValueError, match=r"prediction has particles by species \{0: 9\} but truth has \{0: 5, 1: 4\}"):
        compare(truth, configurations(x, species=[0] * 9))


def test_free_space_compares_shares_of_pairs():
    x, other = repelling(), repelling(1)
    truth = configurations(x, period=None)
    assert error(truth, truth) == 0.0
    assert 0 < error(truth, configurations(other, period=None)) < 0.5
    # All pairs beyond the truth's largest distance: nothing in common.
    assert error(truth, configurations(100 * BOX + 1e3 * other, period=None)) == pytest.approx(2.0, rel=1e-2)
    assert error(truth, configurations(1e60 * other, period=None)) == pytest.approx(2.0, rel=100 * EPS)


def test_a_truth_without_pairs_within_reach_has_no_score():
    # Two particles in opposite corners of the box.
    x = np.tile(np.asarray([[0.0, 0.0], [BOX / 2, BOX / 2]]), (3, 4, 1, 1))
    x = x + np.random.default_rng(0).uniform(0, 0.1, (3, 4, 1, 2))
    assert math.isnan(error(configurations(x), configurations(x)))


def test_references_have_the_score_of_snapshots():
    truth, floor = configurations(repelling()), configurations(repelling(1))
    training = configurations(repelling(2))
    training = xr.concat([training, training.assign_coords(kT=("run", [2.0]))], "run", data_vars="minimal")
    scores = compare(truth, floor, floor=[floor, truth], training=training)
    assert score(scores, NAME, "noise_floor") == error(truth, floor) / 2
    assert score(scores, f"{NAME}_spread", "noise_floor") > 0
    assert "only scalar curves" in scores[NAME].attrs["interpolation_note"]
    assert score(scores, NAME, "frozen") == error(truth, truth.isel(time=[0, 0, 0]).assign_coords(time=truth["time"]))
    assert 0 < error(truth, floor, "bootstrap") < 1
    assert "pair distribution error" in verdict_table(scores)
    free = [ds.assign(position=ds["position"].assign_attrs(scale=1.0)) for ds in (truth, floor, training)]
    for ds in free:
        del ds["position"].attrs["period"]
    assert np.isfinite(score(compare(free[0], free[1], training=free[2]), NAME, "gaussian")).all()


def test_other_ensembles_have_no_such_score():
    assert NAME not in compare(ensemble(), ensemble())
