import shutil

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from hoam_plugin import ensemble as ensembles
from hoam_plugin import plots
from hoam_plugin.plot_parts import brightest, plane
from hoam_plugin.variables import Variable

LENGTH = 2.0
TIMES = np.linspace(0.0, 8.0, 17)


def ensemble(mu=(1.25, 1.5), seed=0, energy=True) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    shape = (len(mu), len(TIMES), 300)
    variables = (
        Variable("x", period=LENGTH, units="m", long_name="position", bounds=(0.0, LENGTH)),
        Variable("v", bounds=(-4.0, 4.0), long_name="velocity"),
    )
    samples = {
        "x": rng.uniform(0, LENGTH, shape).astype(np.float32),
        "v": rng.standard_normal(shape).astype(np.float32),
    }
    curve = np.exp(0.1 * seed + np.asarray(mu)[:, None] * TIMES)
    diagnostics = (Variable("electric_energy"),) if energy else ()
    return ensembles.build(
        ensembles.frame(TIMES, {"mu": mu}), variables, samples, diagnostics, {"electric_energy": curve}
    )


def labels(axes) -> list[str]:
    return [line.get_label() for line in axes.get_lines()]


def test_phase_space_shows_truth_above_surrogate_at_the_nearest_saved_times():
    figure = plots.phase_space(ensemble(), ensemble(seed=1), run=1, times=[2.1, 7.9])
    panels = figure.axes[:4]
    assert [panel.get_title() for panel in panels] == ["t = 2.00", "t = 8.00", "", ""]
    assert [panel.texts[0].get_text() for panel in (panels[0], panels[2])] == ["truth", "surrogate"]
    assert panels[2].get_xlabel() == "position x [m]"
    assert panels[0].get_ylabel() == "velocity v"
    assert figure.get_suptitle() == "mu = 1.5"


def test_phase_space_of_one_coordinate_is_lines():
    figure = plots.phase_space(ensemble(), ensemble(seed=1), variables=["v"])
    assert len(figure.axes) == 4
    assert [patch.get_label() for patch in figure.axes[0].patches] == ["truth", "surrogate"]
    assert figure.axes[0].get_xlabel() == "velocity v"


def test_densities_integrate_to_one_and_wrap():
    ds = ensemble()
    shown = plane(ds, None, 20)
    density = shown.density(ds, 0, 3)
    assert density.shape == (20, 20)
    assert density.sum() * (LENGTH / 20) * (8 / 20) == pytest.approx(1.0, abs=0.01)
    shifted = ds.assign(x=(ds["x"] + 3 * LENGTH).assign_attrs(ds["x"].attrs))
    np.testing.assert_allclose(shown.density(shifted, 0, 3).sum(), density.sum())
    assert brightest([np.zeros((2, 2))]) == 1.0


def test_energy_curves_have_a_log_axis_a_panel_per_run_and_the_floor_as_a_band():
    truth, floor = ensemble(), ensemble(seed=2)
    figure = plots.energy_curves(truth, ensemble(seed=1), floor=floor)
    assert [panel.get_title() for panel in figure.axes] == ["mu = 1.25", "mu = 1.5"]
    panel = figure.axes[0]
    assert panel.get_yscale() == "log"
    assert labels(panel) == ["truth", "surrogate"]
    first, second = panel.get_lines()
    assert (first.get_color(), first.get_linestyle()) != (second.get_color(), second.get_linestyle())
    np.testing.assert_allclose(first.get_ydata(), truth["electric_energy"].values[0])
    # The second truth is exp(0.2) times the first: the band reaches as far to both sides.
    band = panel.collections[0].get_paths()[0].vertices[:, 1]
    np.testing.assert_allclose([band.min(), band.max()], [np.exp(-0.2), np.exp(0.2 + 10.0)], rtol=1e-6)


def test_energy_curves_of_chosen_runs_without_anything_beside():
    figure = plots.energy_curves(ensemble(mu=(1.0, 1.1, 1.2, 1.3)), runs=[3, 0])
    assert [panel.get_title() for panel in figure.axes] == ["mu = 1.3", "mu = 1"]
    assert labels(figure.axes[0]) == ["truth"]


def test_loss_history_draws_loss_median_and_validation():
    n = 400
    loss = np.full(n, -2.0)
    loss[0] = 1e6
    validation = np.where(np.arange(n) % 100 == 0, -1.9, np.nan)
    history = xr.Dataset(
        {
            "loss": ("iteration", loss),
            "validation": ("iteration", validation),
            "seconds": ("iteration", np.full(n, 0.5)),
        },
        {"iteration": np.arange(n)},
    )
    panel = plots.loss_history(history).axes[0]
    assert labels(panel) == ["loss of each iteration", "running median", "validation"]
    assert panel.get_lines()[2].get_xdata().tolist() == [0, 100, 200, 300]
    np.testing.assert_array_equal(panel.get_lines()[1].get_ydata()[1:], -2.0)
    low, high = panel.get_ylim()
    assert low < -2.0 < high < 0.0
    panel = plots.loss_history(history[["loss"]]).axes[0]
    assert labels(panel) == ["loss of each iteration", "running median"]


def test_save_figure_writes_aside_and_keeps_what_is_there(tmp_path):
    figure = plots.energy_curves(ensemble())
    path = tmp_path / "energy.png"
    assert plots.save_figure(figure, path, dots_per_inch=50) == path
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="energy"):
        plots.save_figure(figure, path)
    assert path.read_bytes() == before
    plots.save_figure(figure, path, overwrite=True)
    with pytest.raises(ValueError, match=r"must end in one of \.png, \.pdf, \.svg, \.jpg"):
        plots.save_figure(figure, tmp_path / "energy.txt")


def test_animation_has_one_frame_per_chosen_time(tmp_path):
    path = plots.animation(
        ensemble(), ensemble(seed=1), tmp_path / "film.gif", n_frames=3, bins=8, frames_per_second=5.0
    )
    with Image.open(path) as image:
        assert image.n_frames == 3
        assert image.info["duration"] == 200
    assert [p.name for p in tmp_path.iterdir()] == ["film.gif"]


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_animation_as_mp4(tmp_path):
    path = plots.animation(ensemble(), None, tmp_path / "film.mp4", n_frames=3, bins=8)
    assert path.stat().st_size > 1000


def test_animation_errors_come_before_any_work(tmp_path, monkeypatch):
    truth = ensemble()
    with pytest.raises(ValueError, match=r"must end in one of \.gif, \.mp4"):
        plots.animation(truth, None, tmp_path / "film.avi")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(RuntimeError, match="needs the program ffmpeg"):
        plots.animation(truth, None, tmp_path / "film.mp4")
    with pytest.raises(ValueError, match="an animation needs two"):
        plots.animation(truth[["v"]], None, tmp_path / "film.gif")
    (tmp_path / "there.gif").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="there"):
        plots.animation(truth, None, tmp_path / "there.gif")
    assert [p.name for p in tmp_path.iterdir()] == ["there.gif"]


def test_wrong_arguments_get_one_sentence():
    truth = ensemble()
    for call, message in [
        (lambda: plots.phase_space(truth, run=2), "run=2 must be the index of a run, 0 to 1"),
        (lambda: plots.phase_space(truth, variables=["w"]), r"variables=\['w'\] must be one or two of \['x', 'v'\]"),
        (lambda: plots.phase_space(truth, times=[9.0]), r"times=\[9.0\] must lie in the saved range \[0, 8\]"),
        (lambda: plots.phase_space(truth, times=[float("nan")]), r"times=\[nan\] must lie in"),
        (lambda: plots.phase_space(truth, times=[]), r"times=\[\] must be a non-empty list"),
        (lambda: plots.phase_space(truth, bins=0), "bins=0 must be a whole number of at least 2"),
        (lambda: plots.phase_space(truth, truth.isel(run=[0])), "prediction has mu="),
        (lambda: plots.energy_curves(truth, runs=[5]), "runs=5 must be the index of a run"),
        (lambda: plots.energy_curves(truth, runs=[]), r"runs=\[\] is empty"),
        (lambda: plots.energy_curves(ensemble(energy=False)), "truth has no 'electric_energy'"),
        (lambda: plots.loss_history(truth), "history=.* must be an xarray.Dataset with 'loss'"),
    ]:
        with pytest.raises(ValueError, match=message) as error:
            call()
        assert "\n" not in str(error.value)
