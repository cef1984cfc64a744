"""Which variations in time and space the saved times of an ensemble resolve, from marginals alone.

For a function phi of position and time, with no velocity in it, the linear terms of action matching around known
kinematics hold no unknown force: E_0[phi] - E_1[phi] + int E[d_t phi + v d_x phi] dt = 0, exactly for any population of
moving samples. With a quadrature rule on the saved times, what remains is the error of the rule. A force that varies as
fast as phis with a large remainder is learned from this error, and the loss falls below what the samples allow.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import xarray as xr
from jaxtyping import Complex, Float

from hoam_plugin import ensembles
from hoam_plugin._internal import warned
from hoam_plugin.dynamics import Dynamics
from hoam_plugin.potentials import VectorField

_TOLERANCE = 2e-3
_MOST_TIME_HARMONICS = 8
# A network of so many harmonics has overtones; those up to this factor carry weight.
_OVERTONES = 6
# Wavelength of the first harmonic of a coordinate without a period, in standard deviations.
_REACH = 8.0


def continuity_residual(
    ds: xr.Dataset,
    dynamics: Dynamics,
    node_weights: Float[np.ndarray, " T"],
    harmonics: int,
    time_harmonics: tuple[int, ...],
) -> Float[np.ndarray, "position harmonics K"]:
    """The remainder for phi = exp(i k x + i pi K tau), relative to the sum of the magnitudes of the rule's terms.

    Args:
        ds: the ensemble.
        dynamics: its normalisation and kinematics.
        node_weights: of the rule.
        harmonics: k goes through the first so many harmonics of every position.
        time_harmonics: values of K.

    Returns:
        for every position the larger one of the first and the last run.
    """
    norm = dynamics.normalisation
    tau = norm.tau_on_host(ds["time"].values)
    unit = np.broadcast_to(np.asarray(norm.time_unit_on_host(ds["time"].values)), tau.shape)[:, None]
    shift, scale = np.asarray(norm.shift, np.float64), np.asarray(norm.scale, np.float64)
    orders = np.arange(1, harmonics + 1)
    found = []
    for position, velocity in dynamics.structure.kinematics:
        wavenumber = 2 * np.pi / (norm.periods[position] or _REACH)
        remainders, magnitudes = np.zeros((2, harmonics, len(time_harmonics)))
        for run in sorted({0, ds.sizes["run"] - 1}):
            density, flux = _moments(ds, run, position, velocity, shift, scale, wavenumber, harmonics)
            speed = unit / scale[position]
            for j, order in enumerate(time_harmonics):
                wave = np.exp(1j * np.pi * order * tau)[:, None]
                terms = (density * (1j * np.pi * order) + 1j * wavenumber * orders * speed * flux) * wave
                ends = density[0] * wave[0] - density[-1] * wave[-1]
                remainder = np.abs(ends + node_weights @ terms)
                remainders[:, j] = np.maximum(remainders[:, j], remainder)
                magnitudes[:, j] = np.maximum(magnitudes[:, j], node_weights @ np.abs(terms))
        found.append(remainders / np.maximum(magnitudes, 1e-300))
    return np.reshape(found, (-1, harmonics, len(time_harmonics)))


def resolved(
    field: VectorField, ds: xr.Dataset, dynamics: Dynamics, node_weights: Float[np.ndarray, " T"]
) -> VectorField:
    """The field with the most time harmonics that the saved times resolve with its spatial ones, at most 8.

    It does not see positions along which the population itself moves too fast for the saved times. Where that is all of
    them, it sees them with one harmonic in time. A warning says so.
    """
    candidates, n_waves = tuple(range(_MOST_TIME_HARMONICS + 1)), _OVERTONES * field.harmonics
    positions = np.asarray([position for position, _ in dynamics.structure.kinematics], np.int64)
    residual = continuity_residual(ds, dynamics, node_weights, n_waves, candidates).max(axis=1)
    seen = ~np.isin(positions, field.unseen)
    fast = seen & (residual[:, 0] > _TOLERANCE)
    slow = seen & ~fast
    fine = np.flatnonzero(np.maximum.accumulate(residual[slow].max(axis=0, initial=0.0)) <= _TOLERANCE)
    if not fast.any():
        return dataclasses.replace(field, time_harmonics=int(fine[-1]))
    unseen = positions[fast].tolist()
    said = (
        f"the {np.count_nonzero(node_weights)} saved times do not resolve the motion of the samples along "
        f"{_names(dynamics, unseen)}: the change of a density with {n_waves} waves is integrated with an error of "
        f"{residual[fast, 0].max():.1%}; "
    )
    what = "to have no part along it" if field.conservative else "not to depend on where they are there"
    so = f"the force is taken {what} (a given time_harmonics prevents it); if it does, " if slow.any() else ""
    warned.warn(
        f"{said}{so}simulate on a rule with twice as many nodes, or use a VectorField with fewer harmonics, or "
        "VelocityMatching",
        stacklevel=4,
    )
    if not slow.any():
        return dataclasses.replace(field, time_harmonics=1)
    return dataclasses.replace(field, time_harmonics=int(fine[-1]), unseen=(*field.unseen, *unseen))


def _names(dynamics: Dynamics, columns: list[int]) -> str:
    """Of the variables that have one of the columns."""
    layout = dynamics.layout
    owners = np.repeat(layout.names, layout.widths)
    return ", ".join(dict.fromkeys(owners[columns].tolist()))


def _moments(
    ds: xr.Dataset,
    run: int,
    position: int,
    velocity: int,
    shift: Float[np.ndarray, " D"],
    scale: Float[np.ndarray, " D"],
    wavenumber: float,
    harmonics: int,
) -> tuple[Complex[np.ndarray, "T harmonics"], Complex[np.ndarray, "T harmonics"]]:
    """Means of exp(i m k z) and of v exp(i m k z) over the samples, at every time, for m = 1 ... harmonics."""
    density, flux = [], []
    for _, slab in ensembles.slabs(ds, run):
        z = (slab[..., position].astype(np.float64) - shift[position]) / scale[position]
        v = slab[..., velocity].astype(np.float64)
        wave = first = np.exp(1j * wavenumber * z)
        columns = []
        for _ in range(harmonics):
            columns.append((wave.mean(axis=1), (v * wave).mean(axis=1)))
            wave = wave * first
        density.append(np.stack([n for n, _ in columns], axis=1))
        flux.append(np.stack([j for _, j in columns], axis=1))
    return np.concatenate(density), np.concatenate(flux)
