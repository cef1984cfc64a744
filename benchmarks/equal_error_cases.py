"""What `benchmarks.equal_error` compares: of each problem the surrogate, how it is learned, steps and the score."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import xarray as xr

import hoam_plugin as hoam
from benchmarks import learning, problems
from benchmarks.problems import CASES
from hoam_plugin import simulators
from hoam_plugin.quadrature import gauss_legendre

ENERGY, DISTANCE, PAIRS = "electric_energy_error", "sliced_wasserstein", "pair_distribution_error"


class Case(NamedTuple):
    """One problem.

    Attributes:
        problem: simulator, parameters and numbers of samples.
        intervals: between the saved times at which errors are measured; steps divide them.
        truth: steps per interval of the reference.
        simulator: steps per interval that the simulator is tried with.
        surrogate: those that the surrogate is tried with.
        fit: takes the training runs and a key.
        learned: how, in words.
        score: which error has to be equal.
        nodes: of the training runs.
        rates: whether they record rates.
        clock: of the nodes.
        counts: of samples that runs are timed with.
        coarser: other resolutions of the simulator that are tried, by name.
        variables: which are learned; None for all.
        scored: how many of the saved times after the first count; None for all.
        exact: whether the simulator's steps are exact, so that one leads from a saved time to the next.
    """

    problem: problems.Case
    intervals: int
    truth: int
    simulator: tuple[int, ...]
    surrogate: tuple[int, ...]
    fit: Callable[[xr.Dataset, jax.Array], hoam.Surrogate]
    learned: str
    score: str = DISTANCE
    nodes: int = 64
    rates: bool = False
    clock: str = "physical"
    counts: tuple[int, ...] = (25_000,)
    coarser: tuple[tuple[str, dict[str, Any]], ...] = ()
    variables: tuple[str, ...] | None = None
    scored: int | None = None
    exact: bool = False

    @property
    def gap(self) -> float:
        """Between saved times."""
        begin, end = self.problem.stepper().horizon
        return (end - begin) / self.intervals

    def training_runs(self) -> xr.Dataset:
        """Simulated at the default step."""
        own, rule = self.problem, gauss_legendre(self.nodes)
        ds = problems.simulated(own, own.training, rule, 0, rates=self.rates, clock=self.clock)
        return ds if self.variables is None else ds[list(self.variables)]


def _plain(ds: xr.Dataset, key: jax.Array) -> hoam.Surrogate:
    return hoam.fit(ds, key=key, progress=False)


def _force_from_samples(iterations: int) -> Callable[[xr.Dataset, jax.Array], hoam.Surrogate]:
    """A force that is learned from samples alone."""

    def fit(ds: xr.Dataset, key: jax.Array) -> hoam.Surrogate:
        training = learning.default_training(iterations=iterations)
        return hoam.fit(ds, key=key, structure="kinetic", training=training, progress=False)

    return fit


def _force(potential: Any, iterations: int) -> Callable[[xr.Dataset, jax.Array], hoam.Surrogate]:
    """A force that is learned from the rates that the simulator records."""

    def fit(ds: xr.Dataset, key: jax.Array) -> hoam.Surrogate:
        training = hoam.recipes.velocity_training(iterations)
        return hoam.fit(ds, key=key, structure="kinetic", potential=potential, training=training, progress=False)

    return fit


def _pair_force(ds: xr.Dataset, key: jax.Array) -> hoam.Surrogate:
    """The force of pairs that is learned from those that the simulator records."""
    truth = simulators.lennard_jones_quench()
    potential = hoam.ParticlePotential(cutoff=truth.cutoff)
    return hoam.fit(ds, key=key, structure="kinetic", potential=potential, replaces=truth, progress=False)


_PLAIN: dict[str, Any] = {"fit": _plain, "learned": "fit", "nodes": 256, "clock": "population"}
_PLASMA: dict[str, Any] = {
    "intervals": 64,
    "truth": 32,
    "simulator": (1, 2, 3, 4, 6, 8),
    "surrogate": (1, 2, 3, 4),
    "fit": _force(hoam.VectorField(), 5000),
    "learned": "force, rates",
    "score": ENERGY,
    "rates": True,
    "coarser": (("32 cells", {"n_cells": 32}), ("16 cells", {"n_cells": 16})),
}
EQUAL = {
    "oscillator": Case(
        CASES["oscillator"],
        16,
        4,
        (1, 2),
        (1, 2, 4, 8),
        counts=(10_000,),
        variables=("x",),
        exact=True,
        **_PLAIN,
    ),
    "duffing": Case(
        CASES["duffing"],
        64,
        64,
        (1, 2, 3, 4, 6, 8, 12, 19),
        (1, 2, 3, 4, 6, 9),
        _force(hoam.VectorField(time_harmonics=0), 5000),
        "force, rates",
        rates=True,
    ),
    "two_stream": Case(CASES["two_stream"], **_PLASMA),
    "bump_on_tail": Case(CASES["bump_on_tail"], **_PLASMA),
    "strong_landau": Case(
        CASES["strong_landau"],
        **_PLASMA
        | {
            "intervals": 20,
            # At the end the energy is all but zero, and an error relative to it says nothing.
            "scored": 19,
            "simulator": (1, 2, 3, 4, 5, 6, 9),
            "surrogate": (1, 2, 3, 4),
            "nodes": 256,
            "rates": False,
            "fit": _force_from_samples(8000),
            "learned": "force, samples",
            "counts": (25_000, 1_000_000),
            "coarser": (("16 x 4 x 4 cells", {"n_cells": (16, 4, 4)}), ("32 x 2 x 2 cells", {"n_cells": (32, 2, 2)})),
        },
    ),
    "lorenz9": Case(CASES["lorenz9"], 64, 16, (1, 2, 3, 4, 6), (1,), **_PLAIN),
    "trap": Case(CASES["trap"], 40, 20, (1, 2, 3, 4, 5, 10), (1, 2, 3), counts=(5000,), **_PLAIN | {"nodes": 128}),
    "yukawa_quench": Case(
        CASES["yukawa_quench"],
        20,
        20,
        (5, 6, 7, 8, 10),
        (1, 2, 3, 4, 6),
        _force(hoam.VectorField(width=32, unseen=(1,)), 3000),
        "force, rates",
        nodes=48,
        rates=True,
        counts=(8192, 32_768),
    ),
    # A sample is a replica of 64 particles: 100 of them, and as many as make 32 768 particles.
    "lennard_jones_quench": Case(
        problems.Case(
            simulators.lennard_jones_quench, {"kT": [0.6, 0.7, 1.0, 1.3, 1.6]}, {"kT": [0.85]}, 100, 48, 6, {}
        ),
        5,
        320,
        (13, 16, 20, 27, 40, 80),
        (13, 16, 20, 27, 40, 80),
        _pair_force,
        "pair force, rates",
        PAIRS,
        nodes=48,
        rates=True,
        counts=(100, 512),
    ),
}
