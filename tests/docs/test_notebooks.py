"""The notebooks run, at small size, and what they compute has the right shape; their pages and pictures are there."""

import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from repository import ROOT

FOLDER = ROOT / "docs" / "notebooks"
NAMES = ("oscillator", "vlasov")
# Networks that compile faster; the notebooks themselves choose the other sizes by HOAM_NOTEBOOK_SIZE.
SMALLER = {
    "hoam.CoLoRA(width=16, depth=3)": "hoam.CoLoRA(width=8, depth=2)",
    "nodes, training=training)": "nodes, training=training, potential=hoam.CoLoRA(width=8, depth=2))",
    "random_times, training=training)": "random_times, training=training, potential=hoam.CoLoRA(width=8, depth=2))",
    'structure="kinetic"': 'structure="kinetic", potential=hoam.VectorField(width=8, depth=2)',
    '"structure": "kinetic"': '"structure": "kinetic", "potential": hoam.VectorField(width=8, depth=2)',
}
# A few nodes are too few, as `fit` rightly says.
COARSE = "ignore:the .* saved times do not resolve"


@pytest.fixture
def run_small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Execute a notebook's code as a script, in another folder and without a screen."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    monkeypatch.setenv("HOAM_NOTEBOOK_SIZE", "small")
    monkeypatch.chdir(tmp_path)

    def run(name: str) -> dict[str, Any]:
        scope: dict[str, Any] = {"__name__": name}
        source = (FOLDER / f"{name}.py").read_text()
        for large, small in SMALLER.items():
            source = source.replace(large, small)
        exec(compile(source, f"{name}.py", "exec"), scope)
        return scope

    yield run
    plt.close("all")


@pytest.mark.filterwarnings(COARSE)
def test_the_oscillator_notebook_runs(run_small: Any, capsys: pytest.CaptureFixture[str]) -> None:
    scope = run_small("oscillator")
    assert set(scope["models"]) == {"HOAM", "AM", "kinetic", "kinetic, coupled"}
    assert scope["models"]["kinetic"].learned.structure.kind == "kinetic"
    n_times = len(scope["times"])
    for ds in scope["predictions"].values():
        assert ds["x"].shape == (1, n_times, scope["n_samples"], 2)
        mean, spread = scope["moments"](ds)
        assert mean.shape == spread.shape == (n_times, 2)
        assert np.isfinite(mean).all()
        assert np.isfinite(spread).all()
    assert scope["force"].shape == scope["positions"].shape
    assert np.isfinite(scope["force"]).all()
    printed = capsys.readouterr().out
    assert "nan" not in printed
    assert "HOAM" in printed


@pytest.mark.filterwarnings(COARSE)
def test_the_vlasov_notebook_runs(run_small: Any, tmp_path: Path) -> None:
    scope = run_small("vlasov")
    assert list(scope["models"]) == ["HOAM", "AM", "kinetic", "kinetic, rates"]
    for table in scope["scores"].values():
        assert np.isfinite(table["electric_energy_error"]).all()
        assert np.isfinite(table["histogram_l1"].sel(reference=["surrogate", "noise_floor", "frozen"])).all()
    for ds in scope["predictions"].values():
        assert ds["x"].shape == scope["held"]["x"].shape
    assert (tmp_path / "images" / "vlasov.gif").stat().st_size > 0


@pytest.mark.parametrize("name", NAMES)
def test_pages_show_their_pictures_and_these_are_small(name: str) -> None:
    page = (FOLDER / f"{name}.md").read_text()
    pictures = [FOLDER / target for target in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page)]
    assert pictures
    assert all(picture.stat().st_size < 500_000 for picture in pictures)


@pytest.mark.parametrize("name", NAMES)
def test_pages_hold_the_code_of_their_notebooks(name: str) -> None:
    page = " ".join((FOLDER / f"{name}.md").read_text().split())
    cells = re.split(r"^# %%.*$", (FOLDER / f"{name}.py").read_text(), flags=re.MULTILINE)
    code = [cell.strip() for cell in cells[1:] if not cell.strip().startswith("# ")]
    assert code
    for cell in code:
        assert " ".join(cell.split()) in page, "run `python docs/notebooks/run.py` again"
