"""`fit` over several devices and processes: losses beside those of one, and what devices tell one another.

Run by `python -m benchmarks.devices`, on the processors of the host, which stand for as many devices as asked for. What
is measured is that the numbers agree and that nothing grows with the samples, not speed: all of them share its cores.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import numpy as np
import xarray as xr
from jax.sharding import Mesh

import hoam_plugin as hoam
from benchmarks import report
from hoam_plugin._internal.devices import devices_of
from hoam_plugin.simulators import two_stream
from hoam_plugin.training import iterations
from hoam_plugin.training.choices import resolve
from hoam_plugin.training.windows import TrainingSamples

_ITERATIONS = 200
# Samples per node, and the devices among which what they tell one another is counted.
_BATCHES, _COUNTED = (16, 256), 8
_BYTES = {"f64": 8, "f32": 4, "s64": 8, "s32": 4, "u64": 8, "u32": 4, "pred": 1}
# A collective operation in compiled code, with the shape of its result, which may be a tuple.
_COLLECTIVE = re.compile(
    r"^.*? = (.*?) (all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute)(?:-start)?\(", re.MULTILINE
)
_SHAPE = re.compile(r"(\w+)\[([\d,]*)\]")
_KEY = 0


class _Kind(NamedTuple):
    """What is learned, and how."""

    structure: Literal["gradient", "kinetic"]
    potential: hoam.CoLoRA | hoam.VectorField
    loss: hoam.ActionMatching | hoam.VelocityMatching


_KINDS = {
    "action matching": _Kind("gradient", hoam.CoLoRA(width=16, depth=2, hyper_depth=2), hoam.ActionMatching()),
    "velocity matching": _Kind("kinetic", hoam.VectorField(width=16, depth=2), hoam.VelocityMatching()),
}


def collective_bytes(compiled: str) -> dict[str, int]:
    """Bytes of the results of all collective operations in compiled code, by kind."""
    found: dict[str, int] = {}
    for shapes, kind in _COLLECTIVE.findall(compiled):
        n_bytes = sum(
            _BYTES[dtype] * math.prod(int(n) for n in sizes.split(",") if n) for dtype, sizes in _SHAPE.findall(shapes)
        )
        found[kind] = found.get(kind, 0) + n_bytes
    return found


def main() -> None:
    """Train in processes of their own, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", type=Path, help="train here, and write what comes of it there")
    parser.add_argument("--of", type=int, default=1, help="processes")
    parser.add_argument("--process", type=int, default=0)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    if options.child is not None:
        jax.config.update("jax_enable_x64", True)
        if options.of > 1:
            jax.distributed.initialize(f"localhost:{options.port}", options.of, options.process)
        np.savez(options.child, **_found())
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cases = {f"{n} device{'s' if n > 1 else ''}": _in_processes(folder / f"{n}", 1, n) for n in (1, 2, 8)}
        cases["2 processes of one device"] = _in_processes(folder / "two", 2, 1)
    report.write("devices", _report(cases))


def _in_processes(out: Path, n_processes: int, n_devices: int) -> list[dict[str, np.ndarray]]:
    """What each of some processes with so many devices finds."""
    # Numbers and volumes are the same however well code is optimised, which takes longer than to run it.
    quick = "--xla_backend_optimization_level=0"
    flags = f"{os.environ.get('XLA_FLAGS', '')} {quick} --xla_force_host_platform_device_count={n_devices}"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    paths = [out.with_suffix(f".{i}.npz") for i in range(n_processes)]
    command = [sys.executable, "-m", "benchmarks.devices", "--child"]
    running = [
        subprocess.Popen(
            [*command, str(path), "--of", str(n_processes), "--process", str(i), "--port", str(port)],
            env=environment,
        )
        for i, path in enumerate(paths)
    ]
    codes = [process.wait() for process in running]
    if any(codes):
        raise SystemExit("a training failed; its own output says why")
    return [dict(np.load(path)) for path in paths]


def _found() -> dict[str, np.ndarray]:
    """Losses of the problem on all devices of all processes, and collective bytes for both batches."""
    truth = hoam.simulate(
        two_stream(n_cells=64, dt=0.1, horizon=(0.0, 4.0)),
        {"mu": [1.2, 1.4, 1.6, 1.8]},
        hoam.quadrature.gauss_legendre(16),
        key=jax.random.key(_KEY),
        n_samples=2048,
        rates=True,
        mesh=Mesh(np.asarray(jax.local_devices()[:1]), ("runs",)),
        progress=False,
    )
    mesh = Mesh(np.asarray(jax.devices()), ("samples",))
    found: dict[str, np.ndarray] = {}
    for name, kind in _KINDS.items():
        model = hoam.fit(
            truth,
            key=jax.random.key(_KEY),
            structure=kind.structure,
            potential=kind.potential,
            loss=kind.loss,
            training=hoam.Training(iterations=_ITERATIONS, n_samples=32, n_times=8, feedback=False),
            mesh=mesh,
            progress=False,
        )
        assert model.history is not None
        found[name] = model.history["loss"].values
        for n in _BATCHES if mesh.size == _COUNTED else ():
            for what, n_bytes in _collectives(truth, kind, n, mesh).items():
                found[f"{name}/{n}/{what}"] = np.asarray(n_bytes)
    return found


def _collectives(truth: xr.Dataset, kind: _Kind, n_samples: int, mesh: Mesh) -> dict[str, int]:
    """Bytes per iteration by kind, and those of the weights and of the samples."""
    choices = resolve(
        truth,
        structure=kind.structure,
        potential=kind.potential,
        loss=kind.loss,
        training=hoam.Training(iterations=_ITERATIONS, n_samples=n_samples, n_times=8, held_out=0),
        replaces=None,
        validate=None,
        clock=None,
        base=None,
    )
    devices = devices_of(mesh, "samples")
    data = TrainingSamples(choices.runs, choices.training, jax.random.key(_KEY), devices=devices).at(0)
    state = iterations.start(choices.setup, jax.random.key(_KEY), data.conditions.shape[-1])
    arguments = devices.everywhere((state, jax.random.key(_KEY), 1))
    compiled = iterations._spread_block.lower(choices.setup, devices, *arguments, data).compile().as_text()
    weights = sum(leaf.nbytes for leaf in jax.tree.leaves(state.weights))
    samples = data.points.shape[-1] * data.points.dtype.itemsize * 8 * n_samples
    return {**collective_bytes(compiled), "of weights": weights, "of samples": samples}


def _report(cases: dict[str, list[dict[str, np.ndarray]]]) -> str:
    one = cases["1 device"][0]
    kinds = [name for name in one if "/" not in name]
    losses = [
        [case, *(f"{max(np.abs(found[kind] - one[kind]).max() for found in processes):.1e}" for kind in kinds)]
        for case, processes in cases.items()
    ]
    sent = []
    for case, (found, *_) in cases.items():
        for kind in kinds if any("/" in key for key in found) else ():
            for n in _BATCHES:
                by_kind = {key.split("/")[2]: int(value) for key, value in found.items() if f"{kind}/{n}/" in key}
                weights, samples = by_kind.pop("of weights"), by_kind.pop("of samples")
                listed = ", ".join(f"{operation} {n_bytes}" for operation, n_bytes in by_kind.items())
                sent.append([case, kind, str(8 * n), listed, str(weights), str(samples)])
    ends = ", ".join(f"{kind}: {one[kind][0]:.4f} to {one[kind][-1]:.4f}" for kind in kinds)
    return "\n\n".join(
        [
            "# Training over several devices",
            "Run by `python -m benchmarks.devices` on " + report.machine(["jax", "jaxlib"]) + " Devices are those that "
            "XLA makes of the host's processors, so that numbers and volumes are measured, not speed.",
            f"Largest difference of the losses over {_ITERATIONS} iterations (float64) from those of a mesh of one "
            f"device, two_stream, 4 runs of 2048 samples, 8 nodes of 32 samples per iteration ({ends}):",
            report.table(["mesh", *kinds], losses),
            "Bytes that collective operations hand to every device in one iteration, counted in the compiled code. An "
            "all-reduce is that of the gradient, the loss and its quadratic part; no other takes place.",
            report.table(
                ["mesh", "loss", "samples per iteration", "bytes by operation", "bytes of weights", "bytes of samples"],
                sent,
            ),
        ]
    )


if __name__ == "__main__":
    main()
