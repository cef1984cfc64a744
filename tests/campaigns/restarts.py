"""Long work that is killed and goes on: at random moments, or before every operation on files.

    python tests/campaigns/restarts.py moments fit 100 0
    python tests/campaigns/restarts.py operations simulate 1

The first kills a training with checkpoints a hundred times, at moments drawn with the seed 0; the second a simulation
into a store before its first, second, ... operation on files, until one comes through (with 5 in place of 1 only before
every fifth). In place of killing, `read_only` lets operations fail from there on, and `full 20` lets files grow to a
part of their size only, at twenty places: an error of one line. After each, what lies under a final name must be whole.
Then the same call goes on in another process: its result must be that of undisturbed work, to the bit, and nothing else
may lie beside it. Works are fit, long fit, simulate, import, tree, an import of runs of different times, and folds, a
cross-validation. Prints what happened as JSON.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import warm

sys.path.append(str(Path(__file__).parents[1] / "helpers"))

import jax
import kills
import numpy as np
import toy
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin import ensembles
from hoam_plugin.ensemble import from_snapshots
from hoam_plugin.surrogates import file_format
from hoam_plugin.training import checkpoints


@dataclasses.dataclass(frozen=True)
class Work:
    """What is killed.

    Attributes:
        name: of its result.
        run: does it, or goes on with it.
        digest: of the result, which must be whole.
        others: further names under which something whole may lie, of the same kind.
    """

    name: str
    run: Callable[[Path], object]
    digest: Callable[[Path], str]
    others: tuple[str, ...] = ()


def fit(path: Path, iterations: int = 40) -> None:
    goes_on = path.exists() or checkpoints.previous(path).exists()
    with warnings.catch_warnings():
        # A surrogate that no disk takes is returned with this warning; here it is to lie on one.
        warnings.filterwarnings("error", "the trained surrogate could not be written")
        try:
            hoam.fit(
                toy.moving_gaussian(n_samples=256),
                key=jax.random.key(1),
                potential=hoam.CoLoRA(width=8, depth=2, rank=2, hyper_width=5),
                loss=hoam.ActionMatching(epsilon=0.0),
                training=hoam.Training(
                    iterations=iterations, n_samples=64, block=10, learning_rate=2e-2, warmup=10, checkpoint_seconds=0.0
                ),
                progress=False,
                **({"resume": path} if goes_on else {"checkpoint": path}),
            )
        except UserWarning as warning:
            raise OSError(str(warning)) from warning


def digest_of_model(path: Path) -> str:
    found = file_format.read(path)
    assert found.history is not None
    weights = [np.asarray(array) for name, array in sorted(found.arrays.items()) if name.startswith("weights")]
    return warm.digest_of_arrays([*weights, found.history["loss"].values])


def simulate(path: Path) -> None:
    import small_steppers  # which computes as it is imported

    parameters = {"theta": [1.0, 2.0, 3.0], "sigma": 0.5}
    small_steppers.run(small_steppers.OrnsteinUhlenbeck(), parameters, store=path, resume=True)


def digest_of_store(path: Path) -> str:
    runs = ensembles.load_runs(path)
    nodes = [runs] if isinstance(runs, xr.Dataset) else [node.to_dataset() for node in runs.children.values()]
    return " ".join(map(warm.digest_of_ensemble, nodes))


def importing(*lengths: int) -> Callable[[Path], None]:
    def snapshots(n_times: int) -> list[dict[str, object]]:
        rng = np.random.default_rng(n_times)
        n = 200
        return [
            {"time": 0.5 * i, "x": rng.normal(i, 1.0, n), "weights": rng.uniform(0.1, 1, n)} for i in range(n_times)
        ]

    def run(path: Path) -> None:
        options = {"n_samples": 64, "key": jax.random.key(0), "progress": False, "parameters": {"mu": [1.0, 2.0]}}
        try:
            from_snapshots([snapshots(n) for n in lengths], store=path, **options)
        except FileExistsError:  # it was complete
            if not path.exists():
                raise

    return run


def cross_validate(path: Path) -> None:
    hoam.cross_validate(
        toy.moving_gaussian((1.0, 2.0, 3.0, 4.0), n_samples=128),
        key=jax.random.key(1),
        potential=hoam.MLP(width=4, depth=2),
        loss=hoam.ActionMatching(epsilon=0.0),
        training=hoam.Training(iterations=4, n_samples=32, block=2, held_out=0, feedback=False),
        store=path,
        progress=False,
    )


def digest_of_folds(path: Path) -> str:
    return " ".join(warm.digest_of_ensemble(ensembles.read(fold)) for fold in sorted(path.glob("fold_*.zarr")))


WORKS = {
    # Of which more lies between the first checkpoint and the end.
    "long fit": Work("model.hoam", lambda path: fit(path, 600), digest_of_model, ("model.hoam.previous",)),
    "fit": Work("model.hoam", fit, digest_of_model, ("model.hoam.previous",)),
    "simulate": Work("truth.zarr", simulate, digest_of_store),
    "import": Work("truth.zarr", importing(3, 3), digest_of_store),
    "tree": Work("truth.zarr", importing(2, 3), digest_of_store),
    "folds": Work("folds", cross_validate, digest_of_folds),
}


def going_on(work: Work) -> Callable[[Path], object]:
    """Does the rest of the work in a folder: how far it was, the digest, and what lies there in the end."""

    def go_on(folder: Path) -> tuple[str, str, list[str]]:
        before = {path.name for path in folder.iterdir()}
        found = {name: work.digest(folder / name) for name in (work.name, *work.others) if name in before}
        work.run(folder / work.name)
        hidden = [path.name for path in folder.rglob("*") if path.name.startswith(".") or path.suffix == ".partial"]
        digest, after = work.digest(folder / work.name), sorted({*(path.name for path in folder.iterdir()), *hidden})
        reached = "not begun" if not before else "complete" if found.get(work.name) == digest else "under way"
        return reached, digest, after

    return go_on


Disturbed = Callable[[Work, Path], bool]


def campaign(kind: str, killed: Disturbed, most: int) -> dict[str, object]:
    """Kill as long as `killed` says that it was, at most so often."""
    work, found = WORKS[kind], collections.Counter[str]()
    warnings.filterwarnings("error", module=r"zarr\.|xarray\.")  # of what was left, which is no matter of the user's
    with warm.compiled_code_kept(), tempfile.TemporaryDirectory() as temporary:
        other = warm.Other(going_on(work))
        folder = Path(temporary) / "work"
        folder.mkdir()
        _, wanted, left = other(folder)  # type: ignore[misc]
        assert left == [work.name], left
        for n in range(most):
            shutil.rmtree(folder)
            folder.mkdir()
            if not killed(work, folder):
                break
            reached, digest, left = other(folder)  # type: ignore[misc]
            assert digest == wanted, f"kill {n}: other numbers after {reached}"
            assert left == [work.name], f"kill {n}: {left} after {reached}"
            found[reached] += 1
    return {"kind": kind, "kills": sum(found.values()), **found}


def moments(kind: str, n: int, seed: int) -> dict[str, object]:
    """Kill at random moments between the begin and the end of undisturbed work."""
    rng, seconds = random.Random(seed), 0.0

    def killed(work: Work, folder: Path) -> bool:
        nonlocal seconds
        if not seconds:
            start = time.monotonic()
            assert warm.ended(warm.begun(lambda: work.run(folder / work.name))) == 0
            seconds = time.monotonic() - start
            shutil.rmtree(folder)
            folder.mkdir()
        child = warm.begun(lambda: work.run(folder / work.name))
        time.sleep(rng.uniform(0.0, 1.05 * seconds))
        os.kill(child, signal.SIGKILL)
        assert warm.ended(child) in (0, -signal.SIGKILL)
        return True

    return {"what": "moments", **campaign(kind, killed, n)}


def operations(kind: str, stride: int) -> dict[str, object]:
    """Kill before every `stride`-th operation on files."""
    return {"what": "operations", **campaign(kind, _at_operations(stride, kills.die_before_operation), 1 << 20)}


def read_only(kind: str, stride: int) -> dict[str, object]:
    """Refuse operations on files from every `stride`-th on."""
    return {"what": "read_only", **campaign(kind, _at_operations(stride, kills.refuse_from_operation), 1 << 20)}


def _at_operations(stride: int, disturb: Callable[[int, Path], None]) -> Disturbed:
    n = 1 - stride

    def killed(work: Work, folder: Path) -> bool:
        nonlocal n
        n += stride

        def run() -> None:
            disturb(n, folder)
            work.run(folder / work.name)

        code = warm.ended(warm.begun(run))
        assert code in (0, 3, -signal.SIGKILL), code
        return code != 0

    return killed


def full(kind: str, places: int) -> dict[str, object]:
    """Let files grow to a part of the size of the largest one only."""
    place, size = 0, 0

    def disturbed(work: Work, folder: Path) -> bool:
        nonlocal place, size
        if not size:
            assert warm.ended(warm.begun(lambda: work.run(folder / work.name))) == 0
            size = max(path.stat().st_size for path in (folder, *folder.rglob("*")) if path.is_file())
            shutil.rmtree(folder)
            folder.mkdir()
        limit, place = place * size * 9 // (10 * places), place + 1

        def run() -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            warnings.simplefilter("ignore")  # of checkpoints that could not be written
            work.run(folder / work.name)

        assert warm.ended(warm.begun(run)) == 3
        return True

    return {"what": "full", **campaign(kind, disturbed, places)}


if __name__ == "__main__":
    what, kind, *numbers = sys.argv[1:]
    campaigns = {"moments": moments, "operations": operations, "read_only": read_only, "full": full}
    print(json.dumps(campaigns[what](kind, *map(int, numbers))))
