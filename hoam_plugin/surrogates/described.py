"""What a surrogate says of itself: where it was trained, how that went, and a page about all of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import jax.numpy as jnp
import xarray as xr
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from hoam_plugin._internal import provided
from hoam_plugin._types import Key, Parameters
from hoam_plugin.steppers import clock, default_float, row_of
from hoam_plugin.surrogates import description, trained_region
from hoam_plugin.surrogates.learned import LearnedDynamics
from hoam_plugin.surrogates.options import Options
from hoam_plugin.surrogates.provenance import Provenance
from hoam_plugin.surrogates.trained_range import TrainedRange, react
from hoam_plugin.surrogates.training_runs import TrainingRuns, hole


class Described:
    """The side of a surrogate that tells of it. The class that is described has the parts that are named here."""

    learned: LearnedDynamics
    trained: TrainedRange
    options: Options
    _provenance: Provenance
    _runs: TrainingRuns | None

    def __repr__(self) -> str:
        """What it is, in ten lines; the weights are left out."""
        return description.in_words(self._rows())

    def _repr_html_(self) -> str:
        """The same, short, as notebooks show it."""
        return description.as_html(self._rows())

    def _rows(self) -> dict[str, str]:
        return description.rows(self.learned, self.trained, self.options, self._provenance, self._runs)

    @property
    def horizon(self) -> tuple[float, float]:
        """The trained time range, physical units."""
        return self.trained.horizon

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """The trained range of each physics parameter."""
        return self.trained.by_name

    @property
    def history(self) -> xr.Dataset | None:
        """The training history over `iteration`: loss, quadratic part, seconds.

        None where it is not known: a surrogate that comes out of compiled code or of `jax.tree.map` has none.
        """
        return self._provenance.history

    def distance_to_runs(self, parameters: Parameters) -> Float[Array, ""]:
        """How far parameters are from those of the nearest training run, in units of the spacing of the runs.

        The spacing is that of a grid of as many runs over the same ranges, with no more levels along a parameter than
        the runs have: on a grid, the middle of a cell of P parameters is half a diagonal, sqrt(P) / 2, away. Traceable
        and differentiable.

        Args:
            parameters: of one run, physical units.

        Returns:
            The distance, 0 without parameters; NaN where the runs are not known (files of version 0.2 and before).

        Raises:
            ValueError: an unknown or a missing parameter.
        """
        row = row_of(parameters, self.learned.normalisation.parameters)
        if not row:
            return jnp.zeros((), default_float())
        if self._runs is None:
            return jnp.full((), jnp.nan, default_float())
        return trained_region.distance(self._runs, self.learned.normalisation, row)

    def in_range(self, parameters: Parameters, time: ArrayLike) -> Bool[Array, ""]:
        """Whether parameters and time lie in the trained ranges, and not in a hole among the runs; traceable.

        A hole is farther than one spacing of the runs from every one of them (of more than three parameters, than 0.55
        of a diagonal), see `distance_to_runs`: a corner or a gap of the ranges that no run is near.

        Args:
            parameters: of one run, physical units.
            time: physical units.

        Raises:
            ValueError: an unknown or a missing parameter.
        """
        row = row_of(parameters, self.learned.normalisation.parameters)
        inside = self.trained.inside(row, clock.since(time, self.horizon[0], default_float()))
        return inside if self._runs is None else inside & (self.distance_to_runs(row) <= self._runs.reach)

    def report(
        self,
        path: str | os.PathLike[str],
        truth: xr.Dataset | None = None,
        *,
        training: xr.Dataset | None = None,
        floor: xr.Dataset | None = None,
        cross_validation: xr.Dataset | None = None,
        bands: xr.Dataset | None = None,
        key: Key | None = None,
        overwrite: bool = False,
    ) -> Path:
        """Write one page about the surrogate that opens in any browser, without a network.

        It tells what was learned from what, ranges and runs, clock, settings, versions and history, what speaks against
        it, and, with a truth, scores beside their references, curves, phase space and an animation.

        Args:
            path: a file that ends in .html; it is written aside, then renamed.
            truth: held-out runs of what the surrogate was learned from; it goes through their times from their first
                samples on. Without one, the page shows what the surrogate does in the middle of its ranges, where it
                can draw samples.
            training: the training runs, for what interpolating between them and their moments alone give.
            floor: a second truth with other random numbers, for the noise floor.
            cross_validation: scores of models of the other runs at each training run.
            bands: simultaneous bands `<curve>_low` and `<curve>_high` over (run, time) around curves of `truth`.
            key: of the noise of the surrogate and of drawn samples; `jax.random.key(0)` by default.
            overwrite: replace an existing file.

        Returns:
            The path.

        Raises:
            ValueError: another file type, or ensembles that do not match the surrogate.
            FileExistsError: `path` exists and `overwrite` is false.
            OSError: its folder does not exist or cannot be written.
        """
        given = {"truth": truth, "training": training, "floor": floor}
        given |= {"cross_validation": cross_validation, "bands": bands}
        written = provided.function("report")(self, path, **given, key=key, overwrite=overwrite)
        assert isinstance(written, Path)
        return written

    @property
    def _guard(self) -> TrainedRange:
        """Where compiled code is to take it for trained; holes are no part of that where there is something better."""
        if self.trained.policy != "fallback":
            return self.trained
        return trained_region.without_holes(self.trained, self._runs, self.learned.normalisation)

    def _enforce(self, parameters: Mapping[str, ArrayLike], times: ArrayLike | list[float]) -> None:
        """Act as the policy says on concrete parameters and times outside the ranges, and warn of holes among the runs.

        Raises:
            ValueError: something outside the ranges, under "raise".
        """
        policy = self.trained.policy
        problem = self.trained.violation(parameters, times)
        if problem is not None:
            react(policy, problem, stacklevel=4)
        elif policy not in ("ignore", "fallback") and (
            found := hole(self._runs, self.learned.normalisation, parameters)
        ):
            react("warn", f"{found}; no run tells what happens there", stacklevel=4)
