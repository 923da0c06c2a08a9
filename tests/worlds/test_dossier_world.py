"""A bank of evidence and the reports that cite it: what counts as a citation, what is in sight, and what an unfinished report is worth."""

import asyncio
import random
from dataclasses import replace
from statistics import fmean
from string import ascii_lowercase

import pytest

from strop.check.growing import of_world
from strop.records import Task
from strop.seams.world import Call, Said, Seat, replied, verdict
from strop.tasks import source
from strop.worlds.calls import Line
from strop.worlds.dossier import Dossier, scores, weighed

SEAT = Seat("g", "g/0", 12)
BANK = {"1q": "ga5", "4r": "gb3", "0t": "gc7", "3z": "ha1", "8m": "ha2", "9n": "hb4"}
TASK = Task(
    "g ab\nh ab",
    {"bank": BANK, "sections": [["g", ["a5", "b3"], ["1q", "4r", "0t", "3z"]], ["h", ["a2", "b4"], ["8m", "9n", "3z", "1q"]]]},
    "dossier",
)
GET_G, GET_H = ">get 1q4r0t3z", ">get 8m9n3z1q"
RIGHT_G, RIGHT_H = ">write ga5[1q] gb3[4r]", ">write ha2[8m] hb4[9n]"


PLANNED = Task("g", {**TASK.needs, "leads": {"g": "h"}}, "dossier")


def said(*texts, world=Dossier()):
    return [Said(text, Line().read(text, world.tools(PLANNED))) for text in texts]


def graded(*texts, world=Dossier(), task=TASK):
    """The scores of a report that is written so."""
    return dict(asyncio.run(verdict(world, task, SEAT, said(*texts))))


def told(*texts, world=Dossier(), task=TASK):
    """What is answered, turn by turn."""

    async def all_of_it():
        state, made = world.start(task, SEAT), []
        for one in said(*texts):
            state, reply = await replied(world, state, one, {})
            made.append(reply)
        return made

    return asyncio.run(all_of_it())


def test_a_report_whose_citations_say_what_it_states_is_right():
    assert graded(GET_G, RIGHT_G, GET_H, RIGHT_H) == {"outcome": 1.0, "precision_6": 1.0, "coverage_6": 1.0, "exact_6": 1.0}
    assert [reply.observation for reply in told(GET_G, RIGHT_G)] == ["ga5[1q]gb3[4r]gc7[0t]ha1[3z]", "h ab 8m9n3z1q"]
    assert [reply.done for reply in told(GET_G, RIGHT_G, GET_H, RIGHT_H)] == [False, False, False, True]


@pytest.mark.parametrize(
    ("second", "why"),
    [
        (">write ha2[9x] hb4[9n]", "nobody knows this id"),
        (">write ha2[1q] hb4[9n]", "its line says another thing"),
        (">write ha1[3z] hb4[9n]", "a fact that looks like it, with the wrong value"),
        (">write ga5[1q] hb4[9n]", "right, and of another section"),
        (">write hb4[9n] hb4[9n]", "said twice"),
        (">write [8m] hb4[9n]", "cited for nothing"),
    ],
)
def test_a_wrong_citation_is_one_more_and_none_of_the_right_ones(second, why):
    found = graded(GET_G, RIGHT_G, GET_H, second)
    assert (found["precision_6"], found["coverage_6"], found["outcome"]) == (0.75, 0.75, 0.0), why


def test_an_id_that_was_never_fetched_or_is_out_of_sight_never_counts():
    unseen = graded(GET_G, RIGHT_G, RIGHT_H)
    assert (unseen["precision_6"], unseen["exact_6"]) == (0.5, 1.0), "stated rightly, cited for nothing"
    again = ">get 8m9n", RIGHT_G, RIGHT_H
    assert graded(*again)["precision_6"] == 0.0, "what was fetched for the first section is gone behind it"
    assert graded(*again, world=Dossier(sight="report"))["precision_6"] == 0.5, "and is not where it stays in sight"
    assert graded(RIGHT_G, RIGHT_H, world=Dossier(sight="all"))["precision_6"] == 1.0


def test_citing_more_never_raises_precision_and_citing_everything_earns_next_to_nothing():
    rng = random.Random(0)
    for _ in range(300):
        own = rng.sample(["ga5[1q]", "gb3[4r]", "ga5[0t]", "gc7[0t]", "gb3[3z]"], rng.randint(1, 4))
        more = [f"[{rng.choice([*BANK, '99'])}]" for _ in range(rng.randint(1, 6))]
        before, after = (weighed(" ".join(text), {"ga5", "gb3"}, BANK, BANK) for text in (own, [*own, *more]))
        assert after["right"] == before["right"], "an id for nothing"
        assert after["cited"] == before["cited"] + len(more)
        assert scores(after, 2, 6)["precision_6"] <= scores(before, 2, 6)["precision_6"]
    everything = " ".join(stated + "".join(f"[{one}]" for one in BANK) for stated in ("ga5", "gb3"))
    assert weighed(everything, {"ga5", "gb3"}, BANK, BANK) == {"cited": 12, "right": 2, "covered": 2, "exact": 2}
    every_line = " ".join(f"{line}[{one}]" for one, line in BANK.items())
    assert weighed(every_line, {"ga5", "gb3"}, BANK, BANK)["right"] == 2
    assert scores(dict.fromkeys(("cited", "right", "covered", "exact"), 0), 2, 6)["precision_6"] == 0.0, "nothing cited is nothing right"


def test_a_report_that_is_broken_off_keeps_its_sections_and_as_released_is_empty():
    for world, kept in ((Dossier(), 0.5), (Dossier(whole=True), 0.0)):
        broken_off = graded(GET_G, RIGHT_G, GET_H, world=world)
        assert (broken_off["coverage_6"], broken_off["outcome"]) == (kept, 0.0)
        assert graded(GET_G, RIGHT_G, GET_H, RIGHT_H, world=world)["outcome"] == 1.0, "one that is ended is the same"


def test_a_call_gives_as_many_lines_as_it_may_and_says_what_is_not_there():
    get = told(">get 1q1q9x4r0t3z8m")[0]
    assert get.observation == "ga5[1q]gb3[4r]", "the first four ids"
    assert [(call.tool, call.ok) for call in get.calls] == [("get", False)]
    assert told(">get 9x7")[0].observation == "no such id"
    assert told("nothing")[0].observation == "no call"
    shown = asyncio.run(Dossier(sight="all").show(Dossier(sight="all").start(TASK, SEAT)))
    assert shown == f"ga5[1q]gb3[4r]gc7[0t]ha1[3z]ha2[8m]hb4[9n]\n{TASK.prompt}\ng ab 1q4r0t3z", "the bank, the outline and what is next"
    assert told(GET_G, world=Dossier(sight="all"))[0].observation == ".", "it stands in the first message"
    assert told(">write a", ">write b\n>get 1q")[1].calls[1].why == "no section is left"


def test_lines_by_chance_are_as_many_and_the_same_for_a_seat():
    one, other = (told(GET_G, RIGHT_G, GET_H, world=Dossier(chance=True)) for _ in range(2))
    assert one == other
    assert [reply.observation.count("[") for reply in one] == [4, 0, 4]
    task, shares = source("dossier:lines=48"), []
    for index in range(40):
        made, world = task.task("train", 0, index), Dossier(chance=True)
        state, scored = world.start(made, Seat("g", f"g/{index}")), {}
        while state["written"] < 4:
            state, reply = asyncio.run(world.reply(state, Said("", (world.expert(state),)), {}))
            scored = reply.scores
        shares.append(scored["precision_48"])
        assert scored["exact_48"] == 1.0
    assert 0.03 < fmean(shares) < 0.16, "four of 48 lines, and the teacher cites as ever"


@pytest.mark.parametrize("world", [Dossier(), Dossier(sight="report"), Dossier(sight="all"), Dossier(chance=True), Dossier(whole=True)])
def test_its_expert_writes_what_is_asked_and_the_world_keeps_its_promises(world):
    assert of_world(world, source("dossier").task("train", 0, 0)) == []
    if not world.chance:
        for index in range(6):
            task = source("dossier").task("train", 0, index)
            state, calls = world.start(task, SEAT), []
            while state["written"] < 4:
                calls.append(world.expert(state))
                state, reply = asyncio.run(world.reply(state, Said("", (calls[-1],)), {}))
            assert reply.done
            assert reply.scores["outcome"] == 1.0
            assert [call.tool for call in calls] == ["get", "write"] * 4


def test_a_sight_that_is_none_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="section, report, all"):
        Dossier(sight="reports")


# The source.


@pytest.mark.parametrize("lines", [8, 24, 48])
def test_what_is_asked_stands_once_and_every_other_line_looks_like_something_asked(lines):
    for index in range(20):
        needs = source(f"dossier:lines={lines}").task("train", 0, index).needs
        bank, sections = needs["bank"], needs["sections"]
        asked = {name + fact for name, facts, _ in sections for fact in facts}
        assert len(bank) == lines
        assert len({line[:2] for line in bank.values()}) == lines, "each key once"
        assert asked <= {*bank.values()}
        names, about = {one[0] for one in asked}, {one[1] for one in asked}
        assert all(line[0] in names or line[1] in about for line in bank.values())
        for name, facts, tied in sections:
            own = {name + fact for fact in facts}
            assert len({*tied}) == 4
            assert own < {bank[one] for one in tied}
            assert all(bank[one][0] == name or bank[one][1] in {fact[0] for fact in facts} for one in tied)


def int_of(one):
    return 26 * int(one[0]) + ascii_lowercase.index(one[1])


def test_ids_and_places_tell_nothing_of_a_section():
    first, last, right, placed = [], [], [], []
    for index in range(600):
        needs = source("dossier").task("train", 0, index).needs
        at = {line: one for one, line in needs["bank"].items()}
        of = [[at[name + fact] for fact in facts] for name, facts, _ in needs["sections"]]
        first += map(int_of, of[0])
        last += map(int_of, of[-1])
        for own, (_, _, tied) in zip(of, needs["sections"], strict=True):
            right += [tied.index(one) for one in own]
        placed += [[*needs["bank"]].index(one) / len(at) for one in of[0]]
    assert fmean(first) == pytest.approx(129.5, abs=8.7)  # 1200 ids: a standard error is 2.2
    assert fmean(last) == pytest.approx(129.5, abs=8.7)
    assert fmean(right) == pytest.approx(1.5, abs=0.07)
    assert fmean(placed) == pytest.approx(0.48, abs=0.04)


def test_a_source_has_banks_of_three_sizes_in_turn_and_refuses_one_that_is_too_small():
    assert [len(source("dossier").task("test", 0, i).needs["bank"]) for i in range(6)] == [8, 24, 48] * 2
    with pytest.raises(ValueError, match="8 facts do not stand in 6 lines"):
        source("dossier:lines=6")
    with pytest.raises(ValueError, match="sections is a whole number from 2"):
        source("dossier:sections=1")


def test_a_whole_report_is_graded_as_its_sections_are():
    where = source("dossier")
    task = where.task("test", 0, 2)
    gold = where.gold(task)
    assert where.grade(task, gold)["outcome"] == 1.0
    assert where.grade(task, gold.replace("]", "][]", 1))["outcome"] == 0.0
    assert "sections" in where.grade(task, gold.replace(";", "", 1)).reason
    assert replace(where, lines=8).task("test", 0, 2) != task


# An outline that is to be made.


def by_its_expert(world, task):
    state, calls, reply = world.start(task, SEAT), [], None
    while reply is None or not reply.done:
        calls.append(world.expert(state))
        state, reply = asyncio.run(world.reply(state, Said("", (calls[-1],)), {}))
    return [call.tool for call in calls], reply


def test_an_outline_that_is_revised_as_evidence_is_found_covers_what_a_static_one_cannot():
    for index in range(12):
        task = source("dossier:planned=0").task("train", 0, index)
        lines = len(task.needs["bank"])
        assert len(task.prompt) == 1, "one section is named"
        revised, static = (by_its_expert(Dossier(revises=revises), task) for revises in (True, False))
        assert revised[0] == [*["search", "outline"] * 4, *["get", "write"] * 4]
        assert static[0] == ["search", "outline", "get", "write"]
        assert revised[1].scores[f"coverage_{lines}"] == 1.0
        assert static[1].scores[f"coverage_{lines}"] == 0.25, "one section of four"
        assert static[1].scores[f"precision_{lines}"] == 1.0


def test_an_outline_holds_what_was_found_and_stands_once_writing_began():
    says = [reply.observation for reply in told(">search g", ">outline gh", ">outline g", ">search h", ">outline gh", task=PLANNED)]
    assert says == ["g ab 1q4r0t3z h", "of a section nothing was found", "g ab 1q4r0t3z", "h ab 8m9n3z1q", "g ab 1q4r0t3z"]
    assert told(">write ga5", ">search x", task=PLANNED)[0].observation == "no section is left"
    late = told(">search g", ">search h", ">outline gh", GET_G, RIGHT_G, ">outline g", GET_H, RIGHT_H, task=PLANNED)
    assert late[5].observation == "writing has begun"
    assert late[-1].scores["outcome"] == 1.0
    assert of_world(Dossier(), source("dossier:planned=0").task("train", 0, 0)) == []


def test_only_who_has_to_plan_is_told_of_the_tools_for_it():
    assert [tool.name for tool in Dossier().tools(TASK)] == ["get", "write"]
    assert [tool.name for tool in Dossier().tools(PLANNED)] == ["search", "outline", "get", "write"]
    assert Line().read(">get 1q4r", Dossier().tools(TASK)) == (Call("get", {"ids": "1q4r"}),)
