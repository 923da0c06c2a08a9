"""Programs in Python, mended and tested behind the sandbox's walls: what ends them, what bends the runner, and what no cell is told."""

import asyncio
from dataclasses import replace

import pytest

from strop.cli import main
from strop.records import Task
from strop.sandbox import Ran
from strop.seams.world import Call, Said, Seat, replied
from strop.tasks import source
from strop.worlds import repair
from strop.worlds.repair import ENDED, Functions, Repair

REPAIRS = source("repair:contract=run,kind=bugs,language=python,cases=3,bugs=1")
SEAT = Seat("g", "g/0", 8)
pytestmark = [pytest.mark.usefixtures("walled"), pytest.mark.slow]


def task() -> Task:
    return REPAIRS.task("train", 0, 0)


def edited(case: str, code: str, *more: Call, world=Repair(Functions())):
    """What comes of an edit, and of what follows it."""

    async def all_of_it():
        state, made = world.start(task(), SEAT), []
        for call in (Call("edit", {"case": case, "code": code}), *more):
            state, reply = await replied(world, state, Said("", (call,)), {})
            made.append(reply)
        return made

    return asyncio.run(all_of_it())


RUN = Call("run")
ATTACKS = {
    "exit": ("exit(0)", "NameError"),
    "exit by name": ("__import__('sys').exit(0)", ENDED["exited"]),
    "an end without a word": ("__import__('os')._exit(0)", ENDED["exited"]),
    "endless loop": ("[0 for _ in iter(int, 1)]", ENDED["time"]),
    "endless memory": ("[0] * (1 << 40)", "MemoryError"),
    "a file": ("open('/etc/passwd').read()", None),
    "equal to everything": ("type('Same', (list,), {'__eq__': lambda a, b: True, '__ne__': lambda a, b: False})([7, 7, 7, 7])", None),
    "equal to everything, and no list": ("type('Same', (), {'__eq__': lambda a, b: True})()", "TypeError"),
    "a comparison is patched": ("__import__('operator').__dict__.update(eq=lambda a, b: True) or 0", None),
    "everything is printed as said": ("setattr(json, 'dumps', lambda *a, **k: '{\"b\": true}') or [1]", "no list of numbers"),
    "the runner's frames": ("__import__('sys')._getframe(1).f_locals.get('wanted', ['nothing is there'])", None),
    "the runner's names": ("[v for v in map(str, globals().values()) if 'hidden' in v or 'wanted' in v][:0] or None", None),
    "more than digits": ("[x * 10 ** 400]", None),
    "true is one": ("[True, True, True]", None),
    "no Python": ("[x, y", "SyntaxError: '[' was never closed"),
    "the rest of the file": ("[x]; _left = None; json = None", None),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_whoever_bends_the_runner_repairs_nothing(name):
    code, why = ATTACKS[name]
    (case,) = [case for case, words in task().needs["text"].items() if Functions().code(words) != task().needs["program"][case]]
    edit, run = edited(case, code, RUN)
    assert (edit.scores["outcome"], run.scores["outcome"]) == (0.0, 0.0)
    assert not run.done
    assert run.stop != "error"
    assert run.observation != "ok"
    assert why is None or why in run.observation


def test_the_one_who_knows_what_is_asked_for_repairs_it():
    (case,) = [case for case, words in task().needs["text"].items() if Functions().code(words) != task().needs["program"][case]]
    edit, run = edited(case, Functions().code(task().needs["text"][case]), RUN)
    assert (edit.scores["outcome"], run.observation) == (1.0, "ok")


def test_no_cell_is_told_of_tests(monkeypatch):
    """What a cell is told follows from the program: it is the same whatever the tests are, and whichever of them are hidden."""
    told, box = [], repair._sandbox(repair.RULES)

    class Heard:
        async def arun(self, code):
            told.append(code)
            return await box.arun(code)

    monkeypatch.setattr(repair, "_sandbox", lambda rules: Heard())
    needs = dict(task().needs)
    needs |= {"tests": {case: [[0, 0]] for case in needs["tests"]}, "hidden": {case: [[9, 9], [1, 2]] for case in needs["hidden"]}}
    world, seen = Repair(Functions()), []
    for one in (task(), replace(task(), needs=needs)):
        asyncio.run(replied(world, world.start(one, SEAT), Said("", (RUN,)), {}))
        seen.append([*told])
        told.clear()
    assert seen[0] == seen[1]
    assert {*seen[0]} == {Functions().piece(task().needs["program"])}


def test_a_cell_that_is_lost_is_our_fault(monkeypatch):
    class Gone:
        async def arun(self, code):
            return Ran("", "", "lost")

    monkeypatch.setattr(repair, "_sandbox", lambda rules: Gone())
    (reply,) = edited("b", "[x]")
    assert (reply.done, reply.stop, reply.scores) == (True, "error", {})


def test_walls_are_named():
    world = Repair(Functions())
    assert world.within("cell").language == Functions(replace(repair.RULES, weakest="cell"))
    assert world.stands()["level"] in ("cell", "locks")
    assert (Repair().stands(), Repair().within("cell")) == ({}, Repair())


def test_its_world_keeps_its_promises_in_python_too(capsys):
    main(["world", "check", "repair:language=python,operations=2", "--tasks", "6"])
    assert capsys.readouterr().out.count(": kept") == 2
