"""One page about a surrogate: it needs nothing but itself, and says what was given and what speaks against it."""

from pathlib import Path

import jax
import numpy as np
import pytest
import toy
import xarray as xr
from pages import Page, self_contained

import hoam_plugin as hoam
from hoam_plugin.reports import findings
from hoam_plugin.reports.material import Material
from hoam_plugin.surrogates import provenance_of, with_provenance

KEY = jax.random.key(3)


def cross_validated() -> xr.Dataset:
    """As if three runs had been left out, one by one."""
    scores = {"electric_energy_error": (("reference", "run"), [[0.021, 0.052, 0.034], [0.01, 0.01, 0.01]])}
    coords = {"reference": ["surrogate", "noise_floor"], "mu": ("run", [1.2, 1.5, 1.8])}
    return xr.Dataset(scores, coords, {"verdict": "expect an energy error of .02 to .05 between your runs"})


@pytest.fixture(scope="module")
def held() -> xr.Dataset:
    """A run between those of the training and one far beyond."""
    times, mu = np.linspace(0.0, 4.0, 5), {"mu": [1.4, 2.5]}
    return hoam.simulate(toy.small_plasma(), mu, times, key=KEY, n_samples=256, progress=False)


@pytest.fixture(scope="module")
def page(held: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Page:
    energy = held["electric_energy"]
    bands = xr.Dataset({"electric_energy_low": 0.5 * energy, "electric_energy_high": 2 * energy}, held.coords)
    path = tmp_path_factory.mktemp("report") / "report.html"
    given = {"cross_validation": cross_validated(), "bands": bands}
    assert toy.plasma_surrogate().report(path, held, **given) == path
    assert path.stat().st_size < 3_000_000
    return self_contained(path.read_text(encoding="utf-8"))


def test_the_page_has_everything_that_there_is(page: Page) -> None:
    wanted = ["Scores", "Curves", "Population", "Cross-validation", "Limits", "Learned from", "Training", "Versions"]
    assert page.headings == wanted
    kinds = [address.split(";")[0] for address in page.addresses if address.startswith("data:")]
    # Energies, band, phase space, animation and its still, runs, history.
    assert kinds.count("data:image/gif") == 1
    assert kinds.count("data:image/png") == 6
    for said in ("3 runs of 512 samples at 10 times", "Surrogate of vlasov_poisson_pic", "mu = 1.4", "learning_rate"):
        assert said in page.words, said
    assert "expect an energy error of .02 to .05" in page.words
    assert "0.052" in page.words
    assert "times the bootstrap" in page.words


def test_what_lies_outside_is_said_and_does_not_stop_the_report(page: Page) -> None:
    assert "Outside the trained ranges, or in a hole among the training runs: mu = 2.5." in page.words
    assert "No second run of the truth was given" in page.words


def test_without_a_truth_and_a_stepper_there_is_still_a_page(tmp_path: Path) -> None:
    model = toy.gaussian_surrogate()
    page = self_contained(model.report(tmp_path / "report.html").read_text(encoding="utf-8"))
    assert page.headings == ["Population", "Limits", "Learned from", "Training", "Versions"]
    assert "takes the place of no known stepper" in page.words
    assert "No truth was given" in page.words


def test_texts_are_escaped(tmp_path: Path) -> None:
    model = toy.gaussian_surrogate()
    provenance = provenance_of(model)
    assert provenance.history is not None
    bad = "<script>alert('a & b')</script>"
    history = provenance.history.assign_attrs(verdict=bad, converged="<b>")
    nasty = with_provenance(model, type(provenance)(f'{{"{bad}": "{bad}"}}', history))
    text = nasty.report(tmp_path / "report.html").read_text(encoding="utf-8")
    words = self_contained(text).words
    assert bad in words
    assert "Training ended as '<b>'" in words
    assert "<script" not in text


@pytest.mark.usefixtures("as_installed")
def test_what_is_refused(tmp_path: Path, held: xr.Dataset) -> None:
    model = toy.gaussian_surrogate()
    with pytest.raises(ValueError, match=r"must end in \.html"):
        model.report(tmp_path / "report.pdf")
    (tmp_path / "there.html").write_text("mine")
    with pytest.raises(FileExistsError, match="exists"):
        model.report(tmp_path / "there.html")
    with pytest.raises(ValueError, match="floor= stands beside scores of a truth"):
        model.report(tmp_path / "report.html", floor=held)
    with pytest.raises(ValueError, match=r"held|truth|variables|initial"):
        model.report(tmp_path / "report.html", held)
    with pytest.raises(TypeError, match="truth"):
        model.report(tmp_path / "report.html", "held.zarr")  # type: ignore[arg-type]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there.html"]
    assert (tmp_path / "there.html").read_text() == "mine"


def test_the_verdict_names_the_worst_run_beside_what_two_runs_differ_by() -> None:
    scores = xr.Dataset(
        {"electric_energy_error": (("reference", "run"), [[0.1, 0.3], [0.01, 0.02]])},
        {"reference": ["surrogate", "noise_floor"], "mu": ("run", [1.0, 2.0])},
    )
    truth = toy.moving_gaussian((1.0, 2.0), n_samples=4, n_times=2)
    material = Material(toy.gaussian_surrogate(), truth, None, "", scores, None, None, None, None)
    assert findings.verdict(material) == (
        "In the worst of 2 runs of the truth, the electric energy is off by 0.3, where two runs of the truth differ by "
        "0.02."
    )
    assert "good" in str(findings.share_of_floor(0.01, 0.01))
    assert "poor" in str(findings.share_of_floor(0.2, 0.01))
    assert findings.share_of_floor(float("nan"), 0.01) == "-"
