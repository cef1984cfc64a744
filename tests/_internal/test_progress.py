"""Bars over several phases."""

import pytest

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


def test_the_bar_names_the_phase(capsys: pytest.CaptureFixture[str]) -> None:
    with whole_bar(PHASES, show=True) as whole, whole.phase("simulate"):
        pass
    shown = capsys.readouterr().err
    assert "simulate" in shown
    assert "30%" in shown
    assert "left" in shown
