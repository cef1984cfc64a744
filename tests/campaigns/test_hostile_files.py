"""Damaged files, and files that are made to do harm: what was saved, or one sentence."""

import io
import json
import pickle
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from repository import ROOT

import hoam_plugin as hoam
from hoam_plugin.surrogates import file_format

MODEL = ROOT / "hoam_plugin" / "shipped" / "models" / "oscillator.hoam"
QUICK = {"models": 60, "checkpoints": 100, "stores": 60, "netcdf": 60}


@pytest.mark.parametrize("n", [None, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", list(QUICK))
def test_damaged_files_are_refused_in_one_sentence_or_read_as_they_were(kind: str, n: int | None) -> None:
    # In a process of its own, which a library may take down, or keep for ever.
    words = [sys.executable, str(Path(__file__).with_name("hostile_files.py")), kind, str(n or QUICK[kind]), "0"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["refused"] > 0
    assert found.get("changed", 0) == 0, found
    assert found["memory_grown_mb"] < 64, found


def members() -> dict[str, bytes]:
    with zipfile.ZipFile(MODEL) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def written(path: Path, contents: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    return path


def npy(array: np.ndarray, *, allow_pickle: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()


def text(metadata: str) -> dict[str, bytes]:
    return {"metadata.npy": npy(np.frombuffer(metadata.encode(), np.uint8))}


class Harmful:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return exec, (f"open({str(self.path)!r}, 'w').write('harm')",)


def changed(**entries: object) -> dict[str, bytes]:
    """The model with other metadata."""
    own = members()
    raw = np.lib.format.read_array(io.BytesIO(own["metadata.npy"])).tobytes()
    return {**own, **text(json.dumps({**json.loads(raw), **entries}))}


def header(shape: str) -> bytes:
    """An array of four bytes that declares another shape."""
    return npy(np.zeros(1, np.float32)).replace(b"(1,), }" + b" " * (len(shape) - 4), f"{shape}, }}".encode())


WEIGHT = "weights/layers/0/W.npy"
ATTACKS = {
    "bomb": lambda: ({**members(), "bomb.npy": bytes(50_000_000)}, zipfile.ZIP_DEFLATED),
    "huge shape": lambda: ({**members(), WEIGHT: header("(1000000000000,)")}, zipfile.ZIP_STORED),
    "deep JSON": lambda: ({**members(), **text("[" * 200_000)}, zipfile.ZIP_STORED),
    "deep object": lambda: ({**members(), **text('{"a":' * 100_000)}, zipfile.ZIP_STORED),
    "long metadata": lambda: ({**members(), **text("[" + "{}," * 500_000 + "{}]")}, zipfile.ZIP_STORED),
    "no object": lambda: ({**members(), **text("[1, 2]")}, zipfile.ZIP_STORED),
    "without parts": lambda: (text('{"format": "hoam-surrogate", "version": 3}'), zipfile.ZIP_STORED),
    "without variables": lambda: (changed(variables=None), zipfile.ZIP_STORED),
    "layers for ever": lambda: (changed(potential={"kind": "MLP", "depth": 10**9, "width": 8}), zipfile.ZIP_STORED),
    "other shapes": lambda: ({**members(), WEIGHT: npy(np.zeros((3, 3), np.float32))}, zipfile.ZIP_STORED),
    "unknown arguments": lambda: (
        changed(stepper='{"name": "oscillator", "arguments": {"__class__": 1}}'),
        zipfile.ZIP_STORED,
    ),
    "no stepper": lambda: (changed(stepper="[[[["), zipfile.ZIP_STORED),
    "no npy": lambda: ({**members(), WEIGHT: b"\x93NUMPY\x09\x09"}, zipfile.ZIP_STORED),
}


@pytest.mark.parametrize("attack", list(ATTACKS))
def test_models_that_are_made_to_do_harm(attack: str, tmp_path: Path) -> None:
    contents, compression = ATTACKS[attack]()
    path = written(tmp_path / "model.hoam", contents, compression)
    hoam.load(MODEL)
    tracemalloc.start()
    try:
        with pytest.raises((ValueError, TypeError)) as caught:
            hoam.load(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    said = str(caught.value)
    assert said
    assert "\n" not in said
    assert len(said) < 600
    assert peak < 2 * path.stat().st_size + 4_000_000, peak


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    harm = tmp_path / "harm"
    objects = np.empty(1, object)
    objects[0] = Harmful(harm)
    path = written(tmp_path / "model.hoam", {**members(), WEIGHT: npy(objects, allow_pickle=True)})
    with pytest.raises(ValueError, match="holds Python objects, which are never read"):
        hoam.load(path)
    (tmp_path / "pickle.hoam").write_bytes(pickle.dumps(Harmful(harm)))
    with pytest.raises(ValueError, match="is not a surrogate file"):
        hoam.load(tmp_path / "pickle.hoam")
    assert not harm.exists()


def test_names_are_no_paths(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    names = {
        f"{start}escaped.npy": npy(np.zeros(1, np.float32)) for start in ("../", "/tmp/../", "..\\", "weights/../../")
    }
    hoam.load(written(inside / "model.hoam", {**members(), **names}))
    assert [path.name for path in tmp_path.rglob("*")] == ["inside", "model.hoam"]


def test_stores_that_name_code_or_declare_what_is_not_there(tmp_path: Path) -> None:
    harm, store = tmp_path / "harm", tmp_path / "truth.zarr"
    store.mkdir()
    (store / ".zgroup").write_text('{"zarr_format": 2}')
    described = {
        "zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "|O", "fill_value": None, "order": "C",
        "compressor": None, "filters": [{"id": "pickle", "protocol": 5}],
    }  # fmt: skip
    (store / "y").mkdir()
    (store / "y" / ".zarray").write_text(json.dumps(described))
    (store / "y" / ".zattrs").write_text('{"_ARRAY_DIMENSIONS": ["run"]}')
    (store / "y" / "0").write_bytes(pickle.dumps([Harmful(harm)]))
    for lazy in (False, True):
        with pytest.raises(ValueError, match="names a codec that runs code of the file"):
            hoam.ensemble.load(store, lazy=lazy)
    assert not harm.exists()

    y = np.zeros((1, 2, 4), np.float32)
    honest = xr.Dataset({"y": (("run", "time", "sample"), y)}, {"time": [0.0, 1.0]})
    path = hoam.ensemble.save(honest, tmp_path / "large.zarr")
    metadata = json.loads((path / "y" / "zarr.json").read_text())
    metadata["shape"] = [1, 2, 10**12]
    (path / "y" / "zarr.json").write_text(json.dumps(metadata))
    with pytest.raises(ValueError, match="it declares 8000000000016 bytes, and has"):
        hoam.ensemble.load(path)
    (path / "zarr.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="is not a readable Zarr or netCDF ensemble"):
        hoam.ensemble.load(path)


def test_checkpoints_without_parts(tmp_path: Path) -> None:
    held = file_format.read(MODEL)
    with (
        pytest.raises(ValueError, match="is not a surrogate file, or is truncated"),
        file_format.damage_named(tmp_path),
    ):
        held.arrays["training/guard"]


def test_an_ensemble_whose_stepper_is_no_description() -> None:
    from hoam_plugin.registry import rebuild_stepper

    for attribute in ("{", "[]", '{"name": 1}', '{"name": "x", "arguments": 3}', "[" * 100_000):
        with pytest.raises(ValueError, match="does not describe a stepper") as caught:
            rebuild_stepper(xr.Dataset(attrs={"stepper": attribute}))
        assert len(str(caught.value)) < 300
