"""`hoam compare`: the verdict, the scores and the picture."""

from pathlib import Path

import pytest
import xarray as xr
from command_line import hoam_command
from configurations import configurations, repelling

from hoam_plugin import ensembles, plots


def test_compare_prints_the_verdict_and_writes_scores_and_picture(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth, prediction, training = (folder / name for name in ("held.zarr", "pred.zarr", "truth.zarr"))
    outputs = ("--plot", tmp_path / "out.png", "--output", tmp_path / "scores.zarr")
    assert hoam_command("compare", truth, prediction, "--training", training, *outputs) == 0
    assert "electric energy error  mu = 1.25" in capsys.readouterr().out
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    # Opens without a warning.
    scores = xr.open_zarr(tmp_path / "scores.zarr")
    assert scores["histogram_l1"].sel(reference="surrogate").shape == (2,)
    assert bool((scores["electric_energy_error"].sel(reference="interpolation") > 0).all())


def test_compare_says_what_stands_for_the_floor_where_none_is_given(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth, prediction = folder / "held.zarr", folder / "pred.zarr"
    capsys.readouterr()
    assert hoam_command("compare", truth, prediction) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "surrogate bootstrap frozen" in printed
    assert "bootstrap: the truth's samples drawn again with replacement, no noise floor" in printed
    assert "no interpolation: no training ensemble was given" in printed
    assert hoam_command("compare", truth, prediction, "--floor", truth, "-o", tmp_path / "scores.nc4") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "surrogate noise floor frozen" in printed
    assert "bootstrap" not in printed
    with xr.open_dataset(tmp_path / "scores.nc4") as scores:
        assert float(scores["histogram_l1"].sel(reference="noise_floor").max()) == 0.0


def test_one_sinkhorn_divergence_at_a_time(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth, prediction = folder / "held.zarr", folder / "pred.zarr"
    assert hoam_command("compare", truth, prediction, "--sinkhorn", "--paper-sinkhorn") != 0
    assert "--sinkhorn and --paper-sinkhorn were both given; choose one" in " ".join(capsys.readouterr().err.split())


def test_panels_of_configurations_are_pair_distributions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    truth, prediction = tmp_path / "truth.zarr", tmp_path / "prediction.zarr"
    for seed, path in enumerate((truth, prediction)):
        ensembles.save(configurations(repelling(seed)), path)
    drawn = []
    draw = plots.pair_distribution
    monkeypatch.setattr(
        plots, "pair_distribution", lambda *given, **options: drawn.append(1) or draw(*given, **options)
    )
    capsys.readouterr()
    assert hoam_command("compare", truth, prediction, "--plot", tmp_path / "out.png") == 0
    assert "pair distribution error  kT = 1" in capsys.readouterr().out
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    assert drawn == [1]
