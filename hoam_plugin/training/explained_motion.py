"""How much of recorded motion a learned drift explains: of forces between particles it may be nothing, or a part."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import xarray as xr

from hoam_plugin import ensembles
from hoam_plugin._internal import warned
from hoam_plugin.losses import VelocityMatching, has_rates
from hoam_plugin.potentials import ParticlePotential
from hoam_plugin.steppers import default_float, row_of
from hoam_plugin.surrogates import Surrogate

# A share below which something is wrong, and the shortest training that is judged.
_ALMOST_NOTHING = 0.1
_LEAST_ITERATIONS = 100
# What it is measured on.
_RUNS, _TIMES, _SAMPLES = 3, 6, 2048
# Of configurations so many that this many pairs are looked at, and the root mean square that is worth a warning.
_PAIRS, _LEFT_OVER = 1 << 19, 0.2


def explained_share(model: Surrogate, ds: xr.Dataset, n_samples: int = _SAMPLES) -> tuple[float, float, float]:
    """The share of the recorded drift's mean square that the learned one explains, on a part of an ensemble.

    Known drift, such as friction, is taken off what is recorded.

    Args:
        model: with driven coordinates whose rates the ensemble records.
        ds: a valid ensemble.
        n_samples: looked at per run and time, at most.

    Returns:
        1 - E|u - F|^2 / E|F|^2, then the root mean squares of F (recorded) and of u (learned) in normalised units.
    """
    targets = VelocityMatching().targets(ds, model.learned.dynamics)
    norm, driven = model.learned.normalisation, np.asarray(model.learned.structure.driven)
    units = np.broadcast_to(np.asarray(norm.time_unit_on_host(ds["time"].values)), ds.sizes["time"])
    recorded, left, learned = 0.0, 0.0, 0.0
    for run in _spread(ds.sizes["run"], _RUNS):
        row = row_of(ensembles.parameters(ds, run), model.parameters)
        for time in _spread(ds.sizes["time"], _TIMES):
            samples = ensembles.samples(ds, run, slice(time, time + 1))
            wanted = targets.of(run, slice(time, time + 1), samples)[0][:n_samples].astype(np.float64)
            x = jnp.asarray(samples[0][:n_samples].astype(default_float()))
            elapsed = jnp.asarray(float(ds["time"].values[time]) - norm.horizon[0], x.dtype)
            rate = units[time] / np.asarray(norm.scale, np.float64)[driven]
            drift = np.asarray(model.learned.learned_drift(elapsed, row, x.dtype)(norm.centred(x)), np.float64) * rate
            recorded += float((wanted**2).sum())
            learned += float((drift**2).sum())
            left += float(((wanted - drift) ** 2).sum())
    n = min(ds.sizes["sample"], n_samples) * min(ds.sizes["run"], _RUNS) * min(ds.sizes["time"], _TIMES)
    share = 1 - left / recorded if recorded > 0 else 1.0
    return share, float(np.sqrt(recorded / n)), float(np.sqrt(learned / n))


def warn_of_unexplained(model: Surrogate, ds: xr.Dataset, iterations: int) -> None:
    """Warn, with figures, where a learned drift explains almost nothing of the recorded one."""
    if not (model.learned.structure.knows_dynamics and has_rates(ds) and iterations >= _LEAST_ITERATIONS):
        return
    share, recorded, learned = explained_share(model, ds)
    if share < _ALMOST_NOTHING:
        warned.warn(
            f"the learned drift explains {max(share, 0):.1%} of the recorded drift (root mean square {learned:.2g} of "
            f"{recorded:.2g}, normalised): what moves a sample hardly depends on its own variables, time and "
            "parameters, as with forces between particles, which a one-body surrogate cannot have; make a "
            'configuration of all particles the sample (view="configuration" of jax-md), or add the variables that the '
            "force depends on",
            stacklevel=3,
        )


def warn_of_unexplained_forces(model: Surrogate, ds: xr.Dataset) -> None:
    """Warn, with a figure, where functions of single particles and pairs leave a part of recorded forces over."""
    potential = model.learned.potential
    if not (isinstance(potential, ParticlePotential) and model.learned.structure.knows_dynamics and has_rates(ds)):
        return
    share, _, _ = explained_share(model, ds, max(16, min(_SAMPLES, _PAIRS // potential.width)))
    left = (1 - share) ** 0.5
    if left <= _LEFT_OVER:
        return
    cure = "a longer cutoff or more configurations may say more"
    if potential.neighbours is not None:
        cure += ", or more shells, neighbours=hoam.Neighbours(n_shells, ...)"
    elif potential.functions.n_species == 1:
        cure += "; forces that depend on the neighbours of both particles too want neighbours=hoam.Neighbours()"
    warned.warn(
        f"the learned forces leave {left:.0%} of the recorded ones over (root mean square): {cure}",
        stacklevel=3,
    )


def _spread(n: int, most: int) -> list[int]:
    """At most so many indices, evenly spread."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int)).tolist()
