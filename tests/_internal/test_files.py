"""Writing aside and renaming: what was there stays until the new content is complete, and nothing is left behind."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hoam_plugin._internal import unfinished
from hoam_plugin._internal.files import as_path, remove_as_one, require_writable, written_aside


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


@pytest.mark.parametrize("with_system_call", [True, False])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_of_two_that_write_a_new_path_the_first_wins_and_the_second_says_so(
    tmp_path, kind, with_system_call, monkeypatch
):
    if not with_system_call:
        monkeypatch.setattr(unfinished, "_renamed", lambda *_: errno.ENOSYS)
    target = tmp_path / "result"

    def both() -> None:
        with written_aside(target, replace=False) as second:
            put(second, kind, "second")
            with written_aside(target, replace=False) as first:
                put(first, kind, "first")

    with pytest.raises(FileExistsError, match=r"path='.*result' has been written by somebody else in the meantime"):
        both()
    assert content(target) == "first"
    assert os.listdir(tmp_path) == ["result"]


def test_a_folder_is_removed_as_one(tmp_path, monkeypatch):
    target, folder = tmp_path / "truth.zarr", tmp_path / "truth.zarr.import"
    put(folder, "folder", "records")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda _: None)  # killed before it has removed anything
        remove_as_one(folder, target)
    assert not folder.exists()
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".truth.zarr.")


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


def test_home_folders_are_meant_by_a_leading_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert as_path("~/a.nc") == tmp_path / "a.nc"
    assert as_path(Path("~/a.nc")) == tmp_path / "a.nc"
    assert as_path("a~b") == Path("a~b")
    with written_aside("~/result") as aside:
        aside.write_text("new")
    assert require_writable("~/result", overwrite=True).read_text() == "new"
    assert os.listdir(tmp_path) == ["result"]


def test_what_is_no_path_says_so():
    with pytest.raises(TypeError, match=r"checkpoint=3 must be a path, such as 'truth\.zarr'"):
        as_path(3, "checkpoint")


def test_an_interrupt_between_two_renames_leaves_the_old_folder(tmp_path, monkeypatch):
    target = tmp_path / "result"
    put(target, "folder", "old")
    renamed = []

    def rename(source: Path, to: Path) -> None:
        renamed.append(source)
        if len(renamed) == 2:
            raise KeyboardInterrupt
        os.replace(source, to)

    def interrupted() -> None:
        with written_aside(target) as aside:
            put(aside, "folder", "new")
            # As where folders cannot be exchanged in one step.
            monkeypatch.setattr(unfinished, "_exchange", lambda *_: False)
            monkeypatch.setattr(os, "rename", rename)

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert content(target) == "old"
    assert os.listdir(tmp_path) == ["result"]


# Signals

_PUT = """
import os, signal, sys, threading, time
from pathlib import Path
from hoam_plugin._internal.files import written_aside

folder = Path(sys.argv[1])

def write(name, then, text="new"):
    with written_aside(folder / name) as aside:
        aside.mkdir()
        (aside / "data").write_text(text)
        then()
"""


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _PUT + code, str(folder)], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_that_ends_the_process_leaves_nothing_half_written(tmp_path, name):
    put(tmp_path / "old", "folder", "old")
    done = run(
        f"""
ready = threading.Event()

def keep_writing():  # from another thread, for ever
    with written_aside(folder / "thread") as aside:
        ready.set()
        for i in range(10**9):
            aside.mkdir(exist_ok=True)
            (aside / str(i % 100)).write_text("half")

threading.Thread(target=keep_writing, daemon=True).start()
ready.wait()
nested = lambda: write("inner", lambda: signal.raise_signal(signal.{name}))
try:
    write("old", nested)
finally:
    print("the signal was swallowed")
""",
        tmp_path,
    )
    assert done.returncode == -getattr(signal, name)
    assert done.stdout == ""
    assert os.listdir(tmp_path) == ["old"]
    assert content(tmp_path / "old") == "old"


def test_handlers_of_the_user_decide_and_are_left_as_they_were(tmp_path):
    done = run(
        """
default = signal.getsignal(signal.SIGTERM)
write("first", lambda: None)
assert signal.getsignal(signal.SIGTERM) is default
seen = []
own = lambda number, frame: seen.append(number)
signal.signal(signal.SIGTERM, own)
write("second", lambda: signal.raise_signal(signal.SIGTERM))
assert signal.getsignal(signal.SIGTERM) is own and seen == [signal.SIGTERM]
signal.signal(signal.SIGTERM, signal.SIG_IGN)
write("third", lambda: signal.raise_signal(signal.SIGTERM))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
write("fourth", lambda: signal.raise_signal(signal.SIGTERM))
""",
        tmp_path,
    )
    assert done.returncode == 3, done.stderr
    assert sorted(os.listdir(tmp_path)) == ["first", "second", "third"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_end_of_a_forked_process_takes_nothing_from_its_parent(tmp_path):
    done = run(
        """
def fork():
    child = os.fork()
    if child == 0:
        signal.raise_signal(signal.SIGTERM)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGTERM

write("result", fork)
""",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert content(tmp_path / "result") == "new"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EFBIG])
def test_faults_of_the_disk_name_what_was_to_be_written_and_others_are_left_alone(tmp_path, number):
    said = rf"^path='[^']*truth.zarr' cannot be written: {os.strerror(number)}$"
    with pytest.raises(OSError, match=said), written_aside(tmp_path / "truth.zarr") as aside:
        raise OSError(number, os.strerror(number), str(aside / "x" / "c" / "0"))
    with pytest.raises(OSError, match=r"^of the simulator's own$"), written_aside(tmp_path / "truth.zarr"):
        raise OSError("of the simulator's own")


def test_what_cannot_be_removed_any_more_stays(tmp_path, monkeypatch):
    folder = tmp_path / "truth.zarr.unfinished"
    folder.mkdir()

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "rename", refuse)
    remove_as_one(folder, tmp_path / "truth.zarr")
    assert folder.is_dir()
    monkeypatch.undo()
    remove_as_one(folder, tmp_path / "truth.zarr")
    assert not list(tmp_path.iterdir())
