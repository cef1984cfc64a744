"""A command ends by a signal within seconds and with one sentence, whatever it is doing."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hoam_plugin._internal import ending

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

_START = """
import hashlib, os, signal, sys, threading, time
from pathlib import Path
from hoam_plugin._internal import ending
from hoam_plugin._internal.files import written_aside

signal.signal(signal.SIGINT, signal.default_int_handler)
send = lambda number, seconds: threading.Timer(seconds, os.kill, (os.getpid(), number)).start()
deaf = lambda: hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # as compiled code, which Python waits for
"""


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", _START + code]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, timeout=20)


def test_it_is_an_exception_once(tmp_path: Path) -> None:
    done = run(
        """
send(signal.SIGTERM, 0.1)
send(signal.SIGTERM, 0.2)
with ending.by_signals() as ended:
    try:
        time.sleep(10)
    except KeyboardInterrupt:
        time.sleep(0.3)
        print(ended.number == signal.SIGTERM, ended.exit_code)
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
with ending.by_signals() as ended:
    print(ended.number)
""",
        tmp_path,
    )
    assert (done.returncode, done.stdout) == (0, "True 143\nNone\n"), done.stderr


@pytest.mark.parametrize(
    ("name", "code", "grace", "signals"), [("SIGTERM", 143, 0.3, "0.1"), ("SIGINT", 130, 15.0, "0.1, 0.4")]
)
def test_compiled_code_is_not_waited_for(tmp_path: Path, name: str, code: int, grace: float, signals: str) -> None:
    done = run(
        f"""
ending.GRACE_SECONDS = {grace}
for seconds in ({signals},):
    send(signal.{name}, seconds)
with ending.by_signals(), written_aside(Path("result")) as aside:
    aside.write_text("half")
    deaf()
""",
        tmp_path,
    )
    said = f"hoam: interrupted: ended by {name} within a computation; what was complete on disk is kept\n"
    assert (done.returncode, done.stderr) == (code, said)
    assert not list(tmp_path.iterdir())


def test_imports_are_not_interrupted(tmp_path: Path) -> None:
    (tmp_path / "library.py").write_text("import time\ntime.sleep(0.4)\nwhole = True\n")
    done = run(
        """
sys.path.insert(0, os.getcwd())
send(signal.SIGTERM, 0.1)
with ending.by_signals() as ended:
    try:
        import library
        time.sleep(10)
    except KeyboardInterrupt:
        print(library.whole, ended.exit_code)
""",
        tmp_path,
    )
    assert (done.returncode, done.stdout) == (0, "True 143\n"), done.stderr


def test_an_exception_that_python_ignores_comes_again(tmp_path: Path) -> None:
    done = run(
        """
class Slow:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)
class Faulty:
    def __del__(self):
        raise ValueError("as ever")
with ending.by_signals() as ended:
    try:
        Slow()
        assert ended.number is None
        Faulty()
        time.sleep(10)
    except KeyboardInterrupt:
        assert ended.number == signal.SIGTERM
assert sys.unraisablehook is sys.__unraisablehook__
""",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "KeyboardInterrupt" not in done.stderr
    assert "ValueError: as ever" in done.stderr


def test_what_the_signal_leaves_half_made_does_not_complain(tmp_path: Path) -> None:
    done = run(
        """
class Loop:
    def __init__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
        self.socket = None

    def __del__(self):
        self.socket.close()

with ending.by_signals() as ended:
    try:
        Loop()
    except KeyboardInterrupt:
        pass  # what it held is thrown away with it
    print(ended.number)
""",
        tmp_path,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "2\n", "")


def test_what_is_ignored_stays_ignored(tmp_path: Path) -> None:
    done = run(
        """
signal.signal(signal.SIGINT, signal.SIG_IGN)  # as shells have it for jobs in the background
with ending.by_signals() as ended:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.2)
print(ended.number)
""",
        tmp_path,
    )
    assert (done.returncode, done.stdout) == (0, "None\n"), done.stderr


def test_in_process_it_leaves_nothing_behind() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with ending.by_signals() as outer, ending.by_signals() as inner:
        assert inner is outer
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
