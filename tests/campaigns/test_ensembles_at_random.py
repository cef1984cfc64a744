"""Ensembles of all sorts: accepted and right, or refused by this package in one sentence."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

QUICK = {"files": 60, "fits": 8}
SLOW = {"files": 3000, "fits": 1000}


@pytest.mark.parametrize("sizes", [QUICK, pytest.param(SLOW, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", list(QUICK))
def test_accepted_and_right_or_refused_in_one_sentence(kind: str, sizes: dict[str, int]) -> None:
    # In a process of its own, which a library may take down, or keep for ever.
    script = str(Path(__file__).with_name("ensembles_at_random.py"))
    words = [sys.executable, script, kind, str(sizes[kind]), "0"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=3000, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["falls"] == {}
    assert found["accepted"] > sizes[kind] / 5
    assert found["distinct"] > 0.9 * sizes[kind]
