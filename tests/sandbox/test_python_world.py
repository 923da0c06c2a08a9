"""The world of executed code: what may come of a piece as observation and call, names that stay, forks, and our own faults."""

import asyncio

import pytest

from strop.cli import main
from strop.directory import read_about
from strop.methods.grpo import GRPO
from strop.recipe import Recipe
from strop.records import Task
from strop.run import create
from strop.sandbox import Ran, Sandbox, SandboxError, Session
from strop.sandbox.trial import held
from strop.seams.episode import Episodes
from strop.seams.world import Broken, Call, Called, Said, Seat
from strop.worlds.calls import Code
from strop.worlds.python import RUN, Python, heard

SEAT = Seat("table", "table/0", 4)


def code(text: str) -> Said:
    return Said(text, (Call("python", {"code": text}),))


def told(*pieces: str, state=None):
    world = Python()
    state = world.start(Task("?", {}, "s"), SEAT) if state is None else state

    async def said():
        at, replies = state, []
        for piece in pieces:
            at, reply = await world.reply(at, code(piece), {})
            replies.append(reply)
        return at, replies

    return asyncio.run(said())


@pytest.mark.usefixtures("walled")
def test_what_may_come_of_a_piece_is_an_observation_and_a_call():
    _, (prints, silent, raises, ended, after) = told("print(6 * 7)", "x = 1", "1 / 0", "import os\nos._exit(3)", "print(x)")
    assert (prints.observation, prints.calls) == ("42", (Called("python", True),))
    assert (silent.observation, silent.calls) == ("(no output)", (Called("python", True),))
    assert raises.observation.endswith("ZeroDivisionError: division by zero")
    assert raises.calls == (Called("python", False, "raised"),)
    assert [call.ok for call in ended.calls] == [False]
    assert (after.observation, after.done) == ("1", False), "what was ended leaves the names as they were"


@pytest.mark.usefixtures("walled")
def test_what_is_forbidden_is_a_call_that_was_no_good():
    _, (reply,) = told("import socket\nsocket.create_connection(('127.0.0.1', 1))")
    assert [call.ok for call in reply.calls] == [False]
    assert not reply.done


@pytest.mark.usefixtures("walled")
def test_a_state_may_be_gone_on_from_twice():
    before, _ = told("x = 1")
    one, (first,) = told("x += 1\nprint(x)", state=before)
    other, (second,) = told("x += 10\nprint(x)", state=before)
    assert (first.observation, second.observation) == ("2", "11")
    assert one != other
    assert len(before.pieces) == 1


def test_broken_calls_no_code_and_an_answer_execute_nothing():
    world, state = Python(), Session(name="x")
    after, broken = asyncio.run(world.reply(state, Said("", (Broken("opened and not closed"),)), {}))
    assert (after, broken.observation, broken.calls) == (
        state,
        "error: opened and not closed",
        (Called("", False, "opened and not closed"),),
    )
    assert asyncio.run(world.reply(state, Said("hm"), {}))[1].observation == "no code"
    assert asyncio.run(world.reply(state, Said("<answer>1</answer>"), {}))[1].done


def test_what_the_sandbox_fails_at_is_no_score(monkeypatch):
    class Gone:
        async def ago_on(self, session, code):
            return session, Ran("", "its server is gone", "lost")

    monkeypatch.setattr("strop.worlds.python._sandbox", lambda rules: Gone())
    _, (reply,) = told("print(1)")
    assert (reply.done, reply.stop, reply.calls) == (True, "error", ())
    assert "its server is gone" in reply.facts["error"]


def test_code_is_read_as_it_stands():
    call = Call("python", {"code": "for i in range(2):\n    print(i)"})
    assert Code().read(f"So:\n{Code().written(call)}\nThen", (RUN,)) == (call,)
    assert Code().read("```python\nprint(1)", (RUN,)) == (Broken("opened and not closed"),)
    assert Code().read("```\nprint(1)\n```", (RUN,)) == ()
    assert "```python" in Code().shown((RUN,))


def test_every_way_to_end_is_said():
    for ended in ("exited", "time", "memory", "output", "forbidden", "crashed"):
        assert heard(Ran("so far", "", ended)).startswith("so far\nerror: it ")


CODED = GRPO.but("coded", idea=("environment", "sampler"), environment=Python(), sampler=Episodes(n=2, turns=2, calls=Code()))
SMALL = Recipe(method=CODED, task="sums", steps=0, tasks=1, eval_tasks=0)


@pytest.mark.usefixtures("walled")
def test_a_run_keeps_which_walls_stood(tmp_path):
    create(SMALL, tmp_path / "run")
    assert read_about(tmp_path / "run")["sandbox"] == held().to_json()
    assert SMALL.but(sandbox="cell").fingerprint != SMALL.fingerprint, "what may stand between a machine and a policy is part of the run"


def test_without_walls_a_run_does_not_begin_unless_it_was_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr("strop.sandbox.trial.tried", lambda: {"c": "bubblewrap is not installed", "l": "planted"})
    monkeypatch.setattr("strop.worlds.python._sandbox", Sandbox)  # the real one, made anew
    with pytest.raises(SandboxError, match=r"bubblewrap is not installed.*--sandbox open"):
        create(SMALL, tmp_path / "run")
    create(SMALL.but(sandbox="open"), tmp_path / "open")
    assert read_about(tmp_path / "open")["sandbox"]["level"] == "open"


def test_other_walls_are_for_worlds_that_execute(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["world", "check", "wiki", "--sandbox", "open"])
    assert "this world executes nothing" in capsys.readouterr().err


def test_walls_that_are_none_and_walls_around_nothing(capsys):
    with pytest.raises(ValueError, match=r"code runs at cell, locks, open. Did you mean 'open'"):
        SMALL.but(sandbox="opne")
    with pytest.raises(SystemExit, match="2"):
        main(["train", "--sandbox", "open", "--steps", "0"])
    assert "executes no code" in capsys.readouterr().err
