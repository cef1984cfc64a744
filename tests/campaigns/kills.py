"""Processes that are killed, or run out of disk, between any two operations on files.

    python tests/campaigns/kills.py kill store

saves an ensemble over an older one again and again, and kills the process before its first, second, ... operation on
files (opening to write, renaming, removing, making a folder, fsync), until one comes through. After each the path must
hold the old content or the new one, whole, and after the next save nothing else may lie beside it. `full` lets writing
fail from a byte on, for a hundred places, in place of killing, and `read_only` lets every operation fail from the n-th
on. `moments store 100 0` kills at a hundred moments drawn with the seed 0 between begin and end of an undisturbed save.
Prints what happened as JSON.
"""

from __future__ import annotations

import collections
import errno
import functools
import json
import math
import os
import random
import re
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr

from hoam_plugin import ensembles
from hoam_plugin.surrogates import file_format

_EVENTS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "shutil.rmtree"}
_PLACES = 100
# What is said where the disk is at fault.
SENTENCE = r"[^\n]*could not be written[^\n]*|[^\n]*cannot be written[^\n]*"


def small_ensemble(level: float) -> xr.Dataset:
    samples = level + np.random.default_rng(0).standard_normal((3, 4, 2000)).astype(np.float32)
    return xr.Dataset(
        {"y": (("run", "time", "sample"), samples)}, {"time": [0.0, 0.5, 1.0, 2.0], "mu": ("run", [1, 2, 3.0])}
    )


def contents(level: float) -> file_format.Contents:
    return file_format.Contents({"level": level}, {"weights": np.full(20_000, level, np.float32)})


def save_model(path: Path, level: float) -> None:
    file_format.save(path, contents(level), overwrite=True)


def level_of_model(path: Path) -> float:
    found = file_format.read(path)
    (level,) = np.unique(found.arrays["weights"]).tolist()
    assert level == found.metadata["level"]
    return float(level)


def save_ensemble(path: Path, level: float) -> None:
    ensembles.save(small_ensemble(level), path, overwrite=True)


def level_of_ensemble(path: Path) -> float:
    found = ensembles.load(path)
    (level,) = (level for level in (1.0, 2.0, 3.0) if _same(found, ensembles.validate(small_ensemble(level))))
    return level


def _same(one: xr.Dataset, other: xr.Dataset) -> bool:
    """In place of `one.equals(other)`, which changes the filters of warnings of all threads while it compares."""
    return set(one.variables) == set(other.variables) and all(
        array.dims == other.variables[name].dims and np.array_equal(array.values, other.variables[name].values)
        for name, array in one.variables.items()
    )


Save = Callable[[Path, float], None]
KINDS: dict[str, tuple[str, Save, Callable[[Path], float]]] = {
    "model": ("model.hoam", save_model, level_of_model),
    "store": ("truth.zarr", save_ensemble, level_of_ensemble),
    "netcdf": ("truth.nc", save_ensemble, level_of_ensemble),
}


def die_before_operation(n: int, folder: Path | None = None) -> None:
    """Kill this process before its n-th operation on files; of a folder, if one is given."""
    before_operation(n, lambda: os.kill(os.getpid(), signal.SIGKILL), folder)


def refuse_from_operation(n: int, folder: Path | None = None) -> None:
    """From the n-th operation on files on, refuse it, as a disk that has become read-only."""

    def refuse() -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    before_operation(n, refuse, folder)


def before_operation(n: int, act: Callable[[], None], folder: Path | None) -> None:
    """Do something before the n-th operation on files and every later one."""
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        if done >= n:
            act()

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if (writes or event in _EVENTS) and (folder is None or lies_in(folder, arguments[0])):
            count()

    synchronise = os.fsync

    def counted(descriptor: int) -> None:
        count()
        synchronise(descriptor)

    os.fsync = counted  # type: ignore[assignment]
    sys.addaudithook(hook)


def lies_in(folder: Path, path: object) -> bool:
    """Whether an audited path lies in a folder; what is relative to an open folder belongs to a removal there."""
    if not isinstance(path, str | bytes | os.PathLike):
        return False
    text = os.fsdecode(path)
    return not os.path.isabs(text) or text.startswith(os.fspath(folder))


def in_a_child(work: Callable[[], None], killed_after: float = math.inf) -> int:
    """Do something in a fork, and how it ended: 0, 3 after a clear OSError, or the signal, negative."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except OSError as error:
            os._exit(3 if re.fullmatch(SENTENCE, str(error)) else 4)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(5)
        os._exit(0)
    if killed_after < math.inf:
        time.sleep(killed_after)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def attacked(
    kind: str, folder: Path, first: Callable[[], None], killed_after: Callable[[float], float] = lambda _: math.inf
) -> tuple[int, str]:
    """Save, and save something else over it under attack: how that ended, and which of the two is there, whole.

    Args:
        kind: of what is saved.
        folder: where; nothing else may lie there after the undisturbed save.
        first: what the process that is attacked does before it saves.
        killed_after: when it is killed, if the undisturbed save took so many seconds.
    """
    name, save, level_of = KINDS[kind]
    path, start = folder / name, time.monotonic()
    assert in_a_child(lambda: save(path, 1.0)) == 0
    seconds = time.monotonic() - start
    assert sorted(p.name for p in folder.iterdir()) == [name], "leftovers after the next save"

    def work() -> None:
        first()
        save(path, 2.0)

    ended = in_a_child(work, killed_after(seconds))
    return ended, checked(lambda: level_of(path))


def at_every_operation(kind: str, folder: Path, disturb: Callable[[int], None], expected: int) -> dict[str, object]:
    """Disturb the first, second, ... operation, which ends the process as expected, until a save comes through."""
    found = collections.Counter[str]()
    n, ended = 0, expected
    while ended == expected:
        n += 1
        ended, content = attacked(kind, folder, functools.partial(disturb, n))
        assert ended in (0, expected), ended
        found[content] += 1
    return {"kind": kind, "operations": n - 1, **found}


def kill(kind: str, folder: Path) -> dict[str, object]:
    """Kill before every operation, one after the other, until a save comes through."""
    return {"what": "kill", **at_every_operation(kind, folder, die_before_operation, -signal.SIGKILL)}


def read_only(kind: str, folder: Path) -> dict[str, object]:
    """Refuse every operation from the first, second, ... on, until a save comes through."""
    return {"what": "read_only", **at_every_operation(kind, folder, refuse_from_operation, 3)}


def moments(kind: str, folder: Path, n: int, seed: int) -> dict[str, object]:
    """Kill at random moments between the begin and the end of an undisturbed save."""
    found, rng = collections.Counter[str](), random.Random(seed)
    for _ in range(n):
        ended, content = attacked(kind, folder, lambda: None, lambda seconds: rng.uniform(0.0, 1.05 * seconds))
        assert ended in (0, -signal.SIGKILL), ended
        found[content] += 1
    return {"what": "moments", "kind": kind, "kills": n, **found}


def full(kind: str, folder: Path) -> dict[str, object]:
    """Let writing to files fail from a byte on, as on a full disk."""
    name, save, level_of = KINDS[kind]
    path, found = folder / name, collections.Counter[str]()
    assert in_a_child(lambda: save(path, 1.0)) == 0
    # Both contents have about as many bytes; up to nine tenths of them, so that the new one never fits.
    size = max(p.stat().st_size for p in (path.rglob("*") if path.is_dir() else [path]))
    for i in range(_PLACES):

        def work(limit: int = i * size * 9 // (10 * _PLACES)) -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            save(path, 2.0)

        ended = in_a_child(work)
        assert ended == 3, ended
        found[checked(lambda: level_of(path))] += 1
        assert sorted(p.name for p in folder.iterdir()) == [name], "leftovers"
    assert set(found) == {"old"}, found
    return {"what": "full", "kind": kind, "places": _PLACES, **found}


def checked(level_of: Callable[[], float]) -> str:
    """Whether the old or the new content is there, whole; read in a child, since threads do not outlive a fork."""
    names = {1.0: 0, 2.0: 10}
    code = in_a_child(lambda: os._exit(20 + names[level_of()]))
    return {20: "old", 30: "new"}[code]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        what = {"kill": kill, "full": full, "read_only": read_only, "moments": moments}[sys.argv[1]]
        print(json.dumps(what(sys.argv[2], Path(temporary), *map(int, sys.argv[3:]))))
