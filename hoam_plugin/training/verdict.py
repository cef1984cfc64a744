"""How a training went, by what its judge has seen of it."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from hoam_plugin.training.judge import Values, standard_error
from hoam_plugin.training.trail import Course

Outcome = Literal["converged", "still improving", "limited by the saved times", "unstable"]

# A model is worse than another one beyond so many standard errors of the difference, and by such a share of what
# training has gained; in so many judgements in a row at once, or by any clear difference for such a share of training.
_STANDARD_ERRORS = 4.0
_MUCH_WORSE, _WORSE = 0.2, 0.02
_IN_A_ROW = 2
_FOR_LONG = 0.25
# What the last third of training must have gained, as a share of all, to be still improving.
_STILL_IMPROVING = 0.01
# So many standard errors of that gain are the judge's scatter, within which it cannot be told from none.
_CLEAR_GAIN = 2.0
_LAST = 1 / 3
# What every second saved time alone may change, as a share of all that training has gained; in shorter ones nothing
# can be told.
_LEFT_OPEN = 0.15
LEAST_ITERATIONS = 100
_LEAST_JUDGEMENTS = 3


class Verdict(NamedTuple):
    """How a training ended.

    Attributes:
        outcome: in a word.
        sentence: with figures.
        advice: what would help, or "".
    """

    outcome: Outcome
    sentence: str
    advice: str = ""


def nothing_beyond_base(why: str = "") -> Verdict:
    """Of a training around a base that found no better correction than none.

    Args:
        why: training was given up, or "".
    """
    told = "held-out samples tell nothing beyond the base, which is returned without a correction"
    return Verdict("converged", f"{told}; {why}" if why else told)


def nothing_learned() -> Verdict:
    """Of a training that found nothing better than what it began with."""
    told = "no model on the way was judged better than none beyond the noise, so that it moves nothing"
    return Verdict("still improving", told, "use more samples, a lower learning_rate or more iterations")


def is_better(values: Values, than: Values) -> bool:
    """Whether a model is better than another one beyond the noise of the judge."""
    return _clear_excess(than - values) > 0


def got_worse(course: Course, start: Values, iterations: int) -> str | None:
    """Why training has to go back: its loss falls while its judge rises, far beyond its noise. None where it does not.

    Args:
        course: so far.
        start: what the judge said before the first iteration.
        iterations: of the whole training.
    """
    if len(course.values) <= _IN_A_ROW:
        return None
    best = int(np.argmin(course.values.mean(axis=1)))
    gained = float(np.mean(start - course.values[best]))
    after = course.values[best + 1 :] - course.values[best]
    if len(after) < _IN_A_ROW or gained <= 0 or course.losses[-1] >= course.losses[best]:
        return None
    excess = np.asarray([_clear_excess(difference) for difference in after])
    at_once = bool((excess[-_IN_A_ROW:] > _MUCH_WORSE * gained).all())
    since = course.iterations[-1] - course.iterations[best]
    for_long = since >= _FOR_LONG * iterations and bool((excess > _WORSE * gained).all())
    if not (at_once or for_long):
        return None
    before, now = float(np.mean(course.values[best])), float(np.mean(course.values[-1]))
    return (
        f"the loss ran away: since iteration {course.iterations[best]:.0f} it fell from {course.losses[best]:.3g} "
        f"to {course.losses[-1]:.3g}, while the judge's has risen from {before:.3g} to {now:.3g}, so the quadrature "
        "error in time is being exploited; use more quadrature nodes, a smaller hyper-network or a lower learning_rate"
    )


def ending(course: Course, start: Values, half_the_times: Values | None, best: Values | None) -> Verdict:
    """What limits a training that ran to its end.

    Args:
        course: of the training.
        start: what the judge said before the first iteration.
        half_the_times: what it says of the best model where every second saved time counts alone, if it can tell.
        best: what it says of the best model.
    """
    if best is not None and half_the_times is not None and course.iterations[-1] >= LEAST_ITERATIONS:
        gained, open_ = float(np.mean(start - best)), half_the_times - best
        share = abs(float(np.mean(open_))) / gained if is_better(best, start) else 0.0
        if share > _LEFT_OPEN and abs(float(np.mean(open_))) > _STANDARD_ERRORS * standard_error(open_):
            return Verdict(
                "limited by the saved times",
                f"every second saved time alone would change the judge by {share:.0%} of what training gained, so that "
                "the saved times do not resolve how the population moves",
                "use more quadrature nodes, or place them where the population moves fast (clock='population')",
            )
    values = course.values.mean(axis=1)
    last = course.iterations > (1 - _LAST) * course.iterations[-1]
    if last.sum() < _LEAST_JUDGEMENTS:
        last[-_LEAST_JUDGEMENTS:] = True
    if last.sum() < 2:
        return Verdict("still improving", "it was too short to tell")
    x = course.iterations[last]
    gains = -np.polyfit(x, course.values[last], 1)[0] * (x[-1] - x[0])
    gained = float(np.mean(start)) - float(values.min())
    if gained <= 0:
        return Verdict("still improving", "nothing has been learned yet")
    return _of_the_last_third(float(np.mean(gains)) / gained, _CLEAR_GAIN * standard_error(gains) / gained)


def _of_the_last_third(share: float, scatter: float) -> Verdict:
    """What it has gained, and what that means.

    Args:
        share: of all that training has gained; negative where it has lost.
        scatter: what the judge cannot tell from 0, as a share of the same.
    """
    text = f"the last third of training gained {share:.1%} of all that it gained"
    if share < -scatter:
        text = f"the last third of training lost {-share:.1%} of all that it had gained"
        return Verdict("converged", f"{text}, more than the judge's scatter of {scatter:.1%}: longer did not help")
    if share > max(scatter, _STILL_IMPROVING):
        why = f"more than the judge's scatter of {scatter:.1%} and than the {_STILL_IMPROVING:.0%} that counts"
        return Verdict("still improving", f"{text}, {why}: more iterations would help")
    if share + scatter <= _STILL_IMPROVING:
        why = f"with the judge's scatter of {scatter:.1%} no more than the {_STILL_IMPROVING:.0%} that counts"
        return Verdict("converged", f"{text}, {why}: more iterations would hardly help")
    if share > scatter:
        why = f"more than the judge's scatter of {scatter:.1%}, but less than the {_STILL_IMPROVING:.0%} that counts"
        return Verdict("converged", f"{text}, {why}: more iterations would help little")
    why = f"which the judge, with a scatter of {scatter:.1%}, cannot tell from none"
    return Verdict("converged", f"{text}, {why}: more iterations may help or not, more held-out samples would tell")


def _clear_excess(differences: Float[np.ndarray, " subsets"]) -> float:
    """Their mean where it is beyond its noise, else 0."""
    mean = float(np.mean(differences))
    return mean if mean > _STANDARD_ERRORS * standard_error(differences) else 0.0
