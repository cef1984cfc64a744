"""A newcomer's way in a fresh environment: install, a first swap with a surrogate that comes along, own arrays judged.

python -m benchmarks.newcomer DIST/hoam_plugin-VERSION-py3-none-any.whl
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import report

SWAP = """
import jax, numpy as np, hoam_plugin as hoam

with hoam.use_surrogate("two_stream", hoam.pretrained("two_stream")):
    ds = hoam.simulate("two_stream", {"mu": [1.25]}, np.linspace(0, 40, 129), key=jax.random.key(0), n_samples=25_000)
print("largest electric energy", ds["electric_energy"].max().item())
"""

# Of a code that has nothing to do with JAX, particles in a double well; not counted.
FOREIGN_CODE = """
import numpy as np

rng, times, theta = np.random.default_rng(0), np.linspace(0.0, 2.0, 41), np.array([0.5, 1.0, 1.5, 2.0, 2.5])
x = np.empty((theta.size, times.size, 2_000), np.float32)
x[:, 0] = rng.normal(0.0, 0.5, (theta.size, 2_000))
for i, dt in enumerate(np.diff(times)):
    force = theta[:, None] * x[:, i] - x[:, i] ** 3
    x[:, i + 1] = x[:, i] + force * dt + 0.3 * np.sqrt(dt) * rng.normal(size=force.shape)
np.savez("samples.npz", x=x, time=times, theta=theta)
"""

OWN_ARRAYS = """
import jax, numpy as np, xarray as xr, hoam_plugin as hoam
from hoam_plugin.scores import verdict_table

data, key = np.load("samples.npz"), jax.random.key(0)
ds = xr.Dataset({"x": (("run", "time", "sample"), data["x"])}, {"time": data["time"], "theta": ("run", data["theta"])})
training, held = ds.isel(run=[0, 1, 3, 4]), ds.isel(run=[2])
model = hoam.fit(training, key=key)
learned = hoam.simulate(model, {"theta": held["theta"].values}, data["time"], key=key, n_samples=2_000, initial=held)
print(model.history.attrs["verdict"])
print(verdict_table(hoam.compare(held, learned, training=training)))
"""


def lines(script: str) -> int:
    """Lines of code."""
    return sum(bool(line.strip()) for line in script.splitlines())


def seconds(command: list[str], folder: Path) -> tuple[float, str]:
    """Wall time of a command, and what it prints."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    began = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return time.perf_counter() - began, done.stdout.strip()


def main() -> None:
    """Walk the way, with everything in a folder of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=Path)
    wheel = parser.parse_args().wheel.resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python = str(folder / "venv" / "bin" / "python")
        made, _ = seconds([sys.executable, "-m", "venv", "venv"], folder)
        installed, _ = seconds([python, "-m", "pip", "install", "--quiet", "--no-cache-dir", str(wheel)], folder)
        rows = [["make an environment, install the wheel", f"{made + installed:.0f} s", "2 commands", ""]]
        seconds([python, "-c", FOREIGN_CODE], folder)
        steps = {
            "first swap, with `hoam.pretrained`": SWAP,
            "the same once more": SWAP,
            "own arrays to scores at a parameter that was not trained on": OWN_ARRAYS,
        }
        said = {}
        for title, script in steps.items():
            took, said[title] = seconds([python, "-c", script], folder)
            rows.append([title, f"{took:.0f} s", f"{lines(script)} lines"])
            rows[-1].append(said[title].splitlines()[0])
        total = f"{sum(float(row[1].split()[0]) for row in rows) / 60:.1f} min"
    header = ["step", "wall time", "code", "first line that it prints"]
    text = [
        "# A newcomer's way",
        "",
        "In an environment of its own, away from the checkout, each step in a new process, start of Python and",
        "compilation among it. Downloads come from a package index near the machine.",
        "",
        report.table(header, [*rows, ["all", total, "", ""]]),
        "",
        "The first swap:",
        "",
        f"```text{SWAP}```",
        "",
        "Own arrays (five runs that a code has written into a file; the third is held out):",
        "",
        f"```text{OWN_ARRAYS}```",
        "",
        "which prints",
        "",
        f"```text\n{list(said.values())[-1]}\n```",
        "",
        report.machine(["jax", "jaxlib"]) + " Other jobs were running on it.",
    ]
    report.write("newcomer", "\n".join(text))


if __name__ == "__main__":
    main()
