"""Moving pictures of an ensemble, as GIF or MP4."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from hoam_plugin._internal.checks import positive_float, positive_int
from hoam_plugin._internal.files import require_writable, written_aside
from hoam_plugin.plots.parts import (
    axis_label,
    brightest,
    new_figure,
    paired,
    plane,
    require_suffix,
    run_index,
    run_label,
    time_labels,
)

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure


def animation(
    truth: xr.Dataset,
    prediction: xr.Dataset | None,
    path: str | os.PathLike[str],
    *,
    run: int = 0,
    variables: Sequence[str] | None = None,
    bins: int = 96,
    n_frames: int = 48,
    frames_per_second: float = 12.0,
    overwrite: bool = False,
) -> Path:
    """Write the moving density of the samples in a plane, truth beside surrogate, as a GIF or (with ffmpeg) an MP4.

    Args:
        truth: an ensemble of at least two coordinates.
        prediction: another one of the same variables, runs and times, or None.
        path: a file that ends in .gif or .mp4; it is written aside, then renamed.
        run: index of the run.
        variables: two names; the first two coordinates by default.
        bins: bins along each axis.
        n_frames: at most so many frames, evenly spread over the saved times.
        frames_per_second: frames per second.
        overwrite: replace an existing file.

    Returns:
        The path.

    Raises:
        ValueError: ensembles that do not match, an unknown run or variable, or another file type.
        FileExistsError: `path` exists and `overwrite` is false.
        RuntimeError: an MP4 without ffmpeg.

    Example:
        >>> import tempfile
        >>> hoam.plots.animation(truth, None, tempfile.mkdtemp() + "/truth.gif", n_frames=2).name
        'truth.gif'
    """
    path = require_suffix(path, (".gif", ".mp4"))
    if path.suffix == ".mp4" and shutil.which("ffmpeg") is None:
        raise RuntimeError(f"path={str(path)!r}: MP4 needs the program ffmpeg, which is not installed; choose a .gif")
    require_writable(path, overwrite=overwrite)
    truth, prediction = paired(truth, prediction)
    run = run_index("run", run, truth)
    shown = plane(truth, variables, positive_int("bins", bins, least=2))
    if len(shown.columns) != 2:
        raise ValueError(f"variables={variables!r} leaves one coordinate to draw; an animation needs two")
    count = min(positive_int("n_frames", n_frames), truth.sizes["time"])
    frames = np.linspace(0, truth.sizes["time"] - 1, count).round().astype(int).tolist()
    frames_per_second = positive_float("frames_per_second", frames_per_second)

    named = [("truth", truth), *([("surrogate", prediction)] if prediction is not None else [])]
    figure = new_figure(4.0 * len(named) + 1.0, 3.6)
    panels = figure.subplots(1, len(named), sharex=True, sharey=True, squeeze=False)[0]
    top = brightest([shown.density(truth, run, time) for time in frames[:: max(1, count // 4)]])
    meshes = [
        shown.draw(panel, shown.density(ds, run, frames[0]), top) for panel, (_, ds) in zip(panels, named, strict=True)
    ]
    for panel, (label, _) in zip(panels, named, strict=True):
        panel.set_title(label)
        panel.set_xlabel(axis_label(truth, shown.coordinates[0].name))
    panels[0].set_ylabel(axis_label(truth, shown.coordinates[1].name))
    figure.colorbar(meshes[-1], ax=panels, label="probability density", fraction=0.04, pad=0.02, extend="max")
    heading = figure.suptitle(" ")
    # Laid out once: again for every frame would take most of the time, and panels would jitter.
    figure.canvas.draw()
    figure.set_layout_engine("none")

    moments = dict(zip(frames, time_labels(truth, frames), strict=True))

    def draw(time: int) -> None:
        for mesh, (_, ds) in zip(meshes, named, strict=True):
            mesh.set_array(shown.density(ds, run, time).T)
        heading.set_text(", ".join(filter(None, [run_label(truth, run), moments[time]])))

    # Frames of the panels are drawn over what moves within them.
    moving = [*meshes, *(spine for panel in panels for spine in panel.spines.values()), heading]
    with written_aside(path, replace=overwrite) as aside:
        if path.suffix == ".mp4":
            _write_mp4(figure, draw, frames, aside, frames_per_second)
        else:
            _write_gif(figure, draw, moving, frames, aside, frames_per_second)
    return path


def _write_gif(
    figure: Figure,
    draw: Callable[[int], None],
    moving: Sequence[Artist],
    frames: list[int],
    path: Path,
    frames_per_second: float,
) -> None:
    """Of every frame only what moves is drawn: ticks and their labels take most of the time."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    for artist in moving:
        artist.set_animated(True)
    canvas.draw()
    rest = canvas.copy_from_bbox(figure.bbox)
    images = []
    for frame in frames:
        draw(frame)
        canvas.restore_region(rest)
        for artist in moving:
            figure.draw_artist(artist)
        images.append(Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]).quantize(128))
    # Not matplotlib's own writer: it takes the format from the suffix, which a file written aside does not have.
    duration = round(1000 / frames_per_second)
    images[0].save(path, format="GIF", save_all=True, append_images=images[1:], duration=duration, loop=0)


def _write_mp4(
    figure: Figure, draw: Callable[[int], None], frames: list[int], path: Path, frames_per_second: float
) -> None:
    from matplotlib.animation import FFMpegWriter

    writer = FFMpegWriter(fps=max(1, round(frames_per_second)), extra_args=["-f", "mp4"])
    with writer.saving(figure, str(path), dpi=120):
        for frame in frames:
            draw(frame)
            writer.grab_frame()
