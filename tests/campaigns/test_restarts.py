"""Long work that is killed, told to end or out of disk goes on to the same numbers; `tests/campaigns` has all of it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="audit hooks, forks and signals as on Linux")


def run(script: str, *words: object) -> dict[str, object]:
    command = [sys.executable, str(Path(__file__).with_name(script)), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("kind", "stride"),
    [
        ("import", 9),
        *(pytest.param(kind, 1, marks=pytest.mark.slow) for kind in ("fit", "simulate", "import", "tree", "folds")),
    ],
)
def test_killed_between_operations_on_files(kind: str, stride: int) -> None:
    found = run("restarts.py", "operations", kind, stride)
    assert int(str(found["kills"])) >= 5


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["long fit", "simulate", "import", "folds"])
def test_killed_at_random_moments(kind: str) -> None:
    assert run("restarts.py", "moments", kind, 100, 0)["kills"] == 100


@pytest.mark.parametrize(
    ("what", "number", "kind"),
    [
        ("read_only", 60, "import"),
        *(
            pytest.param(what, number, kind, marks=pytest.mark.slow)
            for kind in ("fit", "simulate", "import")
            for what, number in (("full", 10), ("read_only", 5))
        ),
    ],
)
def test_disks_that_fail(what: str, number: int, kind: str) -> None:
    assert run("restarts.py", what, kind, number)["kills"]


@pytest.mark.parametrize(
    ("kind", "n"),
    [("import", 2), *(pytest.param(kind, 30, marks=pytest.mark.slow) for kind in ("fit", "simulate", "import"))],
)
def test_signals_end_a_command_within_seconds(kind: str, n: int) -> None:
    assert run("signals.py", kind, n, 0)["signals"] == n


@pytest.mark.slow
def test_signals_end_the_demo_and_new_processes() -> None:
    run("signals.py", "demo", 6, 0)
    run("signals.py", "simulate", 20, 0, "begin")


@pytest.mark.parametrize(
    ("what", "numbers"),
    [
        ("processes", (4, 1, 0)),
        pytest.param("processes", (8, 10, 0), marks=pytest.mark.slow),
        pytest.param("threads", (16, 4, 0), marks=pytest.mark.slow),
    ],
)
def test_contests(what: str, numbers: tuple[int, ...]) -> None:
    assert run("concurrency.py", what, *numbers)["what"] == what
