"""Runs of `simulate` on 8 devices beside those on one: a script, since JAX has its devices from start.

`python runs_on_devices.py OUT`: what differs goes to OUT, as JSON.
"""

import json
import os
import sys
from pathlib import Path

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"

import jax

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

import numpy as np  # noqa: E402
from jax.sharding import Mesh  # noqa: E402
from repository import ROOT  # noqa: E402
from small_steppers import Decay, OrnsteinUhlenbeck, run  # noqa: E402

import hoam_plugin as hoam  # noqa: E402
from hoam_plugin.simulation import spreading, workers  # noqa: E402
from hoam_plugin.simulators import two_stream  # noqa: E402


def mesh_of(n, axis="runs"):
    return Mesh(np.asarray(jax.devices()[:n]), (axis,))


def difference(one, other):
    """The largest, relative to the largest value."""
    return max(
        float(np.abs(one[name].values - other[name].values).max() / np.abs(one[name].values).max())
        for name in one.data_vars
        if one[name].dtype.kind == "f"
    )


plasma = two_stream(n_cells=32, horizon=(0.0, 2.0), dt=0.1)
learned = hoam.load(ROOT / "tests" / "fixtures" / "version_0_1" / "gradient.hoam")
law = {"theta": np.linspace(0.5, 2.0, 11).tolist(), "sigma": 0.3}
cases = {
    "eleven runs": (OrnsteinUhlenbeck(), law, {"rates": True}),
    "plasma": (plasma, {"mu": [1.2, 1.5, 1.8]}, {}),
    "surrogate": (learned, {"mu": [1.3, 1.5, 1.7]}, {"times": [0.0, 0.3, 1.5]}),
    "one run": (OrnsteinUhlenbeck(), {"theta": 1.0, "sigma": 0.3}, {}),
    "one plasma": (plasma, {"mu": 1.5}, {}),
    "one surrogate": (learned, {"mu": 1.5}, {"times": [0.0, 0.3, 1.5]}),
    "no parameters": (Decay(), {}, {"times": [1.0, 2.0]}),
}
n_devices, differences, used = {}, {}, []
spread_of = spreading.spread_of


def noting(*arguments):
    used.append(spread_of(*arguments))
    return used[-1]


sys.modules["hoam_plugin.simulation.run"].spread_of = noting
for name, (stepper, parameters, options) in cases.items():
    options = {"n_samples": 64} | options
    differences[name] = difference(
        run(stepper, parameters, **options), run(stepper, parameters, mesh=mesh_of(8), **options)
    )
    n_devices[name] = used[-1].devices.n
workers.have_accelerator = lambda: True
run(OrnsteinUhlenbeck(), law)
n_devices["by default"] = used[-1].devices.n


def message(**options):
    try:
        run(OrnsteinUhlenbeck(), {"theta": 1.0, "sigma": 0.3}, **options)
    except ValueError as error:
        return str(error)
    return "nothing"


messages = {
    "samples": message(mesh=mesh_of(8), n_samples=50),
    "axes": message(mesh=Mesh(np.asarray(jax.devices()).reshape(2, 4), ("a", "b"))),
}
Path(sys.argv[1]).write_text(json.dumps({"differences": differences, "n_devices": n_devices, "messages": messages}))
