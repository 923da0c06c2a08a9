"""From paired differences to a verdict. Student's t throughout: seeds are few, and their differences are all we know.

effect    the mean over seeds of (arm - control), both from the same tasks, seed and initial weights
interval  its two-sided t interval; several claims judged together share the error: each gets level 1 - (1 - level) / claims
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev
from typing import Any, Literal, cast

Word = Literal["supported", "refuted", "inconclusive"]

LEVEL = 0.95
POWER = 0.8


def _scipy() -> Any:
    try:
        from scipy import optimize, stats  # pyright: ignore[reportMissingTypeStubs]
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("claims are judged with scipy: pip install 'strop[claims]'", name="scipy") from error
    return stats, optimize


def auroc(scores: Sequence[float], positive: Sequence[bool]) -> float | None:
    """The chance that a positive has a higher score than a negative, a tie being half; None without both.

    >>> auroc([0.9, 0.5, 0.5, 0.1], [True, True, False, False])
    0.875
    """
    below = sorted(score for score, is_one in zip(scores, positive, strict=True) if not is_one)
    above = [score for score, is_one in zip(scores, positive, strict=True) if is_one]
    if not below or not above:
        return None
    return sum(bisect_left(below, score) + bisect_right(below, score) for score in above) / (2 * len(below) * len(above))


@dataclass(frozen=True)
class Judgement:
    verdict: Word
    effect: float
    interval: tuple[float, float]
    level: float


def corrected(claims: int, level: float = LEVEL) -> float:
    """Bonferroni: the level of each of several intervals, so that all hold together at `level`."""
    return 1 - (1 - level) / claims


def interval(differences: Sequence[float], level: float = LEVEL) -> tuple[float, float]:
    """The t interval of the mean. One difference says nothing about its spread: the interval is the whole line."""
    if len(differences) < 2:
        return float("-inf"), float("inf")
    stats, _ = _scipy()
    half = float(stats.t.ppf((1 + level) / 2, len(differences) - 1)) * stdev(differences) / sqrt(len(differences))
    mean = fmean(differences)
    return mean - half, mean + half


def judge(differences: Sequence[float], threshold: float, level: float = LEVEL) -> Judgement:
    """Supported when the whole interval lies above the threshold, refuted when it lies below, else inconclusive.

    >>> judge([0.30, 0.28, 0.31, 0.29], threshold=0.1).verdict
    'supported'
    """
    low, high = interval(differences, level)
    word: Word = "supported" if low > threshold else "refuted" if high < threshold else "inconclusive"
    return Judgement(word, fmean(differences), (low, high), level)


def judge_tie(differences: Sequence[float], margin: float, level: float = LEVEL) -> Judgement:
    """For a claim that two arms agree: supported when the interval lies within the margin, refuted when it lies outside."""
    low, high = interval(differences, level)
    outside = low > margin or high < -margin
    word: Word = "supported" if -margin < low and high < margin else "refuted" if outside else "inconclusive"
    return Judgement(word, fmean(differences), (low, high), level)


def power(effect: float, spread: float, seeds: int, level: float = LEVEL) -> float:
    """The chance that `judge` supports a true margin of `effect` over its threshold, when differences spread with this deviation."""
    if spread == 0:
        return 1.0 if effect > 0 else 0.0
    stats, _ = _scipy()
    critical = stats.t.ppf((1 + level) / 2, seeds - 1)
    return float(stats.nct.sf(critical, seeds - 1, effect / spread * sqrt(seeds)))


def smallest_detectable(pilot: Sequence[float], seeds: int, *, chance: float = POWER, level: float = LEVEL) -> float:
    """The margin over its threshold that `seeds` paired seeds find with this chance, the spread taken from a pilot's differences."""
    if len(pilot) < 2 or seeds < 2:
        return float("inf")
    spread = stdev(pilot)
    if spread == 0:
        return 0.0
    _, optimize = _scipy()
    top = spread
    while power(top, spread, seeds, level) < chance:
        top *= 2

    def short(effect: float) -> float:
        return power(effect, spread, seeds, level) - chance

    return cast(float, optimize.brentq(short, 0.0, top, xtol=1e-9 * spread))
