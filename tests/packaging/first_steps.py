"""A small run of everything: every module imports; simulate, fit, save, load and compare work. Used by nox."""

import importlib
import tempfile
from pathlib import Path

import jax
import numpy as np

import hoam_plugin as hoam
from hoam_plugin import simulators


def import_everything() -> None:
    """All modules of the installed package."""
    root = Path(hoam.__file__).parent
    for file in sorted(root.rglob("*.py")):
        if file.name != "__main__.py":
            parts = file.relative_to(root.parent).with_suffix("").parts
            importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))


def main(folder: Path) -> None:
    """The swap of the README at small size."""
    key = jax.random.key(0)
    stepper = simulators.two_stream(n_cells=32, dt=0.1, horizon=(0.0, 2.0))
    rule = hoam.quadrature.gauss_legendre(6)
    truth = hoam.simulate(stepper, {"mu": [1.2, 1.5]}, rule, key=key, n_samples=64, rates=True, progress=False)
    hoam.ensemble.save(truth, folder / "truth.zarr")
    truth = hoam.ensemble.load(folder / "truth.zarr")
    hoam.fit(
        truth,
        key=key,
        structure="kinetic",
        potential=hoam.VectorField(width=8, depth=2),
        training=hoam.Training(iterations=20, n_samples=32, block=10),
        progress=False,
    ).save(folder / "model.hoam")
    model = hoam.load(folder / "model.hoam")
    times = truth["time"].values[[0, 3, -1]]
    runs = {"key": key, "n_samples": 64, "progress": False}
    learned = hoam.simulate(model, {"mu": [1.2, 1.5]}, times, initial=truth, **runs)
    scores = hoam.compare(truth.isel(time=[0, 3, -1]).drop_vars("quadrature_weight"), learned)
    assert np.isfinite(scores["sliced_wasserstein"].sel(reference="surrogate")).all()
    with hoam.use_surrogate("two_stream", hoam.pretrained("two_stream")):
        shipped = hoam.simulate("two_stream", {"mu": [1.25]}, times, **runs)
    assert np.isfinite(shipped["x"]).all()


if __name__ == "__main__":
    import_everything()
    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder))
    where = f"hoam_plugin {hoam.__version__} in {Path(hoam.__file__).parent}"
    print(f"{where}, jax {jax.__version__}: all modules import, the first steps run")
