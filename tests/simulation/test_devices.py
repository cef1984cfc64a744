"""`simulate` over the devices of a mesh: the numbers of one."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from repository import ROOT

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `runs_on_devices.py` finds on 8 devices."""
    out: Path = tmp_path_factory.mktemp("devices") / "found.json"
    script = ROOT / "tests" / "helpers" / "runs_on_devices.py"
    done = subprocess.run([sys.executable, "-W", "ignore", script, out], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text())


def test_runs_and_samples_on_devices_are_those_on_one(found: dict[str, Any]) -> None:
    assert len(found["differences"]) == 7
    assert max(found["differences"].values()) < 1e-12


def test_no_more_devices_take_part_than_there_are_runs(found: dict[str, Any]) -> None:
    eight = {"eleven runs", "one run", "one plasma", "one surrogate", "no parameters", "by default"}
    assert found["n_devices"] == dict.fromkeys(eight, 8) | {"plasma": 3, "surrogate": 3}


def test_meshes_that_do_not_go_with_the_runs_are_refused(found: dict[str, Any]) -> None:
    assert found["messages"]["samples"] == (
        "mesh: n_samples=50 samples of a single run are no multiple of its 8 devices along 'runs'; use as many samples "
        "or devices as divide"
    )
    assert "call the one to spread over 'runs'" in found["messages"]["axes"]
