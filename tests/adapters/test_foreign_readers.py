"""What holds for every reader of other codes' files; the readers are found, not listed."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from pathlib import Path

import jax
import pytest

from hoam_plugin import adapters
from hoam_plugin.ensemble import from_snapshots
from hoam_plugin.importing import shelf

MODULES = [
    importlib.import_module(f"hoam_plugin.adapters.{found.name}") for found in pkgutil.iter_modules(adapters.__path__)
]
READERS: dict[str, Callable[..., object]] = {
    module.__name__.rpartition(".")[2]: module.read for module in MODULES if hasattr(module, "read")
}
COMMON = ("parameters", "period", "store", "overwrite", "progress")


def arguments(name: str) -> dict[str, object]:
    """Those that a reader needs beside the runs."""
    needed = inspect.signature(READERS[name]).parameters
    given = {"species": "electron", "n_samples": 8, "key": jax.random.key(0), "progress": False}
    return {word: value for word, value in given.items() if word in needed}


def finished_import(store: Path) -> None:
    """A complete store, and beside it what an import leaves that is killed at its very end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shelf.DiskShelf, "clear", lambda self: None)
        snapshots = [{"time": time, "x": [0.0, 1.0, 2.0]} for time in (0.0, 1.0)]
        from_snapshots(snapshots, n_samples=2, key=jax.random.key(0), store=str(store), progress=False)
    assert store.with_name(f"{store.name}.import").is_dir()


def test_there_are_readers() -> None:
    assert {"epoch", "mdanalysis", "openpmd"} <= set(READERS)


@pytest.mark.parametrize("name", READERS)
def test_a_store_that_exists_is_refused_before_files_are_looked_for(name: str, tmp_path: Path) -> None:
    store = tmp_path / "truth.zarr"
    finished_import(store)
    with pytest.raises(FileExistsError, match="overwrite"):
        READERS[name](tmp_path / "not_there", store=str(store), **arguments(name))
    assert [path.name for path in tmp_path.iterdir()] == ["truth.zarr"], "what the earlier import left is gone"


@pytest.mark.parametrize("name", READERS)
def test_a_store_that_cannot_be_written_is_refused_before_files_are_looked_for(name: str, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no_folder"):
        READERS[name](tmp_path / "not_there", store=str(tmp_path / "no_folder" / "truth.zarr"), **arguments(name))


def test_arguments_that_all_have_are_the_same() -> None:
    signatures = {name: inspect.signature(reader).parameters for name, reader in READERS.items()}
    for word in COMMON:
        found = {(str(own[word].kind), own[word].default, own[word].annotation) for own in signatures.values()}
        assert len(found) == 1, f"{word}: {found}"
