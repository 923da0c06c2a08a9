"""scenes: four things, told in words or as a code, to be read, and captions of them to be judged.

    FKAC?                      ->   <answer>gs bs rc rt</answer>      all of them; of a scene in words it is asked in the same way
    3rc 1gs 4rt 2bs? 3         ->   <answer>rc</answer>               the one at a place
    FKAC: 1) 3yc 2) 3rc        ->   <answer>3rc</answer>              what stands where two captions say something of
    1) 3yc 2) 3rc? 3rc         ->   <answer>2</answer>                which of two is this one

    3rc 1gs 4rt 2bs: 1) 3yc 2) 3rc
                               ->   <think>3rc</think><answer>2</answer>

A letter of a code is a colour and a shape at once, and codes share no letter with words: they stand in for the patches of an image, and
there is no image. A caption says what stands at a place; two of them differ in colour or in shape, each is right as often, so only the
scene tells which. With `ask=taught` the source is what a base is taught by: the first four of these, the fourth in half of the tasks, both
ways of showing a scene alike, and no judging: no question of it asks which caption is right of a scene. `ask=scores` asks for a number
from 1 to 10 for each caption: 10 for a right one, 7 for a wrong shape and 4 for a wrong colour. Judged scenes are shown in words, or with
`shown=grid` as codes. `written(task, rng)` is a judgement by somebody who slips, with a chance of `slips`, in what is seen or in how it is
scored.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field

from strop.records import Task
from strop.seams.judge import Form, Unread
from strop.seams.part import nearest
from strop.seams.source import Graded, Split
from strop.tasks.procedural import WIDEST, answered, draw, grade_by, loose_answers, strict_answer, within
from strop.tasks.verdict import verdicts

COLOURS, SHAPES, CODES = "rgby", "cstd", "ABCDEFGHIJKLMNOP"
PLACES = 4
BEST, OTHER_SHAPE, OTHER_COLOUR = 10, 7, 4
ASKS, SHOWN = ("pair", "scores", "taught"), ("words", "grid")
TAUGHT = ("scene", "thing", "place", "find", "find", "find")
"""What is asked of a base: what is hardest to learn in half of the tasks."""
PAIR = Form("pair", "{prompt}: 1) {first} 2) {second}", tag="answer", max_tokens=16)
"""How scenes ask which of two captions is better."""
POINT = Form("point", "{prompt}: {reply} {low}-{high}", low=1, high=10, tag="answer", max_tokens=16)
"""And how good one is."""
FIVE = Form("point", "{prompt}: {reply} {low}-{high}", low=1, high=5, tag="answer", max_tokens=16)
SAID = re.compile(r"<answer>([0-9]{1,2})</answer><answer>([0-9]{1,2})</answer>")


@dataclass(frozen=True)
class Scenes:
    """What is asked of a scene, and how it is shown."""

    ask: str = "pair"
    shown: str = "words"
    slips: float = 0.3
    name: str = field(default="scenes", init=False)
    size: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        for knob, known in (("ask", ASKS), ("shown", SHOWN)):
            if getattr(self, knob) not in known:
                raise ValueError(f"scenes: {knob} is {', '.join(known)}. {nearest(getattr(self, knob), known)}")
        within(self, "slips", 0.0, 1.0)

    def task(self, split: Split, seed: int, index: int) -> Task:
        def make(rng: random.Random) -> Task:
            things = [rng.choice(COLOURS) + rng.choice(SHAPES) for _ in range(PLACES)]
            views = {"words": words(things, rng), "grid": grid(things)}
            at = rng.randrange(PLACES)
            asked, shown = (rng.choice(TAUGHT), rng.choice(SHOWN)) if self.ask == "taught" else (self.ask, self.shown)
            scene, seen = views[shown], f"{at + 1}{things[at]}"
            replies, scores = _captions(seen, rng)
            better = "1" if scores[0] > scores[1] else "2"
            pair = PAIR.question(scene, replies, (0, 1)).text
            prompt, answer = {
                "scene": (f"{scene}?", " ".join(things)),
                "thing": (f"{scene}? {at + 1}", things[at]),
                "place": (pair, seen),
                "find": (f"1) {replies[0]} 2) {replies[1]}? {seen}", better),
                "pair": (pair, better),
                "scores": (f"{pair} 1-10", better),
            }[asked]
            judged = {"question": scene, "replies": replies, "scores": scores, "seen": seen}
            needs = {"things": things, **views, **judged, "asked": asked, "answer": answer}
            return Task(prompt, needs, self.name, {"seed": seed, "index": index})

        return draw(self, split, seed, index, make, same=lambda task: task.needs["things"])

    def grade(self, task: Task, text: str) -> Graded:
        if self.ask == "scores":
            return _scored(text, task.needs["scores"])

        def judge(answer: str) -> str:
            return "" if answer == task.needs["answer"] else f"not {task.needs['answer']}"

        return grade_by(text, judge, verdicts if self.ask == "pair" else loose_answers)

    def gold(self, task: Task) -> str:
        if self.ask == "taught":
            return f"<answer>{task.needs['answer']}</answer>"
        return self._judged(task, task.needs["seen"], task.needs["scores"])

    def written(self, task: Task, rng: random.Random) -> str:
        if self.ask == "taught" or rng.random() >= self.slips:
            return self.gold(task)
        scores = list(task.needs["scores"])
        if rng.random() < 0.5:  # scored otherwise, and in the same order
            worse = min(range(2), key=lambda i: scores[i])
            scores[worse] = OTHER_SHAPE + OTHER_COLOUR - scores[worse]
            return self._judged(task, task.needs["seen"], scores)
        wrong = next(reply for reply in task.needs["replies"] if reply != task.needs["seen"])
        return self._judged(task, wrong, scores[::-1])

    def answer(self, text: str) -> str | None:
        return strict_answer(text)[0]

    def _judged(self, task: Task, seen: str, scores: list[int]) -> str:
        if self.ask == "pair":
            return answered("1" if scores[0] > scores[1] else "2", seen)
        return f"<think>{seen}</think>" + "".join(f"<answer>{score}</answer>" for score in scores)


def _captions(seen: str, rng: random.Random) -> tuple[list[str], list[int]]:
    """A right caption and one with another colour or shape, in any order, and what each scores."""
    place, colour, shape = seen
    if rng.random() < 0.5:
        other, score = rng.choice(COLOURS.replace(colour, "")) + shape, OTHER_COLOUR
    else:
        other, score = colour + rng.choice(SHAPES.replace(shape, "")), OTHER_SHAPE
    replies, scores = [seen, f"{place}{other}"], [BEST, score]
    return (replies[::-1], scores[::-1]) if rng.random() < 0.5 else (replies, scores)


def _scored(text: str, wanted: list[int]) -> Graded:
    """Both scores exactly, each in its tag at the very end; lenient: the right one scores higher."""
    found = SAID.fullmatch(text.rpartition("</think>")[2].strip()) if len(text) < 2 * WIDEST else None
    said = [int(number) for number in found.groups()] if found else []
    outcome = said == wanted
    lenient = bool(said) and said[0] != said[1] and (said[0] > said[1]) == (wanted[0] > wanted[1])
    why = "" if outcome else f"scores {said}" if said else "no two scores at the end"
    return Graded({"outcome": float(outcome), "lenient": float(lenient)}, why)


def words(things: list[str], rng: random.Random) -> str:
    """Each thing behind its place, in any order."""
    told = [f"{place}{thing}" for place, thing in enumerate(things, 1)]
    return " ".join(rng.sample(told, len(told)))


def grid(things: list[str]) -> str:
    """A letter a thing."""
    return "".join(CODES[COLOURS.index(colour) * len(SHAPES) + SHAPES.index(shape)] for colour, shape in things)


def favours(text: str) -> str:
    """Which caption a reply names as the better one; nothing where it cannot be read."""
    try:
        first, second = PAIR.read(text, 2)
    except Unread:
        return ""
    return "1" if first > second else "2" if second > first else "tie"
