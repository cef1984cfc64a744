import io
import json
import shutil

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from hoam_plugin import ensembles, plots, simulators
from hoam_plugin.plots.parts import brightest, plane
from hoam_plugin.steppers import Variable

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


def with_parameters(*mu: float) -> xr.Dataset:
    return ensemble().assign_coords(mu=("run", list(mu)))


def labels(axes) -> list[str]:
    return [line.get_label() for line in axes.get_lines()]


def test_phase_space_shows_truth_above_surrogate_at_the_nearest_saved_times():
    figure = plots.phase_space(ensemble(), ensemble(seed=1), run=1, times=[2.1, 7.9])
    panels = figure.axes[:6]
    assert [panel.get_title() for panel in panels] == ["t = 2.00", "t = 8.00", "", "", "", ""]
    rows = [panel.texts[0].get_text() for panel in panels[::2]]
    assert rows == ["truth", "surrogate", "surrogate \N{MINUS SIGN} truth"]
    assert panels[4].get_xlabel() == "position x [m]"
    assert panels[0].get_ylabel() == "velocity v"
    assert figure.get_suptitle() == "mu = 1.5"
    without = plots.phase_space(ensemble(), ensemble(seed=1), times=[2.1, 7.9], difference=False)
    assert len(without.axes) == 4 + 1


def test_differences_are_those_of_the_densities_on_wider_bins():
    truth, other = ensemble(), ensemble(seed=1)
    figure = plots.phase_space(truth, {"one": other, "same": truth}, times=[8.0], bins=12)
    one, same = (panel.collections[0].get_array() for panel in figure.axes[3:5])
    wide = plane(truth, None, 4)
    np.testing.assert_allclose(one, (wide.density(other, 0, 16) - wide.density(truth, 0, 16)).T)
    np.testing.assert_array_equal(same, 0)
    low, high = figure.axes[3].collections[0].get_clim()
    assert low == -high


def test_phase_space_of_one_coordinate_is_lines():
    figure = plots.phase_space(ensemble(), ensemble(seed=1), variables=["v"])
    assert len(figure.axes) == 4
    assert [patch.get_label() for patch in figure.axes[0].patches] == ["truth", "surrogate"]
    assert figure.axes[0].get_xlabel() == "velocity v"


def test_every_prediction_of_one_coordinate_is_drawn_in_a_line_of_its_own():
    names = ["force", "potential", "field", "baseline"]
    figure = plots.phase_space(ensemble(), {n: ensemble(seed=i + 1) for i, n in enumerate(names)}, variables=["v"])
    for panel in figure.axes:
        assert [patch.get_label() for patch in panel.patches] == ["truth", *names]
        looks = {(str(patch.get_edgecolor()), str(patch.get_linestyle())) for patch in panel.patches}
        assert len(looks) == 5
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["truth", *names]


@pytest.mark.parametrize("times", [TIMES * 1e-13, 1e6 + TIMES / 1e3, 1e9 + TIMES, -TIMES[::-1], TIMES * 1e20])
def test_panels_of_different_times_have_different_titles(times):
    ds = ensemble().assign_coords(time=("time", times, {"units": "s"}))
    titles = [panel.get_title() for panel in plots.phase_space(ds).axes[:4]]
    shown = [float(title.removeprefix("t = ").removesuffix(" s")) for title in titles]
    np.testing.assert_allclose(shown, times[[4, 8, 12, 16]], rtol=0, atol=0.05 * np.ptp(times) / 4)
    assert len(set(titles)) == 4


def test_runs_of_nearly_equal_parameters_or_of_none_have_different_titles():
    for mu in ((1e6, 1e6 + 0.5), (4e-21, 8e-21), (1.2345678, 1.2345679)):
        titles = [panel.get_title() for panel in plots.energy_curves(with_parameters(*mu)).axes]
        np.testing.assert_allclose([float(title.removeprefix("mu = ")) for title in titles], mu, rtol=1e-9)
        assert len(set(titles)) == 2
    assert plots.phase_space(with_parameters(1e6, 1e6 + 0.5), run=1).get_suptitle() == "mu = 1000000.5"
    twice = with_parameters(1.5, 1.5)
    assert [panel.get_title() for panel in plots.energy_curves(twice).axes] == ["mu = 1.5 (run 0)", "mu = 1.5 (run 1)"]
    without = ensemble().drop_vars("mu")
    assert [panel.get_title() for panel in plots.energy_curves(without).axes] == ["run 0", "run 1"]
    assert plots.phase_space(without, run=1).get_suptitle() == "run 1"


def test_pictures_in_si_units_and_far_from_the_origin():
    ds = ensemble()
    for scale, shift in ((1e-24, 0.0), (1.0, 1e5), (1e20, 0.0)):
        v = (ds["v"].dims, (ds["v"].values * scale + shift).astype(np.float32))
        shown = plane(ds.assign(v=v), ["v"], 20)
        (own,) = plane(ds.assign(v=(ds["v"].dims, ds["v"].values)), ["v"], 20).edges
        np.testing.assert_allclose((shown.edges[0] - shift) / scale, own, atol=0.02)
        assert shown.density(ds.assign(v=v), 0, 3).sum() * np.diff(shown.edges[0])[0] == pytest.approx(1.0)
        plots.phase_space(ds.assign(v=v)).canvas.draw()


def test_figures_show_themselves_in_notebooks():
    # IPython asks for this method; it knows matplotlib's own figures only once pyplot is set up.
    with Image.open(io.BytesIO(plots.energy_curves(ensemble())._repr_png_())) as image:
        assert image.format == "PNG"
        assert image.width > 500


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


def test_energy_curves_beside_interpolation_in_any_number_of_parameters():
    truth, training = ensemble(), ensemble(mu=(1.0, 2.0), seed=3)
    panels = plots.energy_curves(truth, training=training).axes
    assert [labels(panel) for panel in panels] == [["truth", "interpolation in mu"]] * 2
    corners = ensemble(mu=(1.0, 2.0, 1.0, 2.0), seed=3).assign_coords(nu=("run", [0.0, 0.0, 1.0, 1.0]))
    figure = plots.energy_curves(truth.assign_coords(nu=("run", [0.5, 7.0])), training=corners)
    assert labels(figure.axes[0]) == ["truth", "interpolation in mu, nu"]
    wanted = np.average(corners["electric_energy"].values, axis=0, weights=[0.375, 0.125, 0.375, 0.125])
    np.testing.assert_allclose(figure.axes[0].get_lines()[1].get_ydata(), wanted)
    # Where there is none, the panel says why.
    assert labels(figure.axes[1]) == ["truth"]
    (reason,) = (" ".join(text.get_text().split()) for text in figure.axes[1].texts)
    assert reason == "no interpolation: nu=7 is outside the training runs' [0, 1]"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["truth", "interpolation in mu, nu"]


def test_energy_curves_of_a_plasma_have_the_line_of_linear_theory_and_units():
    stepper = simulators.two_stream()
    name, arguments = stepper.describe()
    attributes = {"stepper": json.dumps({"name": name, "arguments": arguments})}
    figure = plots.energy_curves(ensemble().assign_attrs(attributes), ensemble(seed=1), runs=[0])
    panel = figure.axes[0]
    assert labels(panel) == ["linear theory", "truth", "surrogate"]
    line = panel.get_lines()[0]
    slope = np.diff(np.log(line.get_ydata())) / np.diff(line.get_xdata())
    np.testing.assert_allclose(slope, 2 * 0.21485, rtol=1e-4)
    assert panel.texts[0].get_text() == r"linear theory: $e^{0.43\,t}$"
    assert panel.get_xlabel() == r"time [$1/\omega_p$ at $\mu$ = 1]"


def test_legends_of_many_predictions_fit():
    named = {f"potential number {i}": ensemble(seed=i + 1) for i in range(6)}
    figure = plots.energy_curves(ensemble(), named, runs=[0])
    figure.canvas.draw()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width


def test_energies_of_zero_leave_a_gap_and_the_axis_alone():
    ds = ensemble()
    ds["electric_energy"][0, 3] = 0.0
    panel = plots.energy_curves(ds).axes[0]
    assert np.isnan(panel.get_lines()[0].get_ydata()[3])
    assert panel.get_ylim()[0] > 0.1


def test_running_median_does_not_end_on_the_last_value():
    n = 4000
    loss = -1.04 + 0.3 * np.random.default_rng(0).standard_normal(n)
    loss[0], loss[-1] = 5.0, -0.15
    history = xr.Dataset({"loss": ("iteration", loss)}, {"iteration": np.arange(n)})
    median = plots.loss_history(history).axes[0].get_lines()[1].get_ydata()
    assert np.abs(median + 1.04).max() < 0.3
    assert median[-1] == np.median(loss[-41:])
    assert median[2000] == np.median(loss[1960:2041])


def test_the_median_of_a_short_training_does_not_end_on_the_last_value_either():
    loss = np.asarray([1.0, 0.5, 0.4, 0.3, 0.3, 0.3, 0.3, 0.3, 9.0])
    history = xr.Dataset({"loss": ("iteration", loss)}, {"iteration": np.arange(9)})
    median = plots.loss_history(history).axes[0].get_lines()[1].get_ydata()
    assert median[-1] == pytest.approx(0.3)
    one = xr.Dataset({"loss": ("iteration", loss[:1])}, {"iteration": [0]})
    assert plots.loss_history(one).axes[0].get_lines()[1].get_ydata().tolist() == [1.0]


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
        (lambda: plots.phase_space(truth, {"truth": truth}), "prediction has the name 'truth'"),
        (lambda: plots.energy_curves(truth, runs=[5]), "runs=5 must be the index of a run"),
        (lambda: plots.energy_curves(truth, runs=[]), r"runs=\[\] is empty"),
        (lambda: plots.energy_curves(ensemble(energy=False)), "truth has no 'electric_energy'"),
        (lambda: plots.loss_history(truth), "history=.* must be an xarray.Dataset with 'loss'"),
    ]:
        with pytest.raises(ValueError, match=message) as error:
            call()
        assert "\n" not in str(error.value)
