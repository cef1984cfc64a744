"""The notebooks run, at small size, and what they compute has the right shape; they are stored with their outputs."""

import json
import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from repository import ROOT

FOLDER = ROOT / "docs" / "notebooks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "run")
# Networks that compile faster; the notebooks themselves choose the other sizes by HOAM_NOTEBOOK_SIZE.
SMALLER = {
    "hoam.CoLoRA(width=16, depth=3)": "hoam.CoLoRA(width=8, depth=2)",
    "hoam.CoLoRA()": "hoam.CoLoRA(width=8, depth=2)",
    'structure="kinetic", training': 'structure="kinetic", potential=hoam.VectorField(width=8, depth=2), training',
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


@pytest.mark.long
@pytest.mark.filterwarnings(COARSE)
def test_the_oscillator_notebook_runs(run_small: Any, capsys: pytest.CaptureFixture[str]) -> None:
    scope = run_small("oscillator")
    assert set(scope["models"]) == {"potential (HOAM)", "potential (AM)", "potential (fit)", "force", "force, coupled"}
    assert scope["models"]["force"].learned.structure.kind == "kinetic"
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


@pytest.mark.long
@pytest.mark.filterwarnings(COARSE)
def test_the_vlasov_notebook_runs(run_small: Any, tmp_path: Path) -> None:
    scope = run_small("vlasov")
    names = ["potential (HOAM)", "potential (AM)", "potential (fit)", "force", "force from rates"]
    assert list(scope["models"]) == names
    for table in scope["scores"].values():
        assert np.isfinite(table["electric_energy_error"]).all()
        assert np.isfinite(table["histogram_l1"].sel(reference=["surrogate", "noise_floor", "frozen"])).all()
    for ds in scope["predictions"].values():
        assert ds["x"].shape == scope["held"]["x"].shape
    assert (tmp_path / "images" / "vlasov.gif").stat().st_size > 0


@pytest.mark.filterwarnings("ignore:training is limited by the saved times")
def test_the_notebook_on_your_simulation_runs(run_small: Any) -> None:
    scope = run_small("your_simulation")
    assert scope["truth"].sizes == {"run": 5, "time": 9, "sample": 256}
    # Of 256 samples, after a small training, still in the right order.
    assert (np.diff(scope["share"]) > 0).all()
    assert scope["error"] < 0.2


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:Explicitly requested dtype")
def test_the_jax_md_notebook_runs(run_small: Any) -> None:
    from hoam_plugin.adapters.jax_md.jax_md_modules import usual_promotions

    with usual_promotions():
        scope = run_small("jax_md_swap")
    assert scope["after"].position.shape == (16, 2)
    # The same particles and the same noise, by other forces.
    assert type(scope["after"]) is type(scope["before"])
    assert not np.array_equal(scope["after"].position, scope["before"].position)
    assert float(scope["error"]) < 0.5


@pytest.mark.long
def test_the_notebook_on_inference_runs(run_small: Any) -> None:
    import jax

    with jax.numpy_dtype_promotion("standard"):  # for optax
        scope = run_small("inference")
    assert scope["path"][-1] < scope["path"][0]
    widths = [high - low for _, (low, high) in scope["posteriors"].values()]
    assert 0 < widths[0] <= widths[1]


@pytest.mark.parametrize("name", NAMES)
def test_stored_notebooks_are_run_from_their_sources_and_small(name: str) -> None:
    path = FOLDER / f"{name}.ipynb"
    assert path.stat().st_size < 1_000_000
    notebook = json.loads(path.read_text())
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    stored = [("".join(cell["source"]), cell["cell_type"]) for cell in notebook["cells"]]
    assert stored == cells(name), f"run `python docs/notebooks/run.py {name}` again"
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert "site-packages" not in path.read_text()
    pictures = ["".join(output["data"]["image/png"]) for output in outputs if "image/png" in output.get("data", {})]
    assert pictures
    assert all(len(picture) * 3 / 4 < 500_000 for picture in pictures)


def cells(name: str) -> list[tuple[str, str]]:
    """Sources and kinds of the cells of a notebook in jupytext's percent format."""
    _, *rest = re.split(r"^# %%(.*)$", (FOLDER / f"{name}.py").read_text(), flags=re.MULTILINE)
    found = []
    for heading, text in zip(rest[::2], rest[1::2], strict=True):
        kind = "markdown" if "[markdown]" in heading else "code"
        own = text.strip()
        found.append((re.sub(r"^# ?", "", own, flags=re.MULTILINE) if kind == "markdown" else own, kind))
    return found
