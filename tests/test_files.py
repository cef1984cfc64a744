"""Writing aside and renaming: what was there stays until the new content is complete, and nothing is left behind."""

import os
from pathlib import Path

import pytest

from hoam_plugin.files import require_writable, written_aside


def put(path: Path, kind: str, text: str) -> None:
    if kind == "folder":
        path.mkdir()
        path = path / "data"
    path.write_text(text)


def content(path: Path) -> str:
    return (path / "data" if path.is_dir() else path).read_text()


@pytest.mark.parametrize("old", [None, "file", "folder"])
@pytest.mark.parametrize("new", ["file", "folder"])
def test_new_content_replaces_old_content_of_either_kind(tmp_path, old, new):
    target = tmp_path / "result"
    if old:
        put(target, old, "old")
    with written_aside(target) as aside:
        put(aside, new, "new")
        if old:
            assert content(target) == "old"
    assert content(target) == "new"
    assert os.listdir(tmp_path) == ["result"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_failure_or_an_interrupt_leaves_the_old_content_and_no_debris(tmp_path, kind):
    target = tmp_path / "result"
    put(target, kind, "old")

    def interrupted() -> None:
        with written_aside(target) as aside:
            put(aside, kind, "half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert content(target) == "old"
    assert os.listdir(tmp_path) == ["result"]


def test_existing_paths_are_refused_unless_told_otherwise(tmp_path):
    target = tmp_path / "result"
    target.write_text("old")
    with pytest.raises(FileExistsError, match=r"store='.*result' exists; .* overwrite=True \(--overwrite\)"):
        require_writable(target, overwrite=False, name="store")
    assert require_writable(target, overwrite=True) == target
    assert os.listdir(tmp_path) == ["result"]


def test_missing_folders_are_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"path='.*new' cannot be written: its folder '.*absent' does not exist"
    ):
        require_writable(tmp_path / "absent" / "new", overwrite=False)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that even root cannot write to")
def test_unwritable_folders_are_named():
    with pytest.raises(OSError, match=r"path='/proc/self/model' cannot be written: .* in '/proc/self'"):
        require_writable("/proc/self/model", overwrite=False)
