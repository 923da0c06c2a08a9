"""dossier: a bank of evidence under ids, and a report that is written section by section from what was fetched of it.

    >get 1q4r0t3z            ->   ga5[1q]gb3[4r]gc7[0t]ha1[3z]   lines of the bank, by their ids
    >write ga5[1q]gb3[4r]    ->   h ab 8m9n3z1q                  a section: what it states, and the ids where that stands; what is next

An outline says of each section its name, what it is to state, and ids that are tied to it, lines that only look alike among them: the ids
when the section is next. It is the question, or is to be made: then a question names one section, and what is found of it names another.

    >search g    ->   g ab 1q4r0t3z h     a section, and whose evidence speaks of h
    >outline gh  ->   g ab 1q4r0t3z       the sections that are to be written, anew and in this order

A citation counts where its line stands in the bank, was in sight when it was written and says what is stated, and where the section was
asked for that; each one once. So an id that nobody knows, one that is out of sight, one of another fact and one that is said
again are citations like the others, and none of the right ones. What has been written is scored after every turn: a report that is broken
off keeps its sections.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from strop.records import Task
from strop.seams.context import Handle, keyed
from strop.seams.part import nearest
from strop.seams.world import Call, Called, Reply, Said, Seat, Tool, answered

STATED = re.compile(r"([a-z]{2}[0-9])?((?:\[[^\[\]]*\])+)")
CITED = re.compile(r"\[([^\[\]]*)\]")
SIGHTS = ("section", "report", "all")
COUNTS: tuple[str, ...] = ("cited", "right", "covered", "exact")


def _takes(name: str) -> dict[str, Any]:
    text = {"type": "string", "minLength": 1, "maxLength": 256}
    return {"properties": {name: text}, "required": [name], "additionalProperties": False}


GET = Tool("get", "Lines of the bank, by their ids.", _takes("ids"))
WRITE = Tool("write", "The next section: what it states, each with its ids behind it.", _takes("text"))
SEARCH = Tool("search", "What a section is to state, its ids, and a section that its evidence speaks of.", _takes("name"))
OUTLINE = Tool("outline", "The names of the sections that are to be written, in their order: the outline anew.", _takes("names"))


def weighed(text: str, asked: Collection[str], bank: Mapping[str, str], sight: Collection[str]) -> dict[str, int]:
    """Of a section: citations, those that are right, the asked statements with a right one, and those that it states at all.

    >>> weighed("ga5[1q][4r] gb1[x]", {"ga5", "gb3"}, {"1q": "ga5", "4r": "gb3"}, {"1q", "4r"})
    {'cited': 3, 'right': 1, 'covered': 1, 'exact': 1}
    """
    cited, right = 0, set[tuple[str, str]]()
    for stated, ids in STATED.findall(text):
        for one in CITED.findall(ids):
            cited += 1
            if stated in asked and one in sight and bank.get(one) == stated:
                right.add((stated, one))
    covered = {stated for stated, _ in right}
    exact = {stated for stated in asked if re.search(rf"(?<![a-z]){stated}(?![0-9])", text)}
    return dict(zip(COUNTS, (cited, len(right), len(covered), len(exact)), strict=True))


def scores(counts: Mapping[str, int], asked: int, lines: int) -> dict[str, float]:
    """The verdict, and under the size of its bank the shares: of citations those that are right, of what is asked what has a right one, and
    what is stated. Nothing cited is nothing right."""
    precision = counts["right"] / counts["cited"] if counts["cited"] else 0.0
    coverage, exact = counts["covered"] / asked, counts["exact"] / asked
    return {
        "outcome": float(precision == coverage == 1.0),
        f"precision_{lines}": precision,
        f"coverage_{lines}": coverage,
        f"exact_{lines}": exact,
    }


@dataclass(frozen=True)
class Dossier:
    """`most` lines are given to a call."""

    sight: str = "section"
    """Until when what was fetched may be cited: `section`, the next one's writing, behind which a window leaves it out; `report`, its end;
    `all`, the whole bank stands in the first message and nothing needs to be fetched."""
    chance: bool = False
    """Lines of ids by chance are given, as many as were asked for."""
    whole: bool = False
    """A report that was not ended is empty, as the paper's released writer hands it in."""
    most: int = 4
    revises: bool = True
    """What its expert does: the outline anew after each search, or once, after the first."""

    def __post_init__(self) -> None:
        if self.sight not in SIGHTS:
            raise ValueError(f"Dossier(sight={self.sight!r}): {', '.join(SIGHTS)}. {nearest(self.sight, SIGHTS)}")

    def tools(self, task: Task) -> tuple[Tool, ...]:
        """Those of a planner too, where an outline is to be made."""
        return (SEARCH, OUTLINE, GET, WRITE) if "leads" in task.needs else (GET, WRITE)

    def start(self, task: Task, seat: Seat) -> dict[str, Any]:
        """`open` are the ids in sight, `got` tells whether something was fetched for the section that is next, and `leads` from which
        section a search leads to which: of an outline that is given, nothing."""
        bank, leads = dict(task.needs["bank"]), task.needs.get("leads", {})
        return {
            "bank": bank,
            "sections": {name: [facts, ids] for name, facts, ids in task.needs["sections"]},
            "outline": [] if leads else [name for name, _, _ in task.needs["sections"]],
            "leads": leads,
            "found": [],
            "asked": task.prompt,
            "open": sorted(bank) if self.sight == "all" else [],
            "got": False,
            "written": 0,
            "counts": dict.fromkeys(COUNTS, 0),
            "calls": 0,
            "key": seat.own,
        }

    async def show(self, state: dict[str, Any]) -> str:
        """The outline and what is next, behind the whole bank where all of it is in sight."""
        bank = listed(state["bank"], state["bank"]) if self.sight == "all" else ""
        return "\n".join(filter(None, (bank, state["asked"], due(state))))

    async def reply(self, state: dict[str, Any], said: Said, ask: Mapping[str, Handle]) -> tuple[dict[str, Any], Reply]:
        after, reply = answered(state, said, self._called)
        done = 0 < after["written"] == len(after["outline"])
        asked = sum(len(facts) for facts, _ in state["sections"].values())
        counts = dict.fromkeys(COUNTS, 0) if self.whole and not done else after["counts"]
        facts = {**counts, "asked": asked, "written": after["written"], "lines": len(state["bank"])}
        told = "" if done else reply.observation if said.calls else "no call"
        return after, Reply(told, done=done, facts=facts, calls=reply.calls, scores=scores(counts, asked, len(state["bank"])))

    def _called(self, state: dict[str, Any], call: Call) -> tuple[dict[str, Any], str, Called]:
        (argument,) = call.arguments.values()
        if call.tool in (SEARCH.name, OUTLINE.name):
            return self._search(state, argument) if call.tool == SEARCH.name else self._outline(state, argument)
        if state["written"] == len(state["outline"]):
            return state, "no section is left", Called(call.tool, False, "no section is left")
        return self._get(state, argument) if call.tool == GET.name else self._write(state, argument)

    def _search(self, state: dict[str, Any], name: str) -> tuple[dict[str, Any], str, Called]:
        if name not in state["sections"]:
            return state, "nothing is found", Called(SEARCH.name, False, "no such section")
        facts, ids = state["sections"][name]
        said = " ".join((tied(name, facts, ids), *state["leads"].get(name, "")))
        return {**state, "found": [*state["found"], name]}, said, Called(SEARCH.name, True)

    def _outline(self, state: dict[str, Any], names: str) -> tuple[dict[str, Any], str, Called]:
        if why := "writing has begun" if state["written"] else "" if {*names} <= {*state["found"]} else "of a section nothing was found":
            return state, why, Called(OUTLINE.name, False, why)
        state = {**state, "outline": list(dict.fromkeys(names))}
        return state, due(state), Called(OUTLINE.name, True)

    def _get(self, state: dict[str, Any], text: str) -> tuple[dict[str, Any], str, Called]:
        ids, bank = re.findall("..?", "".join(text.split())), state["bank"]
        known = [one for one in dict.fromkeys(ids[: self.most]) if one in bank]
        if self.chance:
            known = keyed(state["key"], "given", state["calls"]).sample(sorted(bank), len(known))
        told = "." if self.sight == "all" and known else listed(known, bank) or "no such id"
        state = {**state, "calls": state["calls"] + 1, "open": sorted({*state["open"], *known}), "got": state["got"] or bool(known)}
        why = "" if len(known) == len(ids) else "ids that are not there, twice or too many"
        return state, told, Called(GET.name, not why, why)

    def _write(self, state: dict[str, Any], text: str) -> tuple[dict[str, Any], str, Called]:
        name = state["outline"][state["written"]]
        facts, _ = state["sections"][name]
        found = weighed(text, {f"{name}{fact}" for fact in facts}, state["bank"], {*state["open"]})
        counts = {key: state["counts"][key] + found[key] for key in COUNTS}
        left = [] if self.sight == "section" else state["open"]
        state = {**state, "open": left, "got": False, "written": state["written"] + 1, "counts": counts}
        return state, due(state), Called(WRITE.name, True)

    def expert(self, state: dict[str, Any]) -> Call:
        """Plans as it finds, where it has to; then fetches what is tied to a section, and states what was asked for, each with its id."""
        found, outline, leads = state["found"], state["outline"], state["leads"]
        if leads and not state["written"] and not state["got"]:
            if found and outline != found and (self.revises or not outline):
                return Call(OUTLINE.name, {"names": "".join(found)})
            if not found or (self.revises and found[-1] in leads):
                return Call(SEARCH.name, {"name": leads[found[-1]] if found else state["asked"]})
        name = outline[state["written"]]
        facts, ids = state["sections"][name]
        if not state["got"]:
            return Call(GET.name, {"ids": "".join(ids)})
        at = {line: one for one, line in state["bank"].items()}
        return Call(WRITE.name, {"text": listed([at[name + fact] for fact in facts], state["bank"])})


def tied(name: str, facts: Sequence[str], ids: Sequence[str]) -> str:
    """A section, as an outline says it.

    >>> tied("g", ["a5", "b3"], ["1q", "4r", "0t", "3z"])
    'g ab 1q4r0t3z'
    """
    return f"{name} {''.join(fact[0] for fact in facts)} {''.join(ids)}"


def due(state: Mapping[str, Any]) -> str:
    """The section that is to be written next; nothing behind the last."""
    left = state["outline"][state["written"] :]
    return tied(left[0], *state["sections"][left[0]]) if left else ""


def listed(ids: Collection[str] | Sequence[str], bank: Mapping[str, str]) -> str:
    """Lines as they are shown, and as they are cited."""
    return "".join(f"{bank[one]}[{one}]" for one in ids)
