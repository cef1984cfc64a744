"""What is said beside the results: quiet, verbose, logs of batch jobs."""

import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from command_line import FailingCommand, hoam_command

from hoam_plugin._internal import progress_lines
from hoam_plugin._internal.logs import LOGGER
from hoam_plugin.cli.messages import messages_on_stderr

WORDS = ("simulate", "duffing", "-p", "mu=0.1", "--times", "0:1:3", "--samples", 50)


def test_what_was_written_is_said_on_standard_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert hoam_command(*WORDS, "-o", tmp_path / "d.zarr") == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"hoam: {tmp_path / 'd.zarr'}: 1 runs x 3 times x 50 samples in ")


def test_quiet_and_verbose(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_lines, "EVERY", 0.0)
    assert hoam_command(*WORDS, "-o", tmp_path / "a.zarr", "--quiet") == 0
    assert capsys.readouterr().err == ""
    assert hoam_command("-v", *WORDS, "-o", tmp_path / "b.zarr") == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("hoam: simulate: stepper = duffing, output = ")
    assert any(line.startswith("hoam: simulate: 100 %, 0:00:0") for line in lines)
    assert "in" in lines[-1]


def test_verbose_says_how_it_is_learned(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise ValueError("far enough")

    monkeypatch.setattr("hoam_plugin.training.fitting._trained", stopped)
    assert hoam_command("fit", folder / "truth.zarr", "-o", tmp_path / "m.hoam", "--width", 8, "-v") == 2
    assert "hoam: fit: CoLoRA(width=8" in capsys.readouterr().err


def test_quiet_still_warns(tmp_path: Path, error: FailingCommand) -> None:
    assert "exclude" in error(*WORDS, "--nodes", "gauss:4", "-o", tmp_path / "d.zarr", "-q")
    assert "choose one" in error(*WORDS, "-o", tmp_path / "d.zarr", "-q", "-v")


def test_what_libraries_say_to_programmers_is_kept_back(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some ask for their own deprecations to be shown; who asks Python for them by -W sees them."""
    for options in ([], ["default"]):
        monkeypatch.setattr(sys, "warnoptions", options)
        with messages_on_stderr(str):
            warnings.simplefilter("always")
            warnings.warn("crc32c usage is deprecated", DeprecationWarning, stacklevel=1)
            warnings.warn("few samples", stacklevel=1)
        seen = capsys.readouterr().err.splitlines()
        assert [line for line in seen if "few" in line] == ["hoam: warning: few samples"]
        assert len(seen) == 1 + len(options)


def test_the_library_is_silent_and_left_as_it_was(tmp_path: Path) -> None:
    handlers, level = list(LOGGER.handlers), LOGGER.level
    assert [type(handler) for handler in handlers] == [logging.NullHandler]
    assert hoam_command(*WORDS, "-o", tmp_path / "d.zarr", "--verbose") == 0
    assert (LOGGER.handlers, LOGGER.level) == (handlers, level)


def test_completion_is_installed_for_a_shell(tmp_path: Path) -> None:
    code = "import sys\nfrom hoam_plugin.cli import main\nsys.exit(main(sys.argv[1:]))"
    words = ("--install-completion", "--shell", "bash", "--output", str(tmp_path / "hoam"))
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    # Nothing but the script, and a line in the shell's own file, whose folder is another here.
    assert {path.name for path in tmp_path.iterdir()} == {"hoam", ".bashrc"}
    script = (tmp_path / "hoam").read_text()
    for word in ("simulate", "fit", "--structure", "info"):
        assert word in script


_UNDER_WAY = """
import os, signal, time
from hoam_plugin._internal import ending
from hoam_plugin.cli.messages import messages_on_stderr

async def reading():
    pass

signal.signal(signal.SIGINT, signal.default_int_handler)
with messages_on_stderr(str), ending.by_signals() as ended:
    if {before}:
        reading()
    try:
        started = reading()
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)
    except KeyboardInterrupt:
        del started
    print(ended.number)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("before", [False, True])
def test_what_the_signal_leaves_half_done_is_not_warned_of(before: bool) -> None:
    words = [sys.executable, "-c", _UNDER_WAY.format(before=before)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "2\n"
    assert done.stderr.count("never awaited") == done.stderr.count("hoam: warning: coroutine 'reading'") == before
