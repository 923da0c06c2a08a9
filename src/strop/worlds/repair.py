"""repair: a program that does not do what its text says, and how it can be mended: a user is asked, tests are run, or both.

    >ask c       ->   cm                 what the whole text says of case c: the task's text may have left it out
    >run         ->   bu 35>8 not 8      tests and traces: of the first case that fails what it is to do, was given, left, and should leave
    >edit c 7    ->   ok                 the code of a case, anew
    .            ->   done               a turn that calls nothing

A program has cases, a line each, of ten operations on a stack of digits: ours, interpreted here (`stack`, a stand-in for a language of
programmers), or a function of Python's, executed in a cell (`python`). Which tools there are is the task's contract; turns cost the same
under each. The user is a script and a stand-in for a person: it answers one question a turn, by the words of the whole text and nothing
else. A policy may take its place: it reads the whole text and the question.

Hidden tests decide (`outcome`: every case passes) and are never seen. A cell is given a program and asked for what it leaves of every pair
of digits, so nothing in it tells which of them are tests, or what should be left: that is compared here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from itertools import product
from typing import Any, ClassVar, NamedTuple, Protocol, cast

from strop.records import Task
from strop.sandbox import Rules, Sandbox
from strop.sandbox.rules import Level
from strop.seams.context import Handle, keyed
from strop.seams.part import nearest
from strop.seams.world import Broken, Call, Called, Repeats, Reply, Said, Seat, Tool
from strop.worlds.calls import Unread, plain
from strop.worlds.partner import Hidden, Partner
from strop.worlds.python import ENDED

Stack = tuple[int, ...]
CONTRACTS = ("ask", "run", "both")
INPUTS: tuple[Stack, ...] = tuple(product(range(10), repeat=2))
"""What a case may be given: two digits, the last one on top."""
LONGEST = 240
"""Characters of a case's code, or of what a user answers."""


class Operation(NamedTuple):
    """One of ten. It takes the last numbers and leaves others, digits all of them."""

    word: str
    """In a text of the language `stack`; its place among the ten is its code."""
    says: str
    """In a text of the language `python`."""
    takes: int
    leaves: Callable[..., Stack]
    written: tuple[str, ...]
    """In Python, of what it takes."""


OPERATIONS = (
    Operation("d", "write the last number twice", 1, lambda y: (y, y), ("{0}", "{0}")),
    Operation("p", "leave out the last number", 1, lambda y: (), ()),
    Operation("s", "swap the last two numbers", 2, lambda x, y: (y, x), ("{1}", "{0}")),
    Operation("o", "write the last number but one again behind the last", 2, lambda x, y: (x, y, x), ("{0}", "{1}", "{0}")),
    Operation("k", "leave out the last number but one", 2, lambda x, y: (y,), ("{1}",)),
    Operation("a", "put the sum of the last two numbers in their place", 2, lambda x, y: ((x + y) % 10,), ("({0} + {1}) % 10",)),
    Operation("u", "take the last number from the one before it", 2, lambda x, y: ((x - y) % 10,), ("({0} - {1}) % 10",)),
    Operation("m", "put the product of the last two numbers in their place", 2, lambda x, y: (x * y % 10,), ("({0} * {1}) % 10",)),
    Operation("n", "make the last number negative", 1, lambda y: (-y % 10,), ("(-{0}) % 10",)),
    Operation("i", "add one to the last number", 1, lambda y: ((y + 1) % 10,), ("({0} + 1) % 10",)),
)
WORDS = {operation.word: operation for operation in OPERATIONS}


class Left(NamedTuple):
    """What a case leaves of one input: the stack after each of its operations, and why there is nothing more."""

    trace: tuple[Stack, ...]
    why: str = ""

    @property
    def stack(self) -> Stack | None:
        """In the end."""
        return None if self.why or not self.trace else self.trace[-1]


Table = Mapping[str, tuple[Left, ...]]
"""Of each case what it leaves of every one of `INPUTS`."""


@lru_cache(1 << 12)
def meant(words: str) -> tuple[Left, ...]:
    """What a demand's operations leave of every input, one after another: the truth, in every language."""
    return tuple(_carried(tuple(WORDS[word] for word in words), given) for given in INPUTS)


def _carried(operations: Sequence[Operation], stack: Stack) -> Left:
    trace = list[Stack]()
    for operation in operations:
        if len(stack) < operation.takes:
            return Left(tuple(trace), "empty")
        kept = len(stack) - operation.takes
        stack = stack[:kept] + operation.leaves(*stack[kept:])
        trace.append(stack)
    return Left(tuple(trace))


# ------------------------------------------------------------------------------------------------ languages


class Language(Protocol):
    """How a program is written, and what carries it out."""

    repeats: ClassVar[Repeats]
    """Whether a program leaves the same again."""

    def said(self, case: str, words: str) -> str:
        """A demand, as a text says it."""
        ...

    def text(self, demands: Mapping[str, str]) -> str:
        """Of some cases what each is to do."""
        ...

    def code(self, words: str) -> str:
        """What does as a demand says."""
        ...

    def shown(self, program: Mapping[str, str]) -> str:
        """A program, as a task shows it."""
        ...

    def failed(self, case: str, words: str, given: Stack, left: Left) -> str:
        """A test that fails: what it is of, and its trace."""
        ...

    async def table(self, program: Mapping[str, str]) -> Table | None:
        """What a program leaves, whatever is in it; None where that is our fault."""
        ...


@dataclass(frozen=True)
class Digits:
    """`stack`: an operation is a digit, a demand is letters, and a case is its letter with one or the other behind it."""

    repeats: ClassVar[Repeats] = "exact"

    def said(self, case: str, words: str) -> str:
        return f"{case}{words}"

    def text(self, demands: Mapping[str, str]) -> str:
        return " ".join(self.said(case, words) for case, words in demands.items())

    def code(self, words: str) -> str:
        return "".join(str(OPERATIONS.index(WORDS[word])) for word in words)

    def shown(self, program: Mapping[str, str]) -> str:
        return " ".join(f"{case}{code}" for case, code in program.items())

    def failed(self, case: str, words: str, given: Stack, left: Left) -> str:
        trace = ">".join(["".join(map(str, stack)) or "-" for stack in (given, *left.trace)] + [left.why] * bool(left.why))
        return f"{self.said(case, words)} {trace} not {''.join(map(str, wanted_of(words, given))) or '-'}"

    async def table(self, program: Mapping[str, str]) -> Table | None:
        return {case: _digits(code) for case, code in program.items()}


@lru_cache(1 << 12)
def _digits(code: str) -> tuple[Left, ...]:
    if not re.fullmatch("[0-9]{1,16}", code):
        return (Left((), "no code"),) * len(INPUTS)
    return meant("".join(OPERATIONS[int(digit)].word for digit in code))


PREFACE = "Each function takes two digits x and y and returns a list: it begins with [x, y], and reckons modulo 10."
RULES = Rules(cpu=1.0, wall=4.0, memory=128 << 20, output=64 << 10)
ASKED = """
import json
def _left(case, x, y):
    try:
        return json.loads(json.dumps(globals()[case](x, y)))
    except Exception as error:
        return type(error).__name__
print()
print(json.dumps({case: [_left(case, x, y) for x in range(10) for y in range(10)] for case in %r}))
"""
"""What a cell is told behind a program: it asks for everything that can be asked."""


@dataclass(frozen=True)
class Functions:
    """`python`: a case is a function of x and y, executed behind the sandbox's walls, one cell a program."""

    rules: Rules = RULES
    repeats: ClassVar[Repeats] = "checked"

    def said(self, case: str, words: str) -> str:
        return f"{case}: {', then '.join(WORDS[word].says for word in words)}."

    def text(self, demands: Mapping[str, str]) -> str:
        return "\n".join((PREFACE, *(self.said(case, words) for case, words in demands.items())))

    def code(self, words: str) -> str:
        stack: tuple[str, ...] = ("x", "y")
        for operation in map(WORDS.__getitem__, words):
            kept = len(stack) - operation.takes
            stack = stack[:kept] + tuple(one.format(*stack[kept:]) for one in operation.written)
        return f"[{', '.join(stack)}]"

    def shown(self, program: Mapping[str, str]) -> str:
        return "\n".join(f"def {case}(x, y): return {code}" for case, code in program.items())

    def failed(self, case: str, words: str, given: Stack, left: Left) -> str:
        got = left.why or str([*left.trace[-1]])
        return f"{self.said(case, words)} {case}({given[0]}, {given[1]}) gives {got}, not {[*wanted_of(words, given)]}"

    def piece(self, program: Mapping[str, str]) -> str:
        """All that a cell is ever told: it follows from the program alone."""
        return self.shown(program) + ASKED % [*program]

    async def table(self, program: Mapping[str, str]) -> Table | None:
        ran = await _sandbox(self.rules).arun(self.piece(program))
        if ran.ours:
            return None
        why = "" if ran.ok else ran.error.strip().rpartition("\n")[2][:80] if ran.ended == "raised" else ENDED[ran.ended]
        return {case: _read(ran.out, case, why) for case in program}


def _read(out: str, case: str, why: str) -> tuple[Left, ...]:
    """What a case left, off whatever was printed: lists of digits, and anything else is wrong."""
    try:
        told: Any = [] if why else plain(out.rstrip("\n").rpartition("\n")[2])[case]
    except (Unread, KeyError, TypeError):
        told = []
    if not isinstance(told, list) or len(cast("list[Any]", told)) != len(INPUTS):
        return (Left((), why or "nothing"),) * len(INPUTS)
    return tuple(_stack(one) for one in cast("list[Any]", told))


def _stack(one: Any) -> Left:
    if isinstance(one, list) and len(cast("list[Any]", one)) <= 16 and all(type(n) is int for n in cast("list[Any]", one)):
        return Left((tuple(cast("list[int]", one)),))
    return Left((), one[:80] if isinstance(one, str) else "no list of numbers")


@cache
def _sandbox(rules: Rules) -> Sandbox:
    return Sandbox(rules)


LANGUAGES: dict[str, Language] = {"stack": Digits(), "python": Functions()}


# ------------------------------------------------------------------------------------------------ the world


def _takes(**most: int) -> dict[str, Any]:
    text = {name: {"type": "string", "minLength": 1, "maxLength": length} for name, length in most.items()}
    return {"properties": text, "required": [*most], "additionalProperties": False}


EDIT = Tool("edit", "The code of a case, anew.", _takes(case=1, code=LONGEST))
ASK = Tool("ask", "One question to the user, who knows the whole text.", _takes(question=LONGEST))
RUN = Tool("run", "Runs the tests: the first case that fails, with its trace.", {"properties": {}, "additionalProperties": False})
OFFERED = {"ask": (EDIT, ASK), "run": (EDIT, RUN), "both": (EDIT, ASK, RUN)}


@dataclass(frozen=True)
class Repair:
    """In one language."""

    language: Language = Digits()
    user: Partner | None = None
    """A policy that answers in the script's place, as `--policy user=…` brings one."""
    seats: ClassVar = ("user",)

    @property
    def asks(self) -> tuple[str, ...]:
        return () if self.user is None else (self.user.name,)

    @property
    def repeats(self) -> Repeats:
        return self.language.repeats if self.user is None else "no"

    def seating(self, names: tuple[str, ...]) -> Repair:
        """With a policy as its user. It is asked each question by itself: it reads the whole text, and neither program nor tests."""
        return replace(self, user=Partner(names[0], INSTRUCTED, "User", "Programmer", recall=0))

    def tools(self, task: Task) -> tuple[Tool, ...]:
        return OFFERED[task.needs["contract"]]

    def within(self, weakest: Level) -> Repair:
        """The same, with other weakest walls around what it executes."""
        if not isinstance(self.language, Functions):
            return self
        return replace(self, language=replace(self.language, rules=replace(self.language.rules, weakest=weakest)))

    def stands(self) -> dict[str, Any]:
        """The walls that hold on this machine; none are needed for `stack`, which is interpreted here."""
        return _sandbox(self.language.rules).held.to_json() if isinstance(self.language, Functions) else {}

    def start(self, task: Task, seat: Seat) -> dict[str, Any]:
        """`table` is what the program leaves, `known` are the demands that were told, `heard` is the case of the last answer, and `failing`
        the one that the last run found: "" where all passed, None where nothing was run since the last edit."""
        needs = task.needs
        return {
            "needs": needs,
            "program": dict(needs["program"]),
            "known": {case: needs["text"][case] for case in needs["told"]},
            "table": None,
            "heard": "",
            "failing": None,
            "edited": [],
            "counts": {"questions": 0, "runs": 0, "edits": 0},
            "key": seat.own,
        }

    async def reply(self, state: dict[str, Any], said: Said, ask: Mapping[str, Handle]) -> tuple[dict[str, Any], Reply]:
        told, became, asked = list[str](), list[Called](), 0
        for call in said.calls:
            if isinstance(call, Broken):
                line, called = f"error: {call.why}", Called("", False, call.why)
            elif call.tool == EDIT.name:
                state, line, called = self._edit(state, call.arguments["case"], call.arguments["code"])
            elif call.tool == RUN.name:
                if (state := await self._carried_out(state))["table"] is None:
                    return state, LOST
                state, line, called = self._run(state)
            else:
                asked += 1
                state, line, called = await self._ask(state, call.arguments["question"], asked, ask)
                if line is None:
                    return state, Reply("", done=True, stop="error", facts={"error": called.why})
            told.append(line)
            became.append(called)
        if (state := await self._carried_out(state))["table"] is None:
            return state, LOST
        right = [self._right(state, case) for case in state["program"]]
        scores = {"outcome": float(all(right))}
        if where := state["needs"].get("where"):
            scores[where] = scores["outcome"]
        facts = {**state["counts"], "right": sum(right), "cases": len(right)}
        return state, Reply("\n".join(told), done=not said.calls, facts=facts, calls=tuple(became), scores=scores)

    async def _carried_out(self, state: dict[str, Any]) -> dict[str, Any]:
        """What the program leaves, known until it is edited."""
        return state if state["table"] else {**state, "table": await self.language.table(state["program"])}

    def _edit(self, state: dict[str, Any], case: str, code: str) -> tuple[dict[str, Any], str, Called]:
        if case not in state["program"] or "\n" in code or "\r" in code:
            why = "a line is one line" if case in state["program"] else "no such case"
            return state, why, Called(EDIT.name, False, why)
        state = _counted(state, "edits", failing=None, table=None, edited=[*state["edited"], case])
        return {**state, "program": {**state["program"], case: code}}, "ok", Called(EDIT.name, True)

    def _run(self, state: dict[str, Any]) -> tuple[dict[str, Any], str, Called]:
        """The visible tests alone, in the program's order, up to the first that fails."""
        tests, text = state["needs"]["tests"], state["needs"]["text"]
        for case, given in ((name, tuple(one)) for name in state["program"] for one in tests.get(name, ())):
            left = state["table"][case][INPUTS.index(given)]
            if left.stack != wanted_of(text[case], given):
                return _counted(state, "runs", failing=case), self.language.failed(case, text[case], given, left), Called(RUN.name, True)
        return _counted(state, "runs", failing=""), "ok", Called(RUN.name, True)

    def _right(self, state: dict[str, Any], case: str) -> bool:
        """Whether it passes its hidden tests."""
        wanted = state["needs"]["text"][case]
        return all(state["table"][case][INPUTS.index(g)].stack == wanted_of(wanted, g) for g in map(tuple, state["needs"]["hidden"][case]))

    async def _ask(
        self, state: dict[str, Any], question: str, number: int, ask: Mapping[str, Handle]
    ) -> tuple[dict[str, Any], str | None, Called]:
        """What the user says; None where a policy in the user's place is gone."""
        if number > 1 or state["counts"]["questions"] >= state["needs"]["questions"]:
            why = "one question a turn" if number > 1 else "no more questions"
            return state, why, Called(ASK.name, False, why)
        text: dict[str, str] = state["needs"].get("answers", state["needs"]["text"])
        state = _counted(state, "questions")
        case = next((word for word in re.findall(r"\w+", question) if word in text), None)
        if case is not None:
            state = {**state, "heard": case, "known": {**state["known"], case: text[case]}}
        if self.user is not None:
            place = f"{state['key']}/{self.user.name}/{state['counts']['questions']}"
            heard = await self.user.answer(Hidden(self.language.text(text), ""), (), question, ask, place)
            return state, None if heard.why else " ".join(heard.text.split())[:LONGEST], Called(ASK.name, not heard.why, heard.why)
        if case is None:
            return state, UNSAID, Called(ASK.name, False, UNSAID)
        return state, self.language.said(case, text[case]), Called(ASK.name, True)

    def expert(self, state: dict[str, Any]) -> str | Call:
        """Of every contract what can be done: who may ask, asks for what was left out; who may run, edits what fails, and who may not, what
        differs from the text, each after a question; who cannot know of a demand guesses."""
        needs, program, known, edited = state["needs"], state["program"], state["known"], state["edited"]
        contract, heard = needs["contract"], state["heard"]
        if heard and heard not in edited:
            return Call(EDIT.name, {"case": heard, "code": self.language.code(known[heard])})
        unknown = next((case for case in program if case not in known), "")
        differ = [case for case in known if program[case] != self.language.code(known[case]) and case not in edited]
        if contract != "run" and (asked := unknown or (differ[0] if differ and contract == "ask" else "")):
            return Call(ASK.name, {"question": asked})
        if contract == "ask" or (unknown and unknown in edited):
            return "."
        if (failing := state["failing"]) is None:
            return Call(RUN.name)
        if failing and failing not in edited:
            return Call(EDIT.name, {"case": failing, "code": self.language.code(known[failing])})
        if unknown:
            codes = [code for operation in OPERATIONS if (code := self.language.code(operation.word)) != program[unknown]]
            return Call(EDIT.name, {"case": unknown, "code": keyed(state["key"], "guess").choice(codes)})
        return "."


UNSAID = "that is not said"
INSTRUCTED = (
    "A programmer asks you about the program that you asked for: what you know says what each case is to do. Say in a few words what it "
    f"says of that, and nothing else; where it says nothing, say: {UNSAID}."
)
LOST = Reply("", done=True, stop="error", facts={"error": "the sandbox lost the program"})


def _counted(state: dict[str, Any], what: str, **changes: Any) -> dict[str, Any]:
    return {**state, **changes, "counts": {**state["counts"], what: state["counts"][what] + 1}}


def wanted_of(words: str, given: Stack) -> Stack:
    """What a demand wants left of an input.

    >>> wanted_of("a", (3, 9)), wanted_of("di", (3, 9))
    ((2,), (3, 9, 0))
    """
    stack = meant(words)[INPUTS.index(given)].stack
    assert stack is not None
    return stack


def language(name: str) -> Language:
    """By its name."""
    if name not in LANGUAGES:
        raise ValueError(f"no language {name!r}. {nearest(name, LANGUAGES)}")
    return LANGUAGES[name]
