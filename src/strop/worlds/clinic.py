"""clinic: a patient who tells one symptom a question, and a diagnosis that is due within so many turns (arXiv:2505.19630).

    >b?     ->   b+      a question: one symptom, one question mark
    >z?     ->   sorry   nobody knows
    >b?     ->   again   it was asked before
    >=a g   ->           a diagnosis, two words: the end

Actions are short, for policies whose tokens are letters; in prose they are `<think>…</think><answer>Do you have a fever?</answer>` and
`<answer>Diagnosis: … Recommendation: …</answer>`. What an action earns, by the released code and in its order of checks:

    malformed                               -2   whenever it is said: one at the last turn buys another
    a diagnosis                             5 F1 of its words, and 5 F1 of the advice's where a case has some; the end, whenever it is said
    anything else at or behind the last turn  -5   the end
    no question mark, or several            -2
    asked before                            -2
    the patient knows nothing of it         -1
    the patient tells something             +1

The patient is a script, a stand-in for a model that was told a case: it reads the symptom that a question names. A policy takes its place
as `patient` (`strop.worlds.partner`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

from strop.records import Task
from strop.seams.context import Handle, keyed
from strop.seams.part import nearest
from strop.seams.world import Reply, Said, Seat
from strop.worlds.partner import Hidden, Partner
from strop.worlds.symptoms import signs

EARNS = {"malformed": -2.0, "late": -5.0, "not one question": -2.0, "repeated": -2.0, "unknown": -1.0, "told": 1.0}
"""What each event but a diagnosis is worth."""
PER_PART = 5.0
"""Of a diagnosis, and of a recommendation, that is right word for word."""
FREE = 10
"""Turns of a doctor who is held to none."""
WIDEST = 400
"""Characters of an answer that are read."""


class Manner(NamedTuple):
    """How a dialogue is written."""

    action: re.Pattern[str]
    """All of a well-formed action, with its answer as a group."""
    diagnosis: str
    """What a diagnosis has before it."""
    advice: str
    """What a recommendation has before it."""
    question: str
    """As the expert writes it, {} being the symptom."""
    said: str
    """As it writes an answer."""
    yes: str
    """What the patient says of a symptom that it has."""
    no: str
    """And of one that it has not."""
    told: Mapping[str, str]
    """What is heard of an action that no patient heard, by the event; `unknown` is the script's refusal."""


MANNERS = {
    "short": Manner(
        re.compile(r">([^>\n]*)"),
        "=",
        "+",
        "{}?",
        ">{}",
        "{}+",
        "{}-",
        {"malformed": "form", "not one question": "one?", "repeated": "again", "unknown": "sorry"},
    ),
    "prose": Manner(
        re.compile(r"\s*<think>(?:(?!</?think>|</?answer>).)*</think>\s*<answer>((?:(?!</?think>|</?answer>).)*)</answer>\s*", re.DOTALL),
        "Diagnosis:",
        "Recommendation:",
        "Do you have {}?",
        "<think></think><answer>{}</answer>",
        "Yes, {}.",
        "No {}.",
        {
            "malformed": "Say <think>…</think><answer>…</answer>, and nothing behind it.",
            "not one question": "Ask one question at a time.",
            "repeated": "You have asked me that.",
            "unknown": "Sorry, I know nothing of that.",
        },
    ),
}
TOLD = {
    "short": "Your part knows the case. You are asked of a symptom, as `b?`: say `b+` where the case has b+, and `b-` where it has b-. Say "
    "`sorry` to anything else. Never name the illness.",
    "prose": "You are ill, and a doctor asks you. Say in one short sentence what the case says of the symptom that is asked about. Where "
    "the question is about anything else, say only: Sorry. Never name the illness.",
}
"""What a policy in the patient's place is told to do."""


def words(text: str, spaces: bool = False) -> list[str]:
    """A text's words; with `spaces` what is between them too, as the released tokenizer gives it.

    >>> words("viral rhinitis"), words("viral rhinitis", spaces=True)
    (['viral', 'rhinitis'], ['viral', ' ', 'rhinitis'])
    """
    return re.findall(r"\w+|\W" if spaces else r"\w+", text.casefold())


def word_f1(said: str, gold: str, *, spaces: bool = False) -> float:
    """F1 of two bags of words; 0 where one is empty.

    >>> word_f1("viral asthma", "viral rhinitis"), word_f1("acute asthma", "viral rhinitis")
    (0.5, 0.0)
    >>> round(word_f1("acute asthma", "viral rhinitis", spaces=True), 3)
    0.333
    """
    one, other = Counter(words(said, spaces)), Counter(words(gold, spaces))
    both = (one & other).total()
    return 2 * both / (one.total() + other.total()) if both else 0.0


def event(answer: str | None, diagnosis: str, turn: int, limit: int, asked: Sequence[str]) -> str:
    """What an action is, in the order of the released checks: its format, a diagnosis, the last turn, one question, a repeat. Nothing
    where the patient is to be asked.

    >>> event(None, "=", 4, 4, ()), event("=a g", "=", 5, 4, ()), event("b?", "=", 4, 4, ()), event("b?", "=", 3, 4, ["b"])
    ('malformed', 'diagnosis', 'late', 'repeated')
    """
    if answer is None:
        return "malformed"
    if diagnosis in answer:
        return "diagnosis"
    if turn >= limit:
        return "late"
    if len(re.findall(r"[?？]", answer)) != 1:
        return "not one question"
    return "repeated" if alike(answer) in asked else ""


def alike(question: str) -> str:
    """A question as repeats are told by: its words."""
    return " ".join(words(question))


@dataclass(frozen=True)
class Clinic:
    """`seat.turns` is the last turn. A task has its `case` (symptom: whether the patient has it), `illness` and `advice`."""

    manner: str = "short"
    """short, or prose."""
    patient: Partner | None = None
    """A policy in the patient's place."""
    held: bool = True
    """Doctors are held to the last turn. False: its number is told and means nothing."""
    seats: ClassVar = ("patient",)

    def __post_init__(self) -> None:
        if self.manner not in MANNERS:
            raise ValueError(f"Clinic(manner={self.manner!r}): {' or '.join(MANNERS)}. {nearest(self.manner, MANNERS)}")

    @property
    def asks(self) -> tuple[str, ...]:
        """The patient, where a policy is."""
        return () if self.patient is None else (self.patient.name,)

    @property
    def repeats(self) -> str:
        """A policy behind an endpoint may answer the same question otherwise."""
        return "exact" if self.patient is None else "no"

    def seating(self, names: tuple[str, ...]) -> Clinic:
        """With a policy as its patient: as the paper's, at temperature 0.01, with up to 256 tokens an answer in prose."""
        most = 256 if self.manner == "prose" else 16
        return replace(self, patient=Partner(names[0], TOLD[self.manner], "Patient", "Doctor", max_tokens=most))

    def start(self, task: Task, seat: Seat) -> dict[str, Any]:
        needs, most = task.needs, seat.turns if self.held else FREE
        return {
            "case": dict(needs["case"]),
            "illness": needs["illness"],
            "advice": needs["advice"],
            "stated": "turns" in needs,
            "limit": most,
            "turn": 0,
            "asked": [],
            "past": [],
            "counts": dict.fromkeys((*EARNS, "leaked", "overreached"), 0),
            "own": seat.own,
            "stops": keyed(seat.own, "stops").randint(min(1, most - 1), max(most - 1, 0)),
        }

    async def reply(self, state: dict[str, Any], said: Said, ask: Mapping[str, Handle]) -> tuple[dict[str, Any], Reply]:
        manner = MANNERS[self.manner]
        found = manner.action.fullmatch(said.text[: 64 * WIDEST])
        answer = found[1].strip()[:WIDEST] if found else None
        state = {**state, "turn": state["turn"] + 1}
        what = event(answer, manner.diagnosis, state["turn"], state["limit"], state["asked"])
        if answer is None or what not in ("", "diagnosis"):
            return self._on(state, what, manner.told.get(what, ""))
        if what:
            diagnosis, _, care = answer.partition(manner.diagnosis)[2].partition(manner.advice)
            return self._diagnosed(state, diagnosis, care)
        return await self._hear(state, answer, ask)

    async def _hear(self, state: dict[str, Any], question: str, ask: Mapping[str, Handle]) -> tuple[dict[str, Any], Reply]:
        counts = state["counts"]
        if self.patient is None:
            text = self._script(state["case"], question)
        else:
            hidden = Hidden(self._case(state), state["illness"])
            place = f"{state['own']}/{self.patient.name}/{state['turn']}"
            heard = await self.patient.answer(hidden, [tuple(pair) for pair in state["past"]], question, ask, place)
            if heard.why:
                return state, Reply("", done=True, stop="error", facts={"error": heard.why})
            text = heard.text
            more = {"leaked": counts["leaked"] + heard.leaked, "overreached": counts["overreached"] + heard.overreached}
            state = {**state, "counts": {**counts, **more}}
        asked, past = [*state["asked"], alike(question)], [*state["past"], [question, text]]
        return self._on({**state, "asked": asked, "past": past}, "unknown" if text.casefold().startswith("sorry") else "told", text)

    def _script(self, case: Mapping[str, bool], question: str) -> str:
        """Of the one symptom that a question names."""
        manner = MANNERS[self.manner]
        named = [one for one in case if one in words(question)]
        if len(named) != 1:
            return manner.told["unknown"]
        return (manner.yes if case[named[0]] else manner.no).format(named[0])

    def _case(self, state: Mapping[str, Any]) -> str:
        """What a policy in the patient's place knows."""
        manner = MANNERS[self.manner]
        told = " ".join((manner.yes if there else manner.no).format(name) for name, there in state["case"].items())
        return f"Illness: {state['illness']}\nCase: {told}"

    def _on(self, state: dict[str, Any], what: str, told: str) -> tuple[dict[str, Any], Reply]:
        """Behind what was no diagnosis: the next turn, or the end."""
        counts = {**state["counts"], what: state["counts"][what] + 1}
        state = {**state, "counts": counts}
        facts, late = self._facts(state, what, EARNS[what]), what == "late"
        return state, Reply(told, done=late, stop="turns" if late else "finished", facts=facts, scores=scores(state, 0.0))

    def _diagnosed(self, state: dict[str, Any], diagnosis: str, care: str) -> tuple[dict[str, Any], Reply]:
        f1 = word_f1(diagnosis, state["illness"])
        earned = PER_PART * f1 + PER_PART * word_f1(care, state["advice"])
        return state, Reply("", done=True, facts=self._facts(state, "diagnosis", earned), scores=scores(state, f1))

    def _facts(self, state: Mapping[str, Any], what: str, earned: float) -> dict[str, Any]:
        return {"event": what, "earned": earned, "leaked": state["counts"]["leaked"], "overreached": state["counts"]["overreached"]}

    def expert(self, state: dict[str, Any]) -> str:
        """Asks, so often as its own noise says and not to the last turn, every other time of what belongs to the illness alone and else of
        anything; then it says the illness. It knows the file, as doctors do in the dialogues that are imitated."""
        manner, case = MANNERS[self.manner], state["case"]
        left = [name for name in case if not any(name in asked.split() for asked in state["asked"])]
        if (count := len(case) - len(left)) < min(state["stops"], len(case)):
            rng, suspected = keyed(state["own"], "asks", count), [name for name in signs(self.manner, state["illness"]) if name in left]
            name = rng.choice(suspected if suspected and rng.random() < 0.5 else left)
            return manner.said.format(manner.question.format(name))
        return manner.said.format(diagnosed(self.manner, state["illness"], state["advice"]))


def diagnosed(manner: str, illness: str, care: str = "") -> str:
    """A diagnosis, as it is written.

    >>> diagnosed("short", "a g"), diagnosed("prose", "viral rhinitis", "rest fluids")
    ('=a g', 'Diagnosis: viral rhinitis Recommendation: rest fluids')
    """
    how, gap = MANNERS[manner], "" if manner == "short" else " "
    return f"{how.diagnosis}{gap}{illness}" + (f"{gap}{how.advice}{gap}{care}" if care else "")


def scores(state: Mapping[str, Any], f1: float) -> dict[str, float]:
    """The verdict: right word for word and in time. And turns, and what went wrong; under the number of turns that a task
    states itself, whether it was right within them and how many it took."""
    counts, right = state["counts"], float(f1 == 1.0 and state["turn"] <= state["limit"])
    found = {"outcome": right, "f1": f1, "turns": float(state["turn"])}
    found |= {"repeats": float(counts["repeated"]), "leaks": float(counts["leaked"])}
    found["invalid"] = float(counts["malformed"] + counts["not one question"] + counts["unknown"])
    told = {f"within_{state['limit']}": right, f"taken_{state['limit']}": float(state["turn"])}
    return found | (told if state["stated"] else {})
