"""Bars over several phases."""

import contextlib
import logging

import pytest

from hoam_plugin._internal.logs import LOGGER, say, without_progress
from hoam_plugin._internal.progress import Phase, Whole, progress_bar, whole_bar

PHASES = {"simulate": Phase(30.0, bars=2), "train": Phase(60.0), "compare": Phase(10.0)}


def test_bars_of_a_phase_share_what_it_is_expected_to_take() -> None:
    with whole_bar(PHASES, show=True) as whole:
        assert whole.total == 100
        with whole.phase("simulate"):
            with progress_bar("one", 10, show=True) as advance:
                advance(5)
                assert whole.done == pytest.approx(7.5)
                advance(5)
            with progress_bar("other", 4, show=True) as advance:
                advance()
                assert whole.done == pytest.approx(15 + 15 / 4)
        # What a bar was not told is done when the phase has ended.
        assert whole.done == 30
        with whole.phase("train"), progress_bar("fit", 5, show=True) as advance:
            advance(9)
            assert whole.done == 90
            advance(-6)
            assert whole.done == pytest.approx(30 + 60 * 3 / 5)
        with whole.phase("compare"):
            assert whole.done == 90
        assert whole.done == 100


def test_without_a_whole_and_without_progress_bars_are_their_own() -> None:
    with whole_bar(PHASES, show=False) as whole, whole.phase("train"), progress_bar("fit", 5, show=False) as advance:
        advance(5, note="loss")
        assert whole.done == 0


def test_the_estimate_begins_with_what_is_expected_and_goes_with_the_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("hoam_plugin._internal.progress.time.perf_counter", lambda: now[0])
    whole = Whole(PHASES)
    assert whole.left == "about 100 s left"
    with whole.phase("simulate"):
        now[0] = 90.0
    # Three times as slow as expected: of what is left, a little less than three times as long.
    assert whole.left == "about 175 s left"


def test_the_bar_names_the_phase(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    # rich takes what it writes to for a terminal.
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with whole_bar(PHASES, show=True) as whole, whole.phase("simulate"):
        pass
    shown = capsys.readouterr().err
    assert "simulate" in shown
    assert "30%" in shown
    assert "left" in shown


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that all clocks show."""
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    return now


def test_without_a_terminal_there_is_a_line_every_half_minute(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "hoam_plugin"), progress_bar("fit", 200, show=True) as advance:
        for second in range(0, 100, 10):
            clock[0] = second
            advance(10, note=f"loss {second}")
        clock[0] = 4000
        advance(50)
    assert [record.name for record in caplog.records] == ["hoam_plugin"] * 5
    assert caplog.messages == [
        "fit: 20 %, 0:00:30 elapsed, about 0:02:00 left, loss 30",
        "fit: 35 %, 0:01:00 elapsed, about 0:01:51 left, loss 60",
        "fit: 50 %, 0:01:30 elapsed, about 0:01:30 left, loss 90",
        "fit: 75 %, 1:06:40 elapsed, about 0:22:13 left, loss 90",
        "fit: 100 %, 1:06:40 elapsed, loss 90",
    ]


def test_lines_over_several_phases(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "hoam_plugin"), whole_bar(PHASES, show=True) as whole:
        with whole.phase("simulate"), progress_bar("one", 10, show=True) as advance:
            clock[0] = 31
            advance(5, note="halfway")
        with whole.phase("train"):
            clock[0] = 62
    assert caplog.messages == [
        f"simulate: 8 %, 0:00:31 elapsed, about {92.5 * 41 / 17.5:.0f} s left, halfway",
        f"train: 90 %, 0:01:02 elapsed, about {10 * 72 / 100:.0f} s left",
        "train: 100 %, 0:01:02 elapsed",
    ]


def test_short_and_failed_work_leaves_no_last_line(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "hoam_plugin"):
        with progress_bar("short", 10, show=True) as advance:
            clock[0] = 29.0
            advance(10)
        with contextlib.suppress(KeyboardInterrupt), progress_bar("long", 10, show=True) as advance:
            clock[0] = 70.0
            advance(0)
            raise KeyboardInterrupt
    assert caplog.messages == ["long: 0 %, 0:00:41 elapsed"]


def test_whoever_asks_for_progress_gets_it_without_logging_too(capsys: pytest.CaptureFixture[str]) -> None:
    say("fit: 50 %")
    assert capsys.readouterr().err == "fit: 50 %\n"
    with without_progress():
        say("fit: 50 %")
    assert capsys.readouterr().err == ""


def test_lines_go_to_whoever_listens(capsys: pytest.CaptureFixture[str]) -> None:
    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    lines: list[str] = []
    handler = Kept()
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    try:
        say("fit: 50 %")
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(logging.NOTSET)
    assert (lines, capsys.readouterr().err) == (["fit: 50 %"], "")
