"""Threads and processes that fit, register, select, swap, read and write the same things at the same time.

    python tests/campaigns/concurrency.py threads 16 4 0
    python tests/campaigns/concurrency.py processes 8 20 0

Sixteen threads do everything four times, each in an order of its own drawn with the seed 0; eight processes write and
read the same paths twenty times. What hangs for two minutes is shown with all stacks and ended. Prints what happened as
JSON.
"""

from __future__ import annotations

import collections
import contextlib
import faulthandler
import json
import multiprocessing
import random
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import warm

sys.path.append(str(Path(__file__).parents[1] / "helpers"))

import jax
import kills
import numpy as np
import restarts
import toy
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin import ensembles, registry
from hoam_plugin.inspection import look_at
from hoam_plugin.trust.fold_store import FoldStore

_MOST_SECONDS = 120.0
_LEVELS = (1.0, 2.0, 3.0)
_lock = threading.Lock()


def show_what_hangs(seconds: float = _MOST_SECONDS) -> None:
    """Show all stacks and end, unless this is called again soon enough."""
    with _lock:
        faulthandler.dump_traceback_later(seconds, exit=True)


def small_fit(seed: int) -> hoam.Surrogate:
    """All share a compilation."""
    return toy.small_surrogate(toy.moving_gaussian(n_samples=256), seed=seed)


def digest_of(model: hoam.Surrogate) -> str:
    return warm.digest_of_arrays([np.asarray(leaf) for leaf in jax.tree.leaves(model.learned.weights)])


class Shared:
    """What all threads work with, and what is right.

    Args:
        folder: for files.
    """

    def __init__(self, folder: Path) -> None:
        import small_steppers  # which computes as it is imported

        self.folder, self.small = folder, small_steppers
        self.models = [small_fit(seed) for seed in (1, 2, 3)]
        self.digests = [digest_of(model) for model in self.models]
        self.run = warm.digest_of_ensemble(self.simulated(None))
        registry.register("shared", self.small.OrnsteinUhlenbeck())
        for model in self.models:
            registry.register("shared", model)
        kills.save_ensemble(folder / "truth.zarr", 1.0)
        kills.save_model(folder / "model.hoam", 1.0)

    def simulated(self, store: Path | None, **options: bool) -> xr.Dataset:
        return self.small.run(self.small.OrnsteinUhlenbeck(), store=store, **options).load()

    def fits(self, rng: random.Random) -> None:
        number = rng.randrange(3)
        assert digest_of(small_fit(number + 1)) == self.digests[number]

    def selects(self, rng: random.Random) -> None:
        mine, inner = rng.sample(self.models, 2)
        with registry.use_surrogate("shared", mine):
            for _ in range(20):
                assert registry.stepper("shared") is mine, "the choice of another thread"
                with registry.use_surrogate("shared", inner):
                    time.sleep(0)
                    assert registry.stepper("shared") is inner, "the choice of another thread"
        assert isinstance(registry.stepper("shared"), self.small.OrnsteinUhlenbeck)

    def registers(self, rng: random.Random) -> None:
        name, model = f"own_{threading.get_ident()}", rng.choice(self.models)
        registry.register(name, self.small.OrnsteinUhlenbeck())
        registry.register(name, model, default=True)
        registry.register("shared", rng.choice(self.models))
        assert registry.stepper(name) is model
        assert name in registry.names()
        registry.unregister(name)

    def swaps(self, rng: random.Random) -> None:
        import jax_md_surrogates as md

        from hoam_plugin.adapters import jax_md

        names = [md.surrogate()], [md.surrogate(("x", "v"))]
        with jax_md.replacing("nve", rng.choice(names)[0]):
            assert getattr(md.simulate.nve, "__wrapped__", None) is not None, "put back while this block needs it"

    def writes(self, rng: random.Random) -> None:
        level = rng.choice(_LEVELS)
        kills.save_ensemble(self.folder / "truth.zarr", level)
        kills.save_model(self.folder / "model.hoam", level)

    def reads(self, rng: random.Random) -> None:
        assert kills.level_of_model(self.folder / "model.hoam") in _LEVELS
        # A folder may be replaced under the eyes of who reads it, which then is an error.
        assert any(self.found_whole() for _ in range(20)), "never found a whole ensemble"

    def found_whole(self) -> bool:
        try:
            return kills.level_of_ensemble(self.folder / "truth.zarr") in _LEVELS
        except (ValueError, FileNotFoundError):
            return False

    def streams(self, rng: random.Random) -> None:
        own = self.folder / f"{threading.get_ident()}_{rng.random()}.zarr"
        assert warm.digest_of_ensemble(self.simulated(own)) == self.run
        with contextlib.suppress(FileExistsError):  # who comes second says so
            assert warm.digest_of_ensemble(self.simulated(self.folder / "streamed.zarr", resume=True)) == self.run

    def looks(self, rng: random.Random) -> None:
        odd = toy.moving_gaussian(n_samples=64).rename(mu="undeclared")
        found = look_at(odd.assign_coords(mu=("run", [1.0, 2.0, 3.0])))
        assert not found.error, found.error


def in_threads(n: int, rounds: int, seed: int) -> dict[str, object]:
    """Everything at once."""
    done, failures = collections.Counter[str](), list[str]()
    with tempfile.TemporaryDirectory() as temporary:
        shared = Shared(Path(temporary))
        works: list[Callable[[random.Random], None]] = [
            *(shared.fits, shared.selects, shared.registers, shared.swaps),
            *(shared.writes, shared.reads, shared.streams, shared.looks),
        ]
        for work in works:  # what is imported for the first time may add filters
            work(random.Random(seed))
        filters, show = list(warnings.filters), warnings.showwarning
        barrier = threading.Barrier(n)

        def everything(number: int) -> None:
            rng = random.Random(seed * n + number)
            barrier.wait()
            for _ in range(rounds):
                for work in rng.sample(works, len(works)):
                    show_what_hangs()
                    try:
                        work(rng)
                        done[work.__name__] += 1
                    except BaseException as error:
                        failures.append(f"{work.__name__}: {error!r}")

        threads = [threading.Thread(target=everything, args=(i,)) for i in range(n)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures, "\n".join(failures)
        changed = [one for one in warnings.filters if one not in filters] + [
            one for one in filters if one not in warnings.filters
        ]
        assert not changed, f"filters of warnings are not what they were: {changed}"
        assert warnings.showwarning is show
        assert warm.digest_of_ensemble(ensembles.load(shared.folder / "streamed.zarr")) == shared.run
        hidden = [path.name for path in shared.folder.iterdir() if path.name.startswith(".")]
        assert not hidden, hidden
    faulthandler.cancel_dump_traceback_later()
    return {"what": "threads", "threads": n, "rounds": rounds, "failures": len(failures), **done}


# Processes, which write the same path at the same time


def new_model(path: Path, level: float) -> None:
    kills.file_format.save(path, kills.contents(level))


def new_ensemble(path: Path, level: float) -> None:
    ensembles.save(kills.small_ensemble(level), path)


def fold(path: Path, level: float) -> None:
    store = FoldStore(path, {"asked": "the same"})
    store.write(0, kills.small_ensemble(level))
    assert store.read(0) is not None


def level_of_fold(path: Path) -> float:
    return kills.level_of_ensemble(path / "fold_0.zarr")


def whole(digest: Callable[[Path], str]) -> Callable[[Path], object]:
    return lambda path: digest(path)


# Name of the path, what is done, what is found there, and how many can be done: all, one, or those that find it done.
CONTESTS: dict[str, tuple[str, Callable[[Path, float], object], Callable[[Path], object], str]] = {
    "a new model": ("model.hoam", new_model, kills.level_of_model, "one"),
    "a new ensemble, Zarr": ("truth.zarr", new_ensemble, kills.level_of_ensemble, "one"),
    "a new ensemble, netCDF": ("truth.nc", new_ensemble, kills.level_of_ensemble, "one"),
    "a model, overwritten": ("model.hoam", kills.save_model, kills.level_of_model, "all"),
    "an ensemble, overwritten": ("truth.zarr", kills.save_ensemble, kills.level_of_ensemble, "all"),
    "a fold of a cross-validation": ("folds", fold, level_of_fold, "all"),
    "an import": ("truth.zarr", lambda p, _: restarts.importing(3, 3)(p), whole(restarts.digest_of_store), "some"),
    "a resumed simulation": ("s.zarr", lambda p, _: restarts.simulate(p), whole(restarts.digest_of_store), "some"),
}


def in_processes(n: int, rounds: int, seed: int) -> dict[str, object]:
    """The same path, at the same time."""
    fork = multiprocessing.get_context("fork")
    barrier, results = fork.Barrier(n), fork.SimpleQueue()
    found: dict[str, collections.Counter[str]] = {name: collections.Counter() for name in CONTESTS}

    def contend(number: int, root: Path) -> None:
        for turn in range(rounds):
            for kind, (name, work, _, _) in CONTESTS.items():
                show_what_hangs()
                path = root / f"{turn}" / kind / name
                barrier.wait()
                try:
                    work(path, _LEVELS[number % 3])
                    ended = "written"
                except FileExistsError as error:
                    ended = "refused" if "\n" not in str(error) and str(path) in str(error) else repr(error)
                except BaseException as error:
                    ended = repr(error)
                results.put((turn, kind, ended))
                barrier.wait()
        faulthandler.cancel_dump_traceback_later()

    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        for turn in range(rounds):
            for kind in CONTESTS:
                (root / f"{turn}" / kind).mkdir(parents=True)
        children = [fork.Process(target=contend, args=(i, root)) for i in range(n)]
        for child in children:
            child.start()
        said: dict[tuple[int, str], collections.Counter[str]] = collections.defaultdict(collections.Counter)
        for _ in range(n * rounds * len(CONTESTS)):
            show_what_hangs(2 * _MOST_SECONDS)
            turn, kind, ended = results.get()
            said[turn, kind][ended] += 1
        for child in children:
            child.join()
            assert child.exitcode == 0, child.exitcode
        for (turn, kind), ends in said.items():
            name, _, level_of, wins = CONTESTS[kind]
            assert set(ends) <= {"written", "refused"}, (kind, ends)
            assert ends["written"] == {"one": 1, "all": n}.get(wins, ends["written"]) >= 1, (kind, ends)
            assert level_of(root / f"{turn}" / kind / name), kind
            left = sorted(path.name for path in (root / f"{turn}" / kind).iterdir())
            assert left == [name], (kind, left)
            found[kind] += ends
    faulthandler.cancel_dump_traceback_later()
    return {"what": "processes", "processes": n, "rounds": rounds, "found": found}


if __name__ == "__main__":
    what, *numbers = sys.argv[1:]
    print(json.dumps({"threads": in_threads, "processes": in_processes}[what](*map(int, numbers))))
