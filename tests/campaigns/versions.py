"""The same numbers by two environments, such as those with the oldest and the newest JAX that are supported.

    OLD/bin/python tests/campaigns/versions.py compute old.npz
    NEW/bin/python tests/campaigns/versions.py compute new.npz
    NEW/bin/python tests/campaigns/versions.py compare old.npz new.npz

The first two compute what is listed in `COMPUTATIONS`, from the same seeds, in double precision and in JAX's default.
The last prints, as JSON, for each of them by how much the numbers differ, as a share of the largest.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin import simulators

KEY = jax.random.key(0)
TIMES = np.linspace(0.0, 2.0, 6)
Numbers = dict[str, np.ndarray]


def simulated(stepper: Any, parameters: dict[str, list[float]], times: np.ndarray = TIMES) -> Numbers:
    """Every variable of a small ensemble."""
    truth = hoam.simulate(stepper, parameters, times, key=KEY, n_samples=256, progress=False)
    return {str(name): values.values for name, values in truth.data_vars.items()}


def _plasma() -> xr.Dataset:
    stepper = simulators.two_stream(n_cells=32, dt=0.1, horizon=(0.0, 2.0))
    return hoam.simulate(stepper, {"mu": [1.2, 1.5, 1.8]}, TIMES, key=KEY, n_samples=256, rates=True, progress=False)


def trained(**options: Any) -> Numbers:
    """Losses of a short training, what the surrogate does, its derivative through `solve`, and scores."""
    truth = _plasma()
    training = hoam.Training(iterations=60, n_samples=64, block=20)
    model = hoam.fit(truth, key=KEY, training=training, progress=False, **options)
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model.hoam")
        model = hoam.load(Path(folder) / "model.hoam")
    moved = hoam.simulate(
        model, {"mu": [1.5]}, TIMES, key=KEY, n_samples=256, initial=truth.isel(run=[1]), progress=False
    )
    scores = hoam.compare(truth.isel(run=[1]), moved)
    state = simulators.two_stream(n_cells=32).init(KEY, 64, {"mu": 1.3})

    def energy(mu: Any) -> Any:
        return jnp.mean(model.solve(state, TIMES, {"mu": mu}, key=KEY).v ** 2)

    found = {f"samples {name}": values.values for name, values in moved.data_vars.items()}
    found |= {f"score {name}": values.values for name, values in scores.data_vars.items()}
    return {**found, "derivative": np.asarray(jax.grad(energy)(jnp.asarray(1.3)))}


def roots() -> Numbers:
    """Of the dielectric function."""
    beams = [simulators.Beam(0.5, -2.0, 0.5), simulators.Beam(0.5, 2.0, 0.5)]
    return {"omega": hoam.dispersion.roots(0.3, beams, n=4)}


COMPUTATIONS: dict[str, Callable[[], Numbers]] = {
    "two_stream": lambda: simulated(simulators.two_stream(n_cells=32, dt=0.1), {"mu": [1.2, 1.8]}),
    "vlasov_poisson_grid": lambda: simulated(simulators.VlasovPoissonGrid(n_x=32, n_v=64), {"mu": [0.9, 1.1]}),
    "strong_landau": lambda: simulated(simulators.strong_landau(n_cells=(8, 2, 2)), {"mu": [0.5]}),
    "duffing": lambda: simulated(simulators.duffing(), {"mu": [0.1, 0.3]}),
    "lorenz9": lambda: simulated(simulators.lorenz9(), {"r": [13.5]}, np.linspace(0.0, 1.0, 6)),
    "yukawa_quench": lambda: simulated(
        simulators.yukawa_quench(n_particles=32), {"kT": [0.1], "screening_length": [0.5]}, np.linspace(0.0, 0.2, 5)
    ),
    "fit, kinetic": lambda: trained(structure="kinetic", potential=hoam.VectorField(width=8, depth=2)),
    "fit, potential": lambda: trained(potential=hoam.MLP(width=8, depth=2)),
    "dispersion": roots,
}


def compute(path: Path) -> None:
    """All of it, into one file."""
    found: Numbers = {}
    for precision in ("double", "default"):
        jax.config.update("jax_enable_x64", precision == "double")
        for name, computation in COMPUTATIONS.items():
            found |= {f"{precision}|{name}|{what}": np.asarray(values) for what, values in computation().items()}
    versions = {name: importlib.metadata.version(name) for name in ("jax", "numpy", "xarray", "optax", "jaxtyping")}
    np.savez(path, versions=np.asarray(json.dumps(versions)), **found)  # type: ignore[arg-type]


def compare(first: Path, second: Path) -> dict[str, Any]:
    """By computation and precision, the largest difference of any of its arrays."""
    with np.load(first) as a, np.load(second) as b:
        if set(a) != set(b):
            raise SystemExit(f"not the same arrays: {sorted(set(a) ^ set(b))}")
        rows: dict[str, dict[str, float]] = {}
        for entry in sorted(set(a) - {"versions"}):
            precision, name, _ = entry.split("|")
            own = rows.setdefault(name, {})
            # A momentum that is 0 is round-off; single velocities say what is small.
            is_momentum = entry.endswith("momentum")
            scale = np.sqrt(2 * a[entry.replace("momentum", "kinetic_energy")]) if is_momentum else a[entry]
            own[precision] = max(own.get(precision, 0.0), difference(a[entry], b[entry], scale))
        return {"versions": [json.loads(str(one["versions"])) for one in (a, b)], "differences": rows}


def difference(a: np.ndarray, b: np.ndarray, scale: np.ndarray) -> float:
    """The largest, as a share of the largest modulus of `scale`; infinite where NaN, shapes or dtypes differ."""
    if a.shape != b.shape or a.dtype != b.dtype or (np.isnan(a) != np.isnan(b)).any():
        return float("inf")
    known = ~np.isnan(a)
    if not known.any() or (a[known] == b[known]).all():
        return 0.0
    return float(np.abs(a[known] - b[known]).max() / np.nanmax(np.abs(scale)))


if __name__ == "__main__":
    verb, *paths = sys.argv[1], *map(Path, sys.argv[2:])
    if verb == "compute":
        compute(*paths)
    else:
        json.dump(compare(*paths), sys.stdout, indent=1)
