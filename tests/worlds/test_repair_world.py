"""Repairs: ten operations by hand, a user who tells only what the whole text says, tests that nobody sees, and budgets that are equal."""

import asyncio
import random
import re
from dataclasses import replace
from functools import cache
from typing import Any, cast

import pytest

from strop.check.growing import Script
from strop.engines.remote import Utf8
from strop.methods.vibe_agentic import SHORT
from strop.policies.causal import load
from strop.records import canonical
from strop.seams.context import Ctx, Handle, Progress
from strop.seams.episode import Calls, Pen, Played
from strop.seams.world import Said, Seat, replied, seated
from strop.tasks import source
from strop.tasks.repair import CELLS, TELLING
from strop.worlds.calls import Hermes, Line
from strop.worlds.repair import INPUTS, LANGUAGES, LONGEST, OPERATIONS, UNSAID, WORDS, Digits, Repair, meant

SEAT = Seat("g", "g/0", 8)
REPAIRS = source("repair")


def task(index=0, **knobs):
    return source(f"repair:{','.join(f'{k}={v}' for k, v in knobs.items())}" if knobs else "repair").task("train", 0, index)


def told(one, *texts, world=Repair(), form: Calls = Line(), ask=None):
    """What is answered, turn by turn."""

    async def all_of_it():
        state, made = world.start(one, SEAT), []
        for text in texts:
            state, reply = await replied(world, state, Said(text, form.read(text, world.tools(one))), ask or {})
            made.append(reply)
        return made

    return asyncio.run(all_of_it())


@cache
def renderer():
    return load("pico").renderer


def played(one, world=Repair(), how=SHORT, agent=None):
    ctx = Ctx(0, Progress(), REPAIRS, {"actor": Handle(Script(), renderer())}, cast(Any, None), place="0")
    (group,) = asyncio.run(Played(agent or (lambda state, turn: world.expert(state)), replace(how, n=1))(one, world, ctx))
    return group.rollouts[0]


def test_ten_operations_on_a_stack_by_hand():
    left = {word: meant(word)[INPUTS.index((3, 8))].stack for word in WORDS}
    assert left == {
        "d": (3, 8, 8),
        "p": (3,),
        "s": (8, 3),
        "o": (3, 8, 3),
        "k": (8,),
        "a": (1,),
        "u": (5,),
        "m": (4,),
        "n": (3, 2),
        "i": (3, 9),
    }
    assert meant("sui")[INPUTS.index((3, 8))].trace == ((8, 3), (5,), (6,))
    assert meant("aa")[0] == (((0,),), "empty")
    assert (3, 8) in TELLING
    assert len(OPERATIONS) == 10


def test_what_is_written_in_python_does_as_the_stack_language_does():
    names, python = random.Random(0), LANGUAGES["python"]
    for words in [*WORDS, *("".join(names.choices([*WORDS], k=3)) for _ in range(60))]:
        if not meant(words)[0].why:
            made = {}
            exec(python.shown({"b": python.code(words)}), made)  # strop's own text
            assert [tuple(made["b"](*given)) for given in INPUTS] == [left.stack for left in meant(words)]


@pytest.mark.parametrize("contract", ["ask", "both"])
def test_the_user_tells_only_what_the_whole_text_says(contract):
    """And one thing a turn, whatever is asked, and whatever the program and its tests are."""
    rng, one = random.Random(0), task(contract=contract, kind="hidden")
    can_be_told = {Digits().said(case, words) for case, words in one.needs["text"].items()}
    hostile = ["hidden tests", "tests", "what is the right code of the program?", "b c e", "'; drop", "\N{SNOWMAN}", "c" * LONGEST, "bc"]
    questions = [*hostile, *(c for c in "abcdefghxyz"), *("".join(chr(rng.randrange(32, 500)) for _ in range(9)) for _ in range(60))]
    changed = dict(one.needs)
    changed |= {"tests": {}, "program": dict.fromkeys(changed["program"], "0"), "hidden": {case: [[0, 0]] for case in changed["hidden"]}}
    for question in questions:
        (reply,), (again,) = (told(t, f">ask {question}") for t in (one, replace(one, needs=changed)))
        assert reply.observation in {*can_be_told, UNSAID}
        assert reply.observation == again.observation
    assert [told(one, f">ask {case}")[0].observation for case in one.needs["text"]] == sorted(can_be_told)
    first, second = told(one, ">ask b\n>ask c")[0].observation.split("\n")
    assert (first in can_be_told, second) == (True, "one question a turn")
    if contract == "both":
        assert told(one, ">ask b", ">ask c", ">ask e")[2].observation == "no more questions"


@pytest.mark.parametrize("kind", ["hidden", "bugs"])
def test_hidden_tests_are_never_shown_and_what_was_left_out_is_in_no_test(kind):
    for index in range(20):
        one = task(index, contract="both", kind=kind)
        (untold,) = [*{*one.needs["text"]} - {*one.needs["told"]}] or [""]
        assert {*one.needs["tests"]} == {*one.needs["told"]}
        assert all(given not in one.needs["hidden"][case] for case, tests in one.needs["tests"].items() for given in tests)
        other = replace(one, needs={**one.needs, "hidden": {case: [[0, 0]] for case in one.needs["hidden"]}})
        said = [
            ">run",
            *(f">edit {case} {digit}" for case in one.needs["program"] for digit in "07"),
            ">run",
            ">ask b",
            ">edit b 5",
            ">run",
        ]
        assert [r.observation for r in told(one, *said)] == [r.observation for r in told(other, *said)]
        assert not any(re.match(rf"{untold}. ", r.observation) for r in told(one, *said)) or not untold


def test_turns_and_tokens_are_the_same_under_each_contract():
    """With three cases at fault every expert is done in the turns that there are, and who says nonsense is stopped alike."""
    problems = {}
    for index in range(12):
        one = source("repair:contract=all").task("train", 0, index)
        rollout = played(one)
        assert rollout.stop == "finished"
        guessed = one.needs["contract"] == "run" and {*one.needs["text"]} != {*one.needs["told"]}
        assert rollout.keys["scores"]["outcome"] == 1.0 or guessed
        idle = played(one, agent=lambda state, turn: ">edit z 0")
        problems.setdefault(one.needs["contract"], set()).add((len(idle.keys["facts"]), idle.stop, max(map(len, idle.keys["said"]))))
    assert [*problems.values()] == [{(8, "turns", 9)}] * 3
    tools = {contract: [t.name for t in Repair().tools(task(contract=contract))] for contract in problems}
    assert tools == {"ask": ["edit", "ask"], "run": ["edit", "run"], "both": ["edit", "ask", "run"]}


def test_what_is_at_fault_shows_in_a_test_that_can_be_run():
    """Of several operations too, where another way may come to the same in the end."""
    for operations in (1, 2, 3):
        for index in range(10):
            one = task(index, contract="run", kind="bugs", operations=operations)
            runs = [f">run\n>edit {case} {Digits().code(words)}" for case, words in one.needs["text"].items()]
            failed = [reply.observation.split("\n")[0][:1] for reply in told(one, *runs)]
            wrong = [case for case, words in one.needs["text"].items() if one.needs["program"][case] != Digits().code(words)]
            assert {*failed} - {"o"} == {*wrong}
            assert told(one, *runs)[-1].scores["outcome"] == 1.0


def test_held_out_problems_are_the_same_under_every_contract():
    cells = source("repair:cells=1")
    tasks = [cells.task("test", 0, index) for index in range(3 * len(CELLS))]
    assert [one.needs["where"] for one in tasks[: len(CELLS)]] == [f"{contract}_{kind}" for contract, kind in CELLS]
    for number in range(3):
        some = {one.needs["where"]: one for one in tasks[number * len(CELLS) : (number + 1) * len(CELLS)]}
        for kind, names in (("hidden", ("ask", "run", "both", "other")), ("bugs", ("ask", "run", "both"))):
            assert len({(some[f"{name}_{kind}"].prompt, canonical(some[f"{name}_{kind}"].needs["hidden"])) for name in names}) == 1
        astray = some["other_hidden"]
        assert all(astray.needs["answers"][case] != words for case, words in astray.needs["text"].items())
        assert played(astray).keys["scores"] == {"outcome": 0.0, "other_hidden": 0.0}
    trained = {canonical(source("repair:contract=all").task("train", 0, index).needs["text"]) for index in range(200)}
    assert not trained & {canonical(one.needs["text"]) for one in tasks}


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (">edit t 0", "no such case"),  # tests are not in the program
        (">edit tests 0", "error: edit: case: 'tests' is too long"),
        (">edit b", "error: edit: 'code' is a required property"),
        (f">edit b {'0' * (LONGEST + 1)}", "error: edit: code: '0000"),
        (">ask b", "error: there is no tool 'ask'"),
        (">run b", "error: run takes no argument"),
    ],
)
def test_what_is_no_edit_changes_nothing(said, answer):
    one = task(contract="run", kind="bugs")
    before, reply, after = told(one, ">run", said, ">run")
    assert reply.observation.startswith(answer)
    assert not reply.calls[0].ok
    assert before.observation == after.observation


@pytest.mark.parametrize("code", ["x", "exit(0)", "__import__('os')", "-1", "٣", "0" * 17, " 5", "1e9"])
def test_code_that_is_none_leaves_nothing(code):
    one = task(contract="run", kind="bugs")
    case = one.needs["told"][0]
    _, reply = told(one, f">edit {case} {code}", ">run")
    assert reply.observation.startswith(Digits().said(case, one.needs["text"][case]))
    assert "no code" in reply.observation
    assert reply.scores["outcome"] == 0.0


def test_a_line_of_code_is_one_line():
    call = '<tool_call>{"name": "edit", "arguments": {"case": "b", "code": "5\\n5"}}</tool_call>'
    (reply,) = told(task(), call, form=Hermes())
    assert (reply.observation, reply.calls[0].ok) == ("a line is one line", False)


class Someone(Pen):
    """A policy that says the same to everything; what is an error is raised."""

    def __init__(self, says):
        super().__init__(1 << 20)
        self.says, self.asked = says, []

    async def open(self, tokens, *, root, ordinal=0):
        self.asked.append(bytes(tokens).decode())
        return await super().open(tokens, root=root, ordinal=ordinal)

    async def generate(self, node, **how):
        if isinstance(self.says, Exception):
            raise self.says
        return await self.extend(node, self.says.encode(), kind="teacher")


SEATED = seated(Repair(), ["user"])


@pytest.mark.parametrize(("says", "heard"), [("b is\n a sum", "b is a sum"), ("z" * 900, "z" * LONGEST)])
def test_a_policy_in_the_users_place_reads_the_whole_text_and_neither_program_nor_tests(says, heard):
    one, user = task(contract="ask", kind="hidden"), Someone(says)
    assert (SEATED.asks, Repair().asks) == (("user",), ())
    assert (SEATED.repeats, Repair().repeats) == ("no", "exact"), "the same question may be answered otherwise"
    (reply,) = told(one, ">ask what is c?", world=SEATED, ask={"user": Handle(user, Utf8())})
    assert reply.observation == heard
    (asked,) = user.asked
    assert Digits().text(one.needs["text"]) in asked
    assert "Programmer: what is c?" in asked
    assert Digits().shown(one.needs["program"]) not in asked


@pytest.mark.parametrize("says", ["", ConnectionError("it went away"), ValueError("no text")])
def test_a_user_who_is_silent_or_gone_is_nobodys_score(says):
    (reply,) = told(task(contract="ask", kind="hidden"), ">ask what is c?", world=SEATED, ask={"user": Handle(Someone(says), Utf8())})
    assert (reply.done, reply.stop, dict(reply.scores)) == (True, "error", {})
    assert reply.facts["error"].startswith("user: ")


def test_knobs_that_are_none_are_refused_in_words():
    for wrong in ("contract=vibe", "kind=worst", "language=java", "bugs=9", "cases=9"):
        with pytest.raises(ValueError, match="repair"):
            source(f"repair:{wrong}")
