"""Files that are damaged, or made to do harm, given to all that read them.

    python tests/campaigns/hostile_files.py models 1000 0

damages a model 1000 times, by cutting it off or by flipping bits, with the seed 0. Whatever comes back must be what was
saved, or an error of one sentence; what is neither ends the campaign. Prints what happened as JSON.
"""

from __future__ import annotations

import collections
import faulthandler
import json
import resource
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin import ensembles
from hoam_plugin.surrogates import file_format
from hoam_plugin.training import checkpoints

ROOT = Path(__file__).parents[2]
SECONDS = 60
REFUSALS = (ValueError, TypeError, FileNotFoundError)


def small_ensemble() -> xr.Dataset:
    rng = np.random.default_rng(0)
    samples = rng.standard_normal((2, 3, 200)).astype(np.float32)
    coords = {"time": [0.0, 0.5, 1.0], "mu": ("run", [1.0, 2.0])}
    return xr.Dataset({"y": (("run", "time", "sample"), samples)}, coords, {"seed": 1})


def weights_of(path: Path) -> list[np.ndarray]:
    import jax

    return [np.asarray(leaf) for leaf in jax.tree.leaves(hoam.load(path).learned.weights)]


def checkpoint_of(path: Path) -> list[np.ndarray]:
    found = checkpoints.read(path, *_settings_of_checkpoint())
    assert not isinstance(found, Path)
    return [np.asarray(leaf) for state in found.states for leaf in state]


def _settings_of_checkpoint() -> tuple[str, str]:
    metadata = file_format.read(ROOT / "tests/fixtures/version_0_1/checkpoint.hoam").metadata
    return metadata["configuration"], metadata["training"]["data"]


def ensemble_of(path: Path) -> list[np.ndarray]:
    ds = ensembles.load(path)
    return [np.asarray(ds[name].values) for name in ("y", "time", "mu")]


def make(kind: str, folder: Path) -> tuple[Path, Callable[[Path], list[np.ndarray]]]:
    """An honest file or folder, and what reads it."""
    if kind == "models":
        return Path(shutil.copy(ROOT / "hoam_plugin/shipped/models/oscillator.hoam", folder / "model.hoam")), weights_of
    if kind == "checkpoints":
        source = ROOT / "tests/fixtures/version_0_1/checkpoint.hoam"
        return Path(shutil.copy(source, folder / "checkpoint.hoam")), checkpoint_of
    suffix = {"stores": ".zarr", "netcdf": ".nc"}[kind]
    return ensembles.save(small_ensemble(), folder / f"truth{suffix}"), ensemble_of


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Cut off somewhere, or with one to eight bits turned over."""
    if rng.random() < 0.3:
        return content[: int(rng.integers(len(content)))]
    changed = bytearray(content)
    for _ in range(int(rng.integers(1, 9))):
        changed[int(rng.integers(len(changed)))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def is_a_sentence(said: str) -> bool:
    return bool(said) and "\n" not in said and len(said) < 1000


def outcome(read: Callable[[Path], list[np.ndarray]], path: Path, honest: list[np.ndarray]) -> str:
    """What came of reading: "refused", "unharmed", or "changed" numbers that nobody was told of."""
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = read(path)
    except REFUSALS as error:
        return "refused" if is_a_sentence(str(error)) else f"refused in other words: {error!r}"
    finally:
        faulthandler.cancel_dump_traceback_later()
    same = len(found) == len(honest) and all(map(np.array_equal, found, honest))
    return "unharmed" if same else "changed"


def campaign(kind: str, n: int, seed: int) -> dict[str, object]:
    """Damage n times, and count what came of it."""
    rng, counts = np.random.default_rng(seed), collections.Counter[str]()
    with tempfile.TemporaryDirectory() as name:
        honest_path, read = make(kind, Path(name))
        honest = read(honest_path)
        outcome(read, honest_path, honest)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        # Files beside it, which nobody may touch.
        (Path(name) / "bystander").write_text("mine")
        files = sorted(p for p in honest_path.rglob("*") if p.is_file()) if honest_path.is_dir() else [honest_path]
        for _ in range(n):
            victim = files[int(rng.integers(len(files)))]
            content = victim.read_bytes()
            victim.write_bytes(damaged(content, rng))
            counts[outcome(read, honest_path, honest)] += 1
            victim.write_bytes(content)
        assert sorted(p.name for p in Path(name).iterdir()) == sorted([honest_path.name, "bystander"])
        assert (Path(name) / "bystander").read_text() == "mine"
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    unheard = set(counts) - {"refused", "unharmed", "changed"}
    assert not unheard, unheard
    return {"kind": kind, "n": n, "seed": seed, **counts, "memory_grown_mb": round(grown, 1)}


if __name__ == "__main__":
    print(json.dumps(campaign(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
