"""Symptoms: sixteen illnesses of two words, twelve symptoms of which each tells something of one word, and exact arithmetic of who asks.

    a b c d   a patient has it where the word is the first, second, third, fourth one; right in 95 of 100   of an illness's first word
    e  f      where it is one of the first two, or the first or third; right in 90, and in 70
    g … l     likewise                                                                                     of its second word

A word is one of four, all illnesses are as frequent, and symptoms know nothing of each other beside the illness. So everything that a
doctor can know is a product, and what the best one reaches can be counted out: `ceilings` over all orders of questions, `answers` for one
who asks for what tells most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np

NAMES: dict[str, tuple[str, ...]] = {
    "short": tuple("abcdefghijkl"),
    "prose": ("fever", "cough", "rash", "headache", "nausea", "fatigue", "dizziness", "itching", "swelling", "thirst", "cramps", "tremor"),
}
"""Of the symptoms, in each manner of writing."""
FIRST = {"short": tuple("abcd"), "prose": ("acute", "chronic", "viral", "allergic")}
SECOND = {"short": tuple("ghij"), "prose": ("gastritis", "bronchitis", "dermatitis", "rhinitis")}
"""Words of the illnesses. In letters each is called as the symptom that it brings."""
CARE = {"short": tuple("uvwx"), "prose": ("rest", "fluids", "fasting", "warmth")}
"""Advice: one word by an illness's first word, and one by its second."""
SHOWS = (({0}, 0.95), ({1}, 0.95), ({2}, 0.95), ({3}, 0.95), ({0, 1}, 0.9), ({0, 2}, 0.7))
"""Of the six symptoms of a word: which of its four it belongs to, and how often it is there just then."""
MOST = len(NAMES["short"])


def illnesses(manner: str) -> list[str]:
    """Their names, by number."""
    return [f"{one} {other}" for one in FIRST[manner] for other in SECOND[manner]]


def advice(manner: str, number: int) -> str:
    """What is recommended for one."""
    return f"{CARE[manner][number // 4]} {CARE[manner][number % 4]}"


def chance(number: int, symptom: int) -> float:
    """How likely a patient with this illness has this symptom."""
    word = number // 4 if symptom < MOST // 2 else number % 4
    belongs, right = SHOWS[symptom % (MOST // 2)]
    return right if word in belongs else round(1 - right, 2)


def signs(manner: str, illness: str) -> tuple[str, str]:
    """Of an illness the two symptoms that belong to its words alone.

    >>> signs("short", "b h"), signs("prose", "viral rhinitis")
    (('b', 'h'), ('rash', 'thirst'))
    """
    number = illnesses(manner).index(illness)
    return NAMES[manner][number // 4], NAMES[manner][MOST // 2 + number % 4]


@lru_cache(maxsize=1)
def chances() -> Any:
    """[illness, symptom]."""
    return np.array([[chance(number, symptom) for symptom in range(MOST)] for number in range(16)])


class Answered(NamedTuple):
    """What was answered to someone who asks, with its chance, and the illnesses' beside it."""

    known: Mapping[int, bool]
    joint: Any
    """[illness]: the chance of that illness and these answers."""


def informative(joint: Any, known: Mapping[int, bool]) -> int:
    """The symptom whose answer tells most of the illness, in nats; the first of equal ones."""

    def left(symptom: int) -> float:
        there = chances()[:, symptom]
        return sum(-float((p * np.log(np.maximum(p, 1e-300) / p.sum())).sum()) for p in (joint * there, joint * (1 - there)))

    return min((s for s in range(MOST) if s not in known), key=lambda s: round(left(s), 12))


@lru_cache(maxsize=1)
def answers() -> tuple[tuple[Answered, ...], ...]:
    """Of the one who always asks what tells most: by the number of questions, 0 to 9, all that may be answered."""
    rounds: list[tuple[Answered, ...]] = [(Answered({}, np.full(16, 1 / 16)),)]
    for _ in range(9):
        after = list[Answered]()
        for known, joint in rounds[-1]:
            symptom = informative(joint, known)
            there = chances()[:, symptom]
            after += [Answered({**known, symptom: True}, joint * there), Answered({**known, symptom: False}, joint * (1 - there))]
        rounds.append(tuple(after))
    return tuple(rounds)


def right(questions: int) -> float:
    """How often that one is right then."""
    return float(sum(joint.max() for _, joint in answers()[questions]))


def overlap(questions: int, power: int = 1) -> float:
    """Its mean word F1, or the mean of its square: each illness has two words, so it is the share that is right."""
    same = np.array([[((i // 4 == j // 4) + (i % 4 == j % 4)) / 2 for j in range(16)] for i in range(16)])
    return float(sum(joint @ same[joint.argmax()] ** power for _, joint in answers()[questions]))


@lru_cache(maxsize=1)
def _guessed() -> Any:
    """[yes, no or unasked, of each symptom]: max over illnesses of P(illness, known)."""
    halves = [np.ones((3,) * (MOST // 2) + (4,)) for _ in range(2)]
    for half, states in enumerate(halves):
        for state in product(range(3), repeat=MOST // 2):
            for word in range(4):
                symptoms = [(half * MOST // 2 + i, there) for i, there in enumerate(state) if there < 2]
                number = word * 4 if half == 0 else word
                states[(*state, word)] = prod(chance(number, s) if there == 0 else 1 - chance(number, s) for s, there in symptoms) / 4
    return np.multiply.outer(*(half.max(-1) for half in halves))


def _asked(values: Any, least: Any) -> Any:
    """Of each state the most that the best further question gives, or `least`."""
    after = least.copy()
    for symptom in range(MOST):
        open_ = (*(slice(None),) * symptom, 2)
        after[open_] = np.maximum(after[open_], np.take(values, 0, symptom) + np.take(values, 1, symptom))
    return after


@lru_cache(maxsize=1)
def ceilings() -> tuple[float, ...]:
    """How often anybody at all can be right, by the number of questions, 0 to 9: the best over all ways to ask.

    V_0(known) = max over illnesses of P(illness, known);  V_q(known) = max over symptoms of V_{q-1}(known + yes) + V_{q-1}(known + no)
    """
    values = [_guessed()]
    for _ in range(9):
        values.append(_asked(values[-1], np.zeros_like(values[0])))
    return tuple(float(one[(2,) * MOST]) for one in values)


def untold(turns: Sequence[int]) -> float:
    """How often anybody at all can be right in time who is not told the number of turns, one of these by chance, and stops by what was
    answered.

    W_t(known) = max(P(T >= t) V_0(known), max over symptoms of W_{t+1}(known + yes) + W_{t+1}(known + no))
    """
    after = np.zeros_like(_guessed())
    for turn in range(max(turns), 0, -1):
        after = _asked(after, _guessed() * (sum(last >= turn for last in turns) / len(turns)))
    return float(after[(2,) * MOST])


def explained(low: int = 2, high: int = 10, per_part: float = 5.0) -> float:
    """Of the variance of the return, the share that the number of turns explains where it is drawn for each rollout: of the one who asks
    what tells most until the last turn, +1 an answer, and then says what is likeliest.

    R = T - 1 + 5 F1;  Var E[R | T] / Var R, over T from low to high, all as likely
    """
    turns = range(low, high + 1)
    means = [t - 1 + per_part * overlap(t - 1) for t in turns]
    within = [per_part**2 * (overlap(t - 1, 2) - overlap(t - 1) ** 2) for t in turns]
    between = float(np.var(means))
    return between / (between + float(np.mean(within)))


def unseen(turns: Sequence[int]) -> tuple[int, float]:
    """Who is not told the number of turns and stops at the best one for these, all as likely: that turn, and how often it is right in
    time."""
    found = {stop: sum(ceilings()[stop - 1] for t in turns if stop <= t) / len(turns) for stop in range(1, 11)}
    best = max(found, key=lambda stop: found[stop])
    return best, found[best]


def table(turns: Sequence[int] = (2, 4, 6, 8, 10)) -> str:
    """How often the best doctor is right within so many turns, and the one who asks what tells most; and what an unseen number costs."""
    lines = [f"{'turns':>5}  {'best':>6}  {'greedy':>6}  {'word F1':>7}"]
    lines += [f"{t:5}  {ceilings()[t - 1]:6.3f}  {right(t - 1):6.3f}  {overlap(t - 1):7.3f}" for t in turns]
    stop, reached = unseen((2, 4, 6))
    shown = sum(ceilings()[t - 1] for t in (2, 4, 6)) / 3
    lines += [
        f"within 2, 4 and 6: {shown:.3f} where the number is shown; {untold((2, 4, 6)):.3f} where it is not; {reached:.3f} at turn {stop}"
    ]
    return "\n".join([*lines, f"share of the return's variance that the number explains, drawn by rollout: {explained():.3f}"])


if __name__ == "__main__":
    print(table())
