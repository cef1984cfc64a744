"""Killed between any two operations on files, or out of disk: the old content or the new one, whole, and no debris."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hoam_plugin._internal import leftovers
from hoam_plugin._internal.files import written_aside

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="audit hooks and forks as on Linux")


def run(*words: str) -> dict[str, int]:
    command = [sys.executable, str(Path(__file__).with_name("kills.py")), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, int] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    "kind", ["model", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("store", "netcdf"))]
)
def test_killed_before_every_operation(kind: str) -> None:
    found = run("kill", kind)
    assert found["operations"] >= 5
    assert found["old"] >= 3
    assert found["old"] + found["new"] == found["operations"] + 1


@pytest.mark.parametrize(
    "kind", ["model", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("store", "netcdf"))]
)
def test_killed_at_random_moments(kind: str) -> None:
    found = run("moments", kind, "20", "0")
    assert found["old"] >= 1
    assert found["old"] + found.get("new", 0) == found["kills"] == 20


@pytest.mark.parametrize("kind", ["model", pytest.param("store", marks=pytest.mark.slow)])
def test_out_of_disk_at_every_place(kind: str) -> None:
    assert run("full", kind)["old"] == 100


def in_another_process(code: str) -> None:
    prelude = "from pathlib import PosixPath; from hoam_plugin._internal.leftovers import name_aside; "
    subprocess.run([sys.executable, "-c", prelude + code], check=True)


def test_what_dead_processes_left_goes_and_what_others_write_stays(tmp_path: Path) -> None:
    target = tmp_path / "truth.zarr"
    mine = leftovers.name_aside(target, "partial")
    in_another_process(f"name_aside({target!r}, 'partial').mkdir(); name_aside({target!r}, 'probe').touch()")
    assert len(list(tmp_path.iterdir())) == 2
    mine.touch()
    elsewhere = tmp_path / ".truth.zarr.00000000-1-00000000.partial"
    other_path = tmp_path / f".other{mine.name.removeprefix('.truth')}"
    for path in (elsewhere, other_path):
        path.touch()
    with written_aside(target) as aside:
        aside.mkdir()
    assert set(tmp_path.iterdir()) == {target, mine, elsewhere, other_path}


def test_what_a_dead_process_had_moved_aside_comes_back(tmp_path: Path) -> None:
    target = tmp_path / "truth.zarr"
    in_another_process(f"name_aside({target!r}, 'old').write_text('old')")
    leftovers.clear(target)
    assert target.read_text() == "old"
