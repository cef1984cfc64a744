"""Many runs into one store: files, reads, workers, and what a kill leaves. `python -m benchmarks.campaign`."""

from __future__ import annotations

import argparse
import functools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

import hoam_plugin as hoam
from benchmarks import report
from hoam_plugin import ensembles
from hoam_plugin.simulation.sinks import StoreOptions, ZarrSink
from hoam_plugin.simulators import two_stream
from hoam_plugin.steppers import Variable

N_TIMES, N_RUNS = 256, 8
SLAB = 16


def old_store(path: Path, values: np.ndarray) -> None:
    """One run in the layout of the version before: a compressed file per saved time."""
    import zarr

    array = zarr.open_group(path, mode="w").create_array(
        "v", shape=(1, *values.shape), chunks=(1, 1, values.shape[1]), dtype=values.dtype
    )
    for index, row in enumerate(values):
        array[0, index] = row


def new_store(path: Path, values: np.ndarray, n_runs: int, n_times: int) -> None:
    """The first times of one run in a store for all of them."""
    frame = ensembles.frame(np.arange(float(n_times)), {"mu": np.linspace(1.2, 1.9, n_runs)})
    variables = (Variable("x", period=50.0), Variable("v", velocity_of="x"))
    options = StoreOptions(n_at_once=n_runs, campaign=True)
    with ZarrSink(path, frame, variables, (), request={}, options=options) as sink:
        for index, row in enumerate(values):
            sink.put(0, index, {"x": row, "v": row})


def reads(n_samples: int) -> list[list[str]]:
    """A slab of times, one time, and a part of the samples, in both layouts."""
    import zarr

    rng = np.random.default_rng(0)
    values = rng.normal(size=(4 * SLAB, n_samples)).astype(np.float32)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        old_store(folder / "old.zarr", values)
        new_store(folder / "new.zarr", values, N_RUNS, len(values))
        arrays = [
            zarr.open_group(folder / path, mode="r")["v"] for path in ("old.zarr", "new.zarr.unfinished/new.zarr")
        ]
        rows = []
        for said, times, samples in (
            (f"{SLAB} times", slice(SLAB - 3, 2 * SLAB - 3), slice(None)),
            ("one time", slice(7, 8), slice(None)),
            (f"{SLAB} times of a tenth of the samples", slice(SLAB - 3, 2 * SLAB - 3), slice(n_samples // 10)),
        ):
            expected = values[times, samples]
            seconds = []
            for array in arrays:
                assert np.array_equal(array[0, times, samples], expected)
                read = functools.partial(array.__getitem__, (0, times, samples))
                seconds.append(report.median_seconds(read, 7))
            rows.append(
                [f"{n_samples:,}", said, *(f"{1e3 * s:.2f}" for s in seconds), f"{seconds[0] / seconds[1]:.1f}"]
            )
    return rows


def n_files(n_samples: int) -> int:
    """Files of the samples of all runs, from those of a run: all have the same."""
    cut = ensembles.cut(N_TIMES, (n_samples,), 4, 2 * N_RUNS)
    return 2 * N_RUNS * -(-N_TIMES // cut.shards[1])


def simulate(store: Path, n_samples: int, n_steps: int, **options: object) -> object:
    """The runs that are divided among workers, and killed."""
    return hoam.simulate(
        two_stream(),
        {"mu": np.linspace(1.2, 1.9, N_RUNS)},
        np.linspace(0.0, 0.1 * n_steps, 9),
        key=jax.random.key(0),
        n_samples=n_samples,
        dt=0.1,
        store=store,
        progress=False,
        **options,  # type: ignore[arg-type]
    )


def pinned(core: int) -> None:
    """Keep a worker on one core."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[core % len(cores)]})


def cluster(n_workers: int) -> object:
    """Workers of one thread and, where there are as many, a core each."""
    import distributed

    client = distributed.Client(
        distributed.LocalCluster(n_workers=n_workers, threads_per_worker=1, dashboard_address=None, memory_limit=0)
    )
    for core, worker in enumerate(client.nthreads()):
        client.run(pinned, core, workers=[worker])
    return client


def on_workers(folder: Path, n_samples: int, n_steps: int) -> list[list[str]]:
    """Seconds of the same campaign on one worker and on two; compiled before."""
    seconds = []
    for n_workers in (1, 2):
        client = cluster(n_workers)
        try:
            simulate(folder / f"warm{n_workers}.zarr", n_samples, 9, client=client)
            began = time.perf_counter()
            simulate(folder / f"workers{n_workers}.zarr", n_samples, n_steps, client=client)
            seconds.append(time.perf_counter() - began)
        finally:
            client.cluster.close()
            client.close()
    return [
        ["1", f"{seconds[0]:.1f}", "1"],
        ["2", f"{seconds[1]:.1f}", f"{seconds[0] / seconds[1]:.2f}"],
    ]


def same(one: Path, other: Path) -> bool:
    """Whether two stores are equal file by file, but for when they were made."""
    files = [
        {p.relative_to(s): p.read_bytes() for p in s.rglob("*") if p.is_file() and p != s / "zarr.json"}
        for s in (one, other)
    ]
    return files[0] == files[1]


def killed(folder: Path, n_samples: int, n_steps: int) -> list[list[str]]:
    """Kill the process of a campaign, a worker, and the client of a cluster; what is kept, and what comes of it."""
    simulate(folder / "whole.zarr", n_samples, n_steps)
    rows = []
    for said, part in (("the process of `simulate(..., resume=True)`", "alone"), ("the client of a cluster", "client")):
        store = folder / f"{part}.zarr"
        command = [sys.executable, "-m", "benchmarks.campaign", "--part", part, "--store", str(store)]
        command += ["--run-samples", str(n_samples), "--steps", str(n_steps)]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as child:
            kept = _wait_for_runs(store, child)
            child.kill()
        assert child.returncode == -signal.SIGKILL
        simulate(store, n_samples, n_steps, resume=True)
        rows.append([said, f"{kept} of {N_RUNS}", "yes" if same(store, folder / "whole.zarr") else "NO"])
    return [*rows, _worker_killed(folder, n_samples, n_steps)]


def _worker_killed(folder: Path, n_samples: int, n_steps: int) -> list[str]:
    import threading

    client, store = cluster(2), folder / "worker.zarr"

    def kill() -> None:
        _wait_for_runs(store, None)
        os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)

    thread = threading.Thread(target=kill)
    try:
        thread.start()
        simulate(store, n_samples, n_steps, client=client)
        thread.join()
    finally:
        client.cluster.close()
        client.close()
    return ["a worker", "goes on by itself", "yes" if same(store, folder / "whole.zarr") else "NO"]


def _wait_for_runs(store: Path, child: subprocess.Popen[bytes] | None) -> int:
    complete = store.with_name(f"{store.name}.unfinished") / "complete"
    while not (complete.exists() and os.listdir(complete)):
        assert child is None or child.poll() is None
        time.sleep(0.01)
    return len(os.listdir(complete))


def main(arguments: Sequence[str] | None = None) -> None:
    """Write `results/campaign.md`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--samples", type=int, default=1_000_000, help="of the store whose files and reads are measured"
    )
    parser.add_argument("--run-samples", type=int, default=25_000, help="of the runs that are divided and killed")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--part", choices=("alone", "client"), help="one campaign, in this process, to be killed")
    parser.add_argument("--store", type=Path)
    options = parser.parse_args(arguments)
    if options.part == "alone":
        simulate(options.store, options.run_samples, options.steps, resume=True)
    elif options.part == "client":
        simulate(options.store, options.run_samples, options.steps, client=cluster(2))
    else:
        measure(options.samples, options.run_samples, options.steps)


def measure(n_samples: int, run_samples: int, n_steps: int) -> None:
    """All tables."""
    read = [row for n in (n_samples, 25_000) for row in reads(n)]
    with tempfile.TemporaryDirectory() as name:
        kills = killed(Path(name), run_samples, n_steps)
        divided = on_workers(Path(name), run_samples, n_steps)
    load = f"load average {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} core(s) of this process"
    text = [
        "# Campaigns",
        f"`python -m benchmarks.campaign`. {report.machine(['hoam-plugin', 'jax', 'zarr', 'distributed'])} At the end: "
        f"{load}.",
        "## Files and reads",
        f"{n_samples:,} samples (x and v), {N_TIMES} times, {N_RUNS} runs: **{n_files(n_samples)} files** of samples; "
        f"{2 * N_RUNS * N_TIMES} before, one per run, time and variable. Reads of one variable of one run, by zarr, "
        "files in the page cache:",
        report.table(["samples", "read", "before, ms", "now, ms", "ratio"], read),
        "## Killed by SIGKILL",
        f"{N_RUNS} runs of `two_stream`, {run_samples:,} samples, {n_steps} steps; resumed in this process. Equal: "
        "every file of the store, byte by byte, to that of an undisturbed `simulate`.",
        report.table(["killed", "complete runs kept", "equal"], kills),
        "## Workers",
        f"The same campaign on local workers of one thread and one core each. {_meaning()}",
        report.table(["workers", "s", "ratio"], divided),
    ]
    report.write("campaign", "\n\n".join(text))


def _meaning() -> str:
    """What the ratio of workers says on this machine."""
    if len(os.sched_getaffinity(0)) > 1:
        return "Other jobs, as in the load above, take from both."
    return (
        "This process had one core, which both workers shared with other jobs: two get a larger share of it than one, "
        "and the ratio says nothing about scaling. To be measured on a machine with two idle cores."
    )


if __name__ == "__main__":
    main()
