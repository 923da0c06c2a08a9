"""screens: apps of a few screens, made from a seed, in the skins of four platforms; what is asked is a state they must be left in.

    ho km x=zu +qa.            the goal: from ho open km, write x into zu, switch qa on
    ti 1b                      the screen: an element a line, and where one is
    km 2b
    @ho                        >click 2   ->   zu 1f   qa 2t-   ho 3b   @km   ->   >write 1 x   ->   …   ->   >done

A state is a value: which screen, how far it is scrolled, what everything holds. How the goal is reached is its own matter; whoever says
`done` elsewhere has not reached it. A task says its goal, or asks where something is (`grounding`), and its demonstrations act at once
(`direct`) or say first where they are, what comes next, and its number (`reasoned`). One may walk without a goal: then the goal is what
the walk happened to reach.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple

from strop.records import Task, digest
from strop.seams.context import Handle
from strop.seams.source import Split, split_of
from strop.seams.world import Broken, Call, Called, Reply, Said, Seat, Tool
from strop.worlds.calls import Line
from strop.worlds.database import words
from strop.worlds.elements import KINDS, Element, Refused, Screen, actions, meanings, numbered, tree

COLUMNS, VIEW = 3, 4
"""Cells of a row, and rows that are seen at once."""
OPTIONS = "abcdefgh"
ATTEMPTS = 10_000
MODES = {"direct": "{}", "reasoned": "think {}", "grounding": "find {}"}
"""What a task says in each: the goal, or a label."""
State = dict[str, Any]
"""Where an app stands: `at`, its screen, `top`, the first row that is seen, `focus`, and `values` by label."""


class Widget(NamedTuple):
    """An element at its place."""

    kind: str
    """Of KINDS."""
    label: str
    """Its name: no other widget of the app has it, but buttons that lead to one screen."""
    row: int
    """Its cell, from above."""
    column: int
    """Its cell, from the left."""
    leads: int = -1
    """The screen that a button opens."""
    options: str = ""
    """Letters, of a menu."""


class App(NamedTuple):
    """Screens in a skin; from the first one a button leads to each other, and from each other one back."""

    skin: str
    """Of SKINS."""
    screens: tuple[tuple[str, tuple[Widget, ...]], ...]
    """(title, widgets in the order of reading)."""

    @staticmethod
    def of(data: Any) -> App:
        """Back from JSON."""
        skin, screens = data
        return App(skin, tuple((title, tuple(Widget(*one) for one in widgets)) for title, widgets in screens))

    def plain(self) -> list[Any]:
        """As JSON."""
        return [self.skin, [[title, [list(one) for one in widgets]] for title, widgets in self.screens]]

    def template(self) -> Any:
        """What it is without its names."""
        return [[[one.kind, one.row, one.column, one.leads] for one in widgets] for _, widgets in self.screens]

    def names(self) -> set[str]:
        """All its titles and labels."""
        return {name for title, widgets in self.screens for name in (title, *(one.label for one in widgets))}

    def place(self, label: str) -> int:
        """The screen on which something that holds a value stands."""
        return next(at for at, (_, widgets) in enumerate(self.screens) if any(w.label == label and w.leads < 0 for w in widgets))

    def widget(self, label: str, at: int) -> Widget:
        """By its label, on a screen."""
        return next(one for one in self.screens[at][1] if one.label == label)

    def rows(self, at: int) -> int:
        """Of a screen."""
        return 1 + max(one.row for one in self.screens[at][1])

    def route(self, at: int, to: int) -> list[int]:
        """Screens to be opened on the way, the last one included."""
        return [] if at == to else [to] if 0 in (at, to) else [0, to]


def made(rng: Random, side: Split, skin: str, pages: int = 2, held: int = 3, rows: int = VIEW) -> App:
    """An app of a first screen and so many `pages`, each with about `held` things that hold something. Names and layout are those of a
    side: none of training is met in testing."""
    for _ in range(ATTEMPTS):
        names = iter(rng.sample(words(2, side), (1 + pages) * (2 + held)))
        titles = [next(names) for _ in range(1 + pages)]
        screens = list[tuple[str, tuple[Widget, ...]]]()
        for at, title in enumerate(titles):
            led = range(1, 1 + pages) if at == 0 else (0,)
            count = len(led) + rng.randint(max(held - 1, 1), held + (at > 0))
            cells = sorted(rng.sample(range(rows * COLUMNS), count))
            opens = dict(zip(rng.sample(range(count), len(led)), led, strict=True))
            screens.append((title, tuple(_widget(rng, names, titles, divmod(c, COLUMNS), opens.get(i)) for i, c in enumerate(cells))))
        app = App(skin, tuple(screens))
        if split_of(digest(app.template())) == side:
            return app
    raise ValueError(f"no app of {pages} pages in {rows} rows is for {side}")


def _widget(rng: Random, names: Any, titles: Sequence[str], cell: tuple[int, int], leads: int | None) -> Widget:
    if leads is not None:
        return Widget("button", titles[leads], *cell, leads)
    kind = rng.choice(KINDS[1:])
    return Widget(kind, next(names), *cell, -1, "".join(sorted(rng.sample(OPTIONS, 3))) if kind == "menu" else "")


def opened(rng: Random, app: App) -> State:
    """An app as one finds it."""
    held = (one for _, widgets in app.screens for one in widgets if one.leads < 0)
    return {"at": 0, "top": 0, "focus": "", "values": {one.label: _value(rng, one) for one in held}}


def _value(rng: Random, one: Widget) -> str:
    return rng.choice(one.options) if one.kind == "menu" else rng.choice("+-") if one.kind == "toggle" else ""


# ------------------------------------------------------------------------------------------------ what is seen, and what actions do


def visible(app: App, now: State) -> tuple[Widget, ...]:
    """What stands in the rows that are seen, in the order of reading."""
    return tuple(one for one in app.screens[now["at"]][1] if now["top"] <= one.row < now["top"] + VIEW)


def seen(app: App, now: State) -> Screen:
    """What the screen shows."""
    elements = tuple(
        Element(w.kind, w.label, now["values"].get(w.label, "") if w.leads < 0 else "", (*w.options,)) for w in visible(app, now)
    )
    return Screen(elements, app.screens[now["at"]][0], now["focus"], now["top"] > 0, now["top"] + VIEW < app.rows(now["at"]))


def acted(app: App, now: State, action: str, arguments: Mapping[str, Any]) -> State:
    """The state behind an action."""
    if action == "scroll":
        screen, down = seen(app, now), arguments["way"] == "down"
        if not (screen.below if down else screen.above):
            raise Refused(f"nothing {'below' if down else 'above'}")
        most = app.rows(now["at"]) - VIEW
        return {**now, "top": max(0, min(most, now["top"] + (VIEW if down else -VIEW)))}
    shown, number = visible(app, now), int(arguments["number"])
    numbered([Element(one.kind, one.label) for one in shown], number, action)
    one = shown[number - 1]
    if action == "click" and one.leads >= 0:
        return {**now, "at": one.leads, "top": 0, "focus": ""}
    value = now["values"][one.label]
    if action == "click" and one.kind == "toggle":
        value = "-" if value == "+" else "+"
    elif action == "write":
        value = arguments["text"]
    elif action == "choose":
        value = arguments["option"]
        if value not in (*one.options,):
            raise Refused(f"{number} has no option {value[:20]}")
    return {**now, "focus": one.label, "values": {**now["values"], one.label: value}}


# ------------------------------------------------------------------------------------------------ goals, walks, and how a goal is reached


def piece(app: App, label: str, at: int, value: str) -> str:
    """What must come of one thing, as a goal says it."""
    return {"button": "", "toggle": value, "field": f"{value}=", "menu": f"{value}:"}[app.widget(label, at).kind] + label


class Step(NamedTuple):
    """Something that a goal asks for: what is opened, or what must hold which value."""

    label: str
    at: int
    """The screen on which it is done."""
    value: str
    """Empty for what is opened."""


def steps(app: App, now: State, goal: Mapping[str, Any], order: Sequence[str]) -> list[Step]:
    """The shortest way from here to there: what differs, in this order, and what is opened between."""
    found, at = list[Step](), now["at"]
    wanted = [label for label in order if goal["values"][label] != now["values"][label]]
    for label, place in (*((label, app.place(label)) for label in wanted), ("", goal["at"])):
        for to in app.route(at, place):
            found.append(Step(app.screens[to][0], at, ""))
            at = to
        if label:
            found.append(Step(label, at, goal["values"][label]))
    return found


def action_for(app: App, now: State, step: Step) -> tuple[str, dict[str, Any]]:
    """What is done next for it: scrolling, where it is not seen."""
    one, shown = app.widget(step.label, step.at), [w.label for w in visible(app, now)]
    if step.label not in shown:
        return "scroll", {"way": "up" if one.row < now["top"] else "down"}
    number = shown.index(step.label) + 1
    if one.kind == "field":
        return "write", {"number": number, "text": step.value}
    return ("choose", {"number": number, "option": step.value}) if one.kind == "menu" else ("click", {"number": number})


def wandered(rng: Random, app: App, now: State, length: int) -> tuple[list[tuple[str, dict[str, Any]]], State, list[str]]:
    """A walk without a goal: of what is seen something that it has not touched yet, and what it opens by chance; the actions, where they
    lead, and what was changed, in the order of the last change."""
    done, touched, changed = list[tuple[str, dict[str, Any]]](), set[str](), list[str]()
    while len(done) < length:
        shown = visible(app, now)
        can = [n for n, w in enumerate(shown, 1) if w.leads >= 0 or w.label not in touched]
        ways = ["down"] * (now["top"] + VIEW < app.rows(now["at"])) + ["up"] * (now["top"] > 0)
        if ways and (not can or rng.random() < 0.25):
            act: tuple[str, dict[str, Any]] = ("scroll", {"way": rng.choice(ways)})
        else:
            number = rng.choice(can)
            one = shown[number - 1]
            act = _touch(rng, one, number, now["values"].get(one.label, ""))
            if one.leads < 0:
                touched.add(one.label)
                changed = [*(label for label in changed if label != one.label), one.label]
        now = acted(app, now, *act)
        done.append(act)
    return done, now, changed


def _touch(rng: Random, one: Widget, number: int, value: str) -> tuple[str, dict[str, Any]]:
    if one.kind == "field":
        return "write", {"number": number, "text": rng.choice([letter for letter in "abcdefghijklmnopqrstuvwxyz" if letter != value])}
    if one.kind == "menu":
        return "choose", {"number": number, "option": rng.choice([letter for letter in one.options if letter != value])}
    return "click", {"number": number}


def reached(needs: Mapping[str, Any], now: State) -> bool:
    """Whether things are as the goal says."""
    return now["at"] == needs["goal"]["at"] and now["values"] == needs["goal"]["values"]


# ------------------------------------------------------------------------------------------------ the world


@dataclass(frozen=True)
class Screens:
    """A task brings its app, the state it is found in, and the goal."""

    def tools(self, task: Task) -> tuple[Tool, ...]:
        return (*actions(task.needs["verbs"]).values(),)

    def documents(self, task: Task) -> tuple[Tool, ...]:
        """Nothing where screens are short: then its words are learned."""
        return () if task.needs["short"] else self.tools(task)

    def start(self, task: Task, seat: Seat) -> State:
        """`turn` counts what was said."""
        return {"prompt": task.prompt, "needs": task.needs, "turn": 0, "now": {"top": 0, "focus": "", **task.needs["start"]}}

    async def show(self, state: State) -> str:
        """The goal, and the first screen."""
        return f"{state['prompt']}\n{shown(state)}"

    async def reply(self, state: State, said: Said, ask: Mapping[str, Handle]) -> tuple[State, Reply]:
        state, told, became, over = {**state, "turn": state["turn"] + 1}, list[str](), list[Called](), False
        words = meanings(state["needs"]["verbs"])
        if not said.calls:
            told.append("no action")
        for call in said.calls:
            if isinstance(call, Broken):
                told.append(f"error: {call.why}")
                became.append(Called("", False, call.why))
                continue
            action = words[call.tool]
            if state["needs"]["mode"] == "grounding" or action == "done":
                became.append(Called(call.tool, True))
                state, over = {**state, "pointed": call.arguments.get("number", 0)}, True
                break
            try:
                state = {**state, "now": acted(App.of(state["needs"]["app"]), state["now"], action, call.arguments)}
                became.append(Called(call.tool, True))
            except Refused as why:
                told.append(f"error: {why}")
                became.append(Called(call.tool, False, str(why)))
        told.append(shown(state))
        return state, Reply("\n".join(told), done=over, calls=tuple(became), scores=scored(state, over))

    def expert(self, state: State) -> str | Call:
        """The walk where the task is one, else the shortest way from here to the goal."""
        needs, now = state["needs"], state["now"]
        app, verbs = App.of(needs["app"]), actions(needs["verbs"])
        if needs["mode"] == "grounding":
            return Call(verbs["click"].name, {"number": [w.label for w in visible(app, now)].index(needs["order"][0]) + 1})
        if "walk" in needs:
            action, arguments = needs["walk"][state["turn"]] if state["turn"] < len(needs["walk"]) else ("done", {})
        else:
            left = steps(app, now, needs["goal"], needs["order"])
            action, arguments = action_for(app, now, left[0]) if left else ("done", {})
        call = Call(verbs[action].name, arguments)
        if needs["mode"] == "direct":
            return call
        return f"<think>{thought(app, now, action, arguments)}</think>{Line().written(call)}"


def thought(app: App, now: State, action: str, arguments: Mapping[str, Any]) -> str:
    """What is said to oneself before an action: where one is, what comes next as a goal says it, and where on the screen that is."""
    place = now["focus"] or app.screens[now["at"]][0]
    if "number" not in arguments:
        return f"{place} {arguments['way']}" if "way" in arguments else f"{place}."
    one = visible(app, now)[arguments["number"] - 1]
    value = acted(app, now, action, arguments)["values"].get(one.label, "")
    return f"{place} {piece(app, one.label, now['at'], value)} {arguments['number']}"


def shown(state: State) -> str:
    """The screen as its task shows it."""
    needs = state["needs"]
    app = App.of(needs["app"])
    return tree(seen(app, state["now"]), app.skin, needs["short"])


def scored(state: State, over: bool) -> dict[str, float]:
    """As things stand: whoever is not done by then has not done it. Each skin has a channel of its own."""
    needs = state["needs"]
    app = App.of(needs["app"])
    if needs["mode"] == "grounding":
        shown, number = [w.label for w in visible(app, state["now"])], state.get("pointed", 0)
        fine = float(1 <= number <= len(shown) and shown[number - 1] == needs["order"][0])
    else:
        fine = float(reached(needs, state["now"]))
    return {"outcome": fine * over, "lenient": fine, app.skin: fine * over}
