"""Files as other codes write them, made of arrays; written by the libraries that read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

ELECTRON = 9.1093837e-31


def write_openpmd(
    folder: Path,
    times: Sequence[float],
    species: Mapping[str, Sequence[Mapping[str, np.ndarray]]],
    *,
    length: float | None = None,
    mass: float = ELECTRON,
    suffix: str = "h5",
    macro: bool = False,
) -> Path:
    """A series like those of WarpX: a file per time, SI units, momenta, weights and ids in no order.

    Args:
        folder: for the files.
        times: in s.
        species: name to snapshots with x (m), v (m/s), weights and ids; what is missing is not written.
        length: of a periodic domain, said by the boundaries of a field.
        mass: of a particle in kg.
        suffix: of the files.
        macro: write momenta and masses of macroparticles, as PIConGPU does.
    """
    import openpmd_api as api

    folder.mkdir(parents=True, exist_ok=True)
    series = api.Series(str(folder / f"openpmd_%06T.{suffix}"), api.Access.create)
    for index, time in enumerate(times):
        step = series.iterations[100 * index]
        step.time, step.dt, step.time_unit_SI = float(time), 1.0, 1.0
        if length is not None:
            _write_field(api, step, length)
        for name, snapshots in species.items():
            snapshot = snapshots[index]
            n = len(snapshot["x"])
            if not n:
                continue
            particles = step.particles[name]
            weights = snapshot.get("weights")
            power = weights if macro else 1.0
            columns: dict[tuple[str, str], np.ndarray | float] = {
                ("position", "x"): snapshot["x"],
                ("positionOffset", "x"): 0.0,
            }
            if "v" in snapshot:
                v = snapshot["v"].astype(np.float64)
                p = mass * v / np.sqrt(1 - (v / 299_792_458.0) ** 2) * power
                columns |= {("momentum", "x"): p, ("momentum", "y"): np.zeros(n), ("momentum", "z"): np.zeros(n)}
                columns["mass", api.Record_Component.SCALAR] = mass * power if macro else mass
            if weights is not None:
                columns["weighting", api.Record_Component.SCALAR] = weights
            if "ids" in snapshot:
                columns["id", api.Record_Component.SCALAR] = snapshot["ids"].astype(np.uint64)
            for (record, axis), values in columns.items():
                component = particles[record][axis]
                array = np.asarray(values)
                component.reset_dataset(api.Dataset(array.dtype, [len(array)] if array.ndim else [n]))
                if array.ndim:
                    component.store_chunk(array, [0], [len(array)])
                else:
                    component.make_constant(float(array))
                if macro and record in ("momentum", "mass"):
                    particles[record].set_attribute("macroWeighted", np.uint32(1))
                    particles[record].set_attribute("weightingPower", 1.0)
                series.flush()
        step.close()
    series.close()
    return folder


def _write_field(api, step, length: float) -> None:
    mesh = step.meshes["rho"]
    mesh.axis_labels, mesh.grid_spacing, mesh.grid_global_offset = ["x"], [length / 8], [0.0]
    step.meshes.set_attribute("fieldBoundary", ["periodic", "periodic"])
    component = mesh[api.Record_Component.SCALAR]
    component.position = [0.5]
    component.reset_dataset(api.Dataset(np.dtype("float64"), [8]))
    component.make_constant(0.0)
