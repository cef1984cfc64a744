"""Commands that are told to end, by Ctrl-C or by SIGTERM as batch systems send it, at random moments.

    python tests/campaigns/signals.py simulate 50 0

runs `hoam simulate` fifty times, sends one of the two signals at a moment drawn with the seed 0, and expects an end
within seconds, one sentence, no traceback, the exit code 130 or 143 (or 0 where all was done), nothing hidden and
nothing half-written. Then the command goes on in another process, to the same numbers, to the bit. Others are fit,
import and demo. With a further word, `begin`, Python starts anew each time, and the signal comes in its first moments.
Prints what happened as JSON.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import importlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import warm

sys.path.append(str(Path(__file__).parents[1] / "helpers"))

import numpy as np
import restarts
import toy

from hoam_plugin import __main__ as process
from hoam_plugin import ensembles
from hoam_plugin._internal import ending
from hoam_plugin.cli.app import main

# Beyond the time after which it is ended by force.
_MOST_SECONDS = ending.GRACE_SECONDS + 3.0
# Imported before anything is ended.
_LIBRARIES = {"import": ("MDAnalysis",), "demo": ("matplotlib.figure", "optax"), "fit": ("optax",)}
_SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143}


@dataclasses.dataclass(frozen=True)
class Command:
    """What is ended.

    Attributes:
        words: after `hoam`; "IN" stands for the folder of its inputs.
        output: its result.
        digest: of the result.
        goes_on: the words that are added, given the folder, where it is begun again; None where it is complete.
        kept: what else lies there in the end.
    """

    words: tuple[str, ...]
    output: str
    digest: Callable[[Path], str]
    goes_on: Callable[[Path], Sequence[str] | None]
    kept: tuple[str, ...] = ()

    def line(self, inputs: Path, folder: Path) -> list[str]:
        """All words."""
        return [word.replace("IN", str(inputs)) for word in self.words] + ["-o", str(folder / self.output)]


def _of_fit(folder: Path) -> Sequence[str] | None:
    if (folder / "model.hoam.checkpoint").exists():
        return ["--resume"]
    return None if (folder / "model.hoam").exists() else []


def digest_of_demo(path: Path) -> str:
    """Of the populations; times that phases took are in there as well."""
    return " ".join(restarts.digest_of_store(path / name) for name in ("training.zarr", "truth.zarr"))


_SMALL = ("--width", "8", "--depth", "2", "--rank", "1", "--samples", "64")
COMMANDS = {
    "fit": Command(
        ("fit", "IN/truth.zarr", "--iterations", "1000", *_SMALL),
        "model.hoam",
        restarts.digest_of_model,
        _of_fit,
        ("model.hoam.config.toml",),
    ),
    "simulate": Command(
        ("simulate", "two_stream", "-p", "mu=1.2:1.9:6", "--samples", "4000", "--times", "0:20:6", "--resume"),
        "truth.zarr",
        restarts.digest_of_store,
        lambda folder: [],
        ("truth.zarr.config.toml",),
    ),
    "import": Command(
        (*("import", *6 * ("IN/run.lammpstrj",), "--lammps-units", "lj", "--timestep", "0.01"), "-p", "kT=1:2:6"),
        "truth.zarr",
        restarts.digest_of_store,
        lambda folder: [],
    ),
    "demo": Command(
        ("demo", *["--samples", "400", "--runs", "2", "--nodes", "8", "--saved-times", "9", "--iterations", "10"]),
        "demo",
        digest_of_demo,
        lambda folder: None if (folder / "demo").exists() else [],
        ("demo.config.toml",),
    ),
}


def write_inputs(folder: Path) -> None:
    """An ensemble to learn from, and a trajectory to import."""
    ensembles.save(toy.moving_gaussian(n_samples=256), folder / "truth.zarr")
    rng, n, lines = np.random.default_rng(0), 200, []
    for step in range(6):
        bounds = ["0.0 10.0"] * 3
        head = ["ITEM: TIMESTEP", str(step), "ITEM: NUMBER OF ATOMS", str(n), "ITEM: BOX BOUNDS pp pp pp", *bounds]
        rows = [f"{i + 1} 1 {x:.6f} {y:.6f} {z:.6f}" for i, (x, y, z) in enumerate(rng.uniform(0, 10, (n, 3)))]
        lines += [*head, "ITEM: ATOMS id type x y z", *rows]
    (folder / "run.lammpstrj").write_text("\n".join(lines) + "\n")


def as_process(words: Sequence[str], log: Path) -> None:
    """What a new process does once it has imported the package, its last moments left out."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["hoam", *words]
    take = ending.Ending.begin

    def take_those_that_came(own: ending.Ending) -> None:
        take(own)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    ending.Ending.begin = take_those_that_came  # type: ignore[method-assign]
    try:
        process.main()
    except SystemExit as end:
        os._exit(end.code if isinstance(end.code, int) else 1)


def waited(child: int) -> tuple[int, float]:
    """How a fork ended, and how long that took; it is killed where it takes too long."""
    start = time.monotonic()
    while time.monotonic() - start < _MOST_SECONDS:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status), time.monotonic() - start
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    raise AssertionError(f"still there {_MOST_SECONDS} s after the signal: {warm.ended(child)}")


def require_one_sentence(text: str, code: int) -> None:
    """One line says that it was interrupted, where it was, and none where Python was."""
    assert "Traceback" not in text, text
    assert "Exception ignored" not in text, text
    said = [line for line in text.splitlines() if line.startswith("hoam: interrupted: ")]
    assert len(said) == (code != 0), text


def campaign(kind: str, n: int, seed: int) -> dict[str, object]:
    """End a command at random moments."""
    for name in ("zarr", *_LIBRARIES.get(kind, ())):
        importlib.import_module(name)
    command, rng, found, waits = COMMANDS[kind], random.Random(seed), collections.Counter[str](), []
    with warm.compiled_code_kept(), tempfile.TemporaryDirectory() as temporary:
        inputs, folder, log = Path(temporary) / "inputs", Path(temporary) / "work", Path(temporary) / "log"
        inputs.mkdir()
        assert warm.ended(warm.begun(lambda: write_inputs(inputs))) == 0

        def go_on(folder: Path) -> tuple[str, list[str]]:
            more, complete = command.goes_on(folder), (folder / command.output).exists()
            if more is not None:
                with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.redirect_stdout(io.StringIO()):
                    code = main([*command.line(inputs, folder), *more])
                # What is complete is refused, and that is the next start.
                assert code == 0 or (code == 2 and complete), said.getvalue()
            return command.digest(folder / command.output), sorted(path.name for path in folder.iterdir())

        other = warm.Other(go_on)
        folder.mkdir()
        wanted, left = other(folder)  # type: ignore[misc]
        assert left == sorted([command.output, *command.kept]), left
        seconds = 0.0
        for i in range(-1, n):
            shutil.rmtree(folder)
            folder.mkdir()
            start = time.monotonic()
            # They wait until the command has come to take them.
            signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
            child = warm.begun(lambda: as_process(command.line(inputs, folder), log))
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            if i < 0:  # how long it takes
                assert warm.ended(child) == 0, log.read_text()
                seconds = time.monotonic() - start
                continue
            number = rng.choice(list(_SIGNALS))
            time.sleep(rng.uniform(0.0, seconds))
            os.kill(child, number)
            code, wait = waited(child)
            text = log.read_text()
            assert code in (0, _SIGNALS[number]), f"{i}: {code}: {text}"
            require_one_sentence(text, code)
            hidden = [path.name for path in folder.iterdir() if path.name.startswith(".")]
            assert not hidden, f"{i}: {hidden}: {text}"
            digest, left = other(folder)  # type: ignore[misc]
            assert digest == wanted, f"{i}: other numbers: {text}"
            assert left == sorted([command.output, *command.kept]), f"{i}: {left}: {text}"
            forced = "within a computation" in text
            found["complete" if code == 0 else "forced" if forced else "interrupted"] += 1
            waits.append(wait)
            warm.said(f"{kind} {i}: {code} after {wait:.2f} s: {text.splitlines()[-1] if text else ''}")
    slowest = {"median_seconds": round(float(np.median(waits)), 2), "longest_seconds": round(max(waits), 2)}
    return {"kind": kind, "signals": n, **found, **slowest}


def beginning(kind: str, n: int, seed: int) -> dict[str, object]:
    """Send signals to new processes while they start; what had not begun is not gone on with."""
    rng, found, waits = random.Random(seed), collections.Counter[str](), []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_inputs(folder)
        for i in range(n):
            number = rng.choice(list(_SIGNALS))
            words = [sys.executable, "-m", "hoam_plugin", *COMMANDS[kind].line(folder, folder)]
            child = subprocess.Popen(
                words,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )
            time.sleep(1.5 * rng.random() ** 3)  # half of them in its first 0.2 s
            child.send_signal(number)
            start = time.monotonic()
            text = child.communicate(timeout=60)[1]
            waits.append(time.monotonic() - start)
            if child.returncode == _SIGNALS[number]:
                require_one_sentence(text, child.returncode)
                found["interrupted"] += 1
            else:  # Python itself had not got so far as to run any of our code
                assert child.returncode == -number, f"{i}: {child.returncode}: {text}"
                found["before Python ran our code"] += 1
            assert sorted(path.name for path in folder.iterdir()) == ["run.lammpstrj", "truth.zarr"]
    seconds = {"longest_seconds": round(max(waits), 2), "seconds_before_our_code": round(_seconds_of_python(), 3)}
    return {"kind": kind, "signals": n, **found, **seconds}


def _seconds_of_python() -> float:
    """Of a new process, until our first line that takes signals; the median."""
    code, taken = "import time; from hoam_plugin.__main__ import main; print(time.monotonic())", []
    for _ in range(15):
        start = time.monotonic()
        taken.append(float(subprocess.check_output([sys.executable, "-c", code])) - start)
    return float(np.median(taken))


if __name__ == "__main__":
    kind, n, seed, *begin = sys.argv[1:]
    print(json.dumps((beginning if begin else campaign)(kind, int(n), int(seed))))
