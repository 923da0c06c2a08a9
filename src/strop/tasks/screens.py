"""screens: goals in apps of a few screens, reached by one grammar of actions in the skins of four platforms (`worlds/screens.py`).

    ho km x=zu +qa.     ->   >click 2   >write 1 x   >click 2   >done

Training goals are set in `apps` apps, testing goals in others, with names and layouts of testing's own. With `goals` there are so many,
each with the shortest way to it, and beside each `walks` walks without a goal, said to be for what they happened to reach, or, with
`labels=shuffled`, for what another walk in the same app reached.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from strop.records import Task, digest
from strop.seams.part import nearest
from strop.seams.source import Graded, Split
from strop.seams.world import Broken, Call, World
from strop.tasks.procedural import draw, generator, grade_by, loose_answers, within
from strop.worlds.calls import Line
from strop.worlds.elements import SKINS, Refused, actions, meanings
from strop.worlds.screens import (
    MODES,
    VIEW,
    App,
    Screens,
    acted,
    action_for,
    made,
    opened,
    piece,
    reached,
    steps,
    visible,
    wandered,
)

LABELS, VERBS = ("reached", "shuffled"), ("unified", "own")
LENGTHS = (2, 5)
"""Actions of a goal, and of a walk one more at most."""
TRIES = 200


@dataclass(frozen=True)
class Goals:
    """Goals in `apps` training apps of `pages` pages in `rows` rows, in the first `skins` skins."""

    apps: int = 64
    goals: int = 0
    walks: int = 0
    labels: str = "reached"
    skins: int = 4
    verbs: str = "unified"
    mode: str = "direct"
    pages: int = 2
    rows: int = VIEW
    short: int = 1
    name: str = field(default="screens", init=False)

    def __post_init__(self) -> None:
        within(self, "apps", 1, 4096)
        within(self, "goals", 0, 1 << 20)
        within(self, "walks", 0, 64)
        within(self, "skins", 1, 4)
        within(self, "pages", 1, 4)
        within(self, "rows", 2, 12)
        within(self, "short", 0, 1)
        for knob, known in (("labels", LABELS), ("verbs", VERBS), ("mode", (*MODES, "mixed"))):
            if (value := getattr(self, knob)) not in known:
                raise ValueError(f"screens: {knob} is {' or '.join(known)}. {nearest(value, known)}")
        if self.walks and not self.goals:
            raise ValueError(f"screens: walks={self.walks} stand beside goals that are counted: say how many, goals=300")
        if self.walks and self.mode == "grounding":
            raise ValueError("screens: a walk is no answer to where something is: mode=direct, reasoned or mixed")

        if self.walks and self.labels == "shuffled" and self.goals * self.walks < 2 * self.apps:
            raise ValueError(
                f"screens: {self.goals * self.walks} walks in {self.apps} apps: labels are another walk's in one app, so two or more"
            )

    @property
    def size(self) -> int | None:
        """Goals, and the walks beside them."""
        return self.goals * (1 + self.walks) or None

    @property
    def sizes(self) -> dict[str, int | None]:
        """There is no end to what can be tested."""
        return {"train": self.size, "test": None}

    @property
    def world(self) -> World:
        """What its actions change."""
        return Screens()

    def task(self, split: Split, seed: int, index: int) -> Task:
        meta = {"seed": seed, "index": index}
        # what is tested is the same whatever was trained on
        asked = replace(self, apps=64, goals=0, walks=0, labels="reached", skins=4) if split == "test" else self

        def make(rng: random.Random) -> Task:
            if self.size is not None and split == "train" and index >= self.goals:
                return self._walk(seed, index - self.goals, meta)
            number = rng.randrange(1 << 20) if split == "test" else rng.randrange(self.apps)
            app = self.app(split, seed if split == "train" else 0, number)
            if (mode := self._mode(rng)) == "grounding":
                now = opened(rng, app) | {"at": rng.randrange(len(app.screens))}
                return self._task(app, now, now, [rng.choice(visible(app, now)).label], mode, meta)
            for _ in range(TRIES):
                now = opened(rng, app)
                walk, end, order = wandered(rng, app, now, rng.randint(*LENGTHS))
                if len(walk) == len(steps(app, now, end, order)) or self.rows > VIEW:
                    rng.shuffle(order)
                    if LENGTHS[0] <= len(steps(app, now, end, order)) <= LENGTHS[1]:
                        return self._task(app, now, end, order, mode, meta)
            raise ValueError("screens: an app in which no goal lies")

        return draw(asked, split, seed, index, make, same=lambda task: App.of(task.needs["app"]).template())

    def app(self, side: Split, seed: int, number: int) -> App:
        """The app of a number, for training or for testing."""
        return app_of(side, seed, number, [*SKINS][number % (self.skins if side == "train" else 4)], self.pages, self.rows)

    def _walk(self, seed: int, number: int, meta: dict[str, Any]) -> Task:
        """A piece of a walk, with what it reached, or what another piece in its app did."""
        place, of = number % self.apps, -(-self.goals * self.walks // self.apps)
        app = self.app("train", seed, place)
        pieces = walks_of(app, seed, place, of)
        now, walk, end, order = pieces[number // self.apps]
        begun = now
        if self.labels == "shuffled":  # another one's words, and what they ask for from here
            begun, _, end, order = pieces[(number // self.apps + 1) % of]
        says = said(app, begun, end, order)
        goal = {"at": end["at"], "values": now["values"] | {label: end["values"][label] for label in order}}
        mode = self.mode if self.mode != "mixed" else generator("screens", "mode", seed, number).choice(("direct", "reasoned"))
        return self._task(app, now, goal, order, mode, meta, says, walk=walk)

    def _mode(self, rng: random.Random) -> str:
        return rng.choice([*MODES]) if self.mode == "mixed" else self.mode

    def _task(self, app: App, now: Any, end: Any, order: list[str], mode: str, meta: dict[str, Any], says: str = "", **more: Any) -> Task:
        needs = {
            "app": app.plain(),
            "start": {"at": now["at"], "values": now["values"]},
            "goal": {"at": end["at"], "values": end["values"]},
            "order": order,
            "mode": mode,
            "verbs": "" if self.verbs == "unified" else app.skin,
            "short": bool(self.short),
            **{key: [[action, arguments] for action, arguments in walk] for key, walk in more.items()},
        }
        says = order[0] if mode == "grounding" else says or said(app, now, end, order)
        return Task(MODES[mode].format(says), needs, self.name, {**meta, "where": digest(needs)[:12]})

    def grade(self, task: Task, text: str) -> Graded:
        """Of all actions at once, as one answer; who acts in the world is graded there."""
        return grade_by(text, lambda answer: missed(task, answer), loose_answers)

    def gold(self, task: Task) -> str:
        line, app, verbs = Line(mark=""), App.of(task.needs["app"]), actions(task.needs["verbs"])
        now, said = {"top": 0, "focus": "", **task.needs["start"]}, list[str]()
        if task.needs["mode"] == "grounding":
            number = [w.label for w in visible(app, now)].index(task.needs["order"][0]) + 1
            return f"<answer>{line.written(Call(verbs['click'].name, {'number': number}))}</answer>"
        while left := steps(app, now, task.needs["goal"], task.needs["order"]):
            action, arguments = action_for(app, now, left[0])
            now = acted(app, now, action, arguments)
            said.append(line.written(Call(verbs[action].name, arguments)))
        return f"<answer>{'; '.join(said)}</answer>"


def said(app: App, now: Any, end: Any, order: list[str]) -> str:
    """A goal in words: where one is, and what comes one after the other on the shortest way."""
    pieces = (piece(app, step.label, step.at, step.value) for step in steps(app, now, end, order))
    return f"{' '.join((app.screens[now['at']][0], *pieces))}."


@lru_cache(4096)
def app_of(side: Split, seed: int, number: int, skin: str, pages: int, rows: int) -> App:
    """The app of a number."""
    return made(generator("screens", side, seed, number, skin, pages, rows), side, skin, pages, rows=rows)


@lru_cache(128)
def walks_of(app: App, seed: int, place: int, count: int) -> list[tuple[Any, ...]]:
    """So many pieces of one walk through an app: (state it begins in, actions, state it ends in, what it changed in order). A piece in
    which nothing comes of anything is left out."""
    rng, found = generator("screens", "walks", seed, place, count), list[tuple[Any, ...]]()
    now = opened(rng, app)
    while len(found) < count:
        begun = {**now, "top": 0, "focus": ""}
        walk, now, order = wandered(rng, app, begun, rng.randint(LENGTHS[0], LENGTHS[1] + 1))
        if steps(app, begun, now, order):
            found.append((begun, walk, now, order))
    return found


def missed(task: Task, answer: str) -> str:
    """Why these actions do not do the task; nothing where they do."""
    needs, app, words = task.needs, App.of(task.needs["app"]), meanings(task.needs["verbs"])
    now = {"top": 0, "focus": "", **needs["start"]}
    calls = Line().read("\n".join(f">{one.strip()}" for one in answer.split(";")), (*actions(needs["verbs"]).values(),))
    for call in calls:
        if isinstance(call, Broken):
            return call.why
        action = words[call.tool]
        if action == "done":
            break
        if needs["mode"] == "grounding":
            labels, number = [w.label for w in visible(app, now)], call.arguments.get("number", 0)
            return "" if 1 <= number <= len(labels) and labels[number - 1] == needs["order"][0] else "that is something else"
        try:
            now = acted(app, now, action, call.arguments)
        except Refused as why:
            return str(why)
    return "" if needs["mode"] != "grounding" and reached(needs, now) else "it is not as it should be"
