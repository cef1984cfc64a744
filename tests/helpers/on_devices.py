"""A small training on several devices, or in one of several processes: a script, since JAX has its devices from start.

`python on_devices.py OUT --devices 8 --meshes 1 2 8`, or in each of two processes `--process 0 --of 2 --port P`, with
a mesh of the devices of both. What it finds goes to `OUT.<process>.npz`.
"""

import argparse
import os
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("out", type=Path)
parser.add_argument("--devices", type=int, default=1)
parser.add_argument("--meshes", type=int, nargs="+", default=[], help="numbers of devices; 0 says nothing of a mesh")
parser.add_argument("--process", type=int, default=0)
parser.add_argument("--of", type=int, default=1)
parser.add_argument("--port", type=int)
options = parser.parse_args()

count = f"--xla_force_host_platform_device_count={options.devices}"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {count}"

import jax  # noqa: E402

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
if options.of > 1:
    jax.distributed.initialize(f"localhost:{options.port}", options.of, options.process)

import numpy as np  # noqa: E402
import toy  # noqa: E402
from jax.sharding import Mesh  # noqa: E402

import hoam_plugin as hoam  # noqa: E402
from hoam_plugin import ensembles  # noqa: E402
from hoam_plugin._internal.devices import devices_of  # noqa: E402
from hoam_plugin.ensembles import passes, reading, validation  # noqa: E402
from hoam_plugin.training import checkpoints, iterations, spreading, windows  # noqa: E402

seen: dict[str, list] = {"prepared": [], "fingerprints": [], "n_devices": [], "passed": []}
over_runs = ensembles.over_runs
prepared, fingerprint = windows.TrainingSamples._prepared, checkpoints.fingerprint
devices_of_training, spread_block = spreading.devices_of_training, iterations._spread_block
found = {}


def noting_runs(self, run, window):
    seen["prepared"].append(run)
    return prepared(self, run, window)


def noting_passes(n_runs, of_run, **how):
    def noted(run):
        if passes._sharing.get() is not None:
            seen["passed"].append(run)
        return of_run(run)

    return over_runs(n_runs, noted, **how)


def noting_fingerprints(data):
    seen["fingerprints"].append(fingerprint(data))
    return seen["fingerprints"][-1]


def noting_devices(*arguments):
    found = devices_of_training(*arguments)
    seen["n_devices"].append(1 if found is None else found.n)
    return found


def noting_code(setup, devices, state, *arguments):
    if devices.n == 8 and "code" not in found:
        found["code"] = spread_block.lower(setup, devices, state, *arguments).compile().as_text()
        found["bytes_of_weights"] = sum(leaf.nbytes for leaf in jax.tree.leaves(state.weights))
    return spread_block(setup, devices, state, *arguments)


windows.TrainingSamples._prepared = noting_runs
for module in (validation, reading):
    module.over_runs = noting_passes
iterations._spread_block = noting_code
checkpoints.fingerprint = noting_fingerprints
spreading.devices_of_training = noting_devices


def mesh_of(n: int) -> Mesh | None:
    return Mesh(np.asarray(jax.devices()[:n]), ("samples",)) if n else None


def trained(mesh: Mesh | None, path: Path | None = None, **sizes: int) -> hoam.Surrogate:
    """Samples lie in two windows that take turns."""
    sizes = {"n_samples": 32, "n_end_samples": 64, "iterations": 200} | sizes
    return hoam.fit(
        toy.moving_gaussian(dtype=np.float64),
        key=jax.random.key(0),
        potential=hoam.CoLoRA(width=8, depth=2, hyper_depth=2),
        loss=hoam.ActionMatching(),
        training=hoam.Training(**sizes, block=50, feedback=False, sample_memory=400_000),
        checkpoint=path,
        mesh=mesh,
        progress=False,
    )


def message(call) -> str:
    try:
        call()
    except (ValueError, RuntimeError) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


for n in options.meshes or [len(jax.devices())]:
    model = trained(mesh_of(n), options.out.with_suffix(f".{options.process}.{n}.hoam"))
    assert model.history is not None
    found[f"losses_{n}"] = model.history["loss"].values
    found[f"validation_{n}"] = model.history["validation"].values
if options.of > 1:

    def fails_in_one() -> None:
        if options.process == 1:
            raise ValueError("this one failed")

    found["failed"] = message(lambda: devices_of(mesh_of(options.of), "samples").together(fails_in_one))
    found["of_others"] = message(lambda: trained(mesh_of(1)) if options.process else None)
elif options.devices == 8:
    found["not_divided"] = message(lambda: trained(mesh_of(8), n_samples=12))
    found["ends_not_divided"] = message(lambda: trained(mesh_of(8), n_end_samples=7))
    found["default_not_divided"] = message(lambda: trained(mesh_of(8), n_samples=None, n_times=3))
np.savez(options.out.with_suffix(f".{options.process}.npz"), **found, **seen)
