"""Worlds that are processes: a real program, forked by being told again, killed, silent, and one that answers otherwise."""

import asyncio
import fcntl
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from strop.methods.grpo import GRPO
from strop.recipe import Recipe
from strop.records import Task
from strop.run import create
from strop.seams.episode import Episodes
from strop.seams.world import Broken, Call, Called, Said, Seat, verdict
from strop.worlds.live import Command, Live, room_of

COUNTER = """
import json, sys
total = 0
for line in sys.stdin:
    asked = json.loads(line)
    if "begin" in asked:
        total = asked["begin"]["needs"].get("from", 0)
        print("{}", flush=True)
        continue
    said = asked["said"]
    SAYS
    total += int(said) if said.isdecimal() else 0
    calls = [["add", "tool" in call, call.get("broken", "")] for call in asked["calls"]]
    print(json.dumps({"observation": str(total), "done": said == "end", "calls": calls,
                      "scores": {"outcome": float(total > 9)} if said == "end" else {}, "facts": {"total": total}}), flush=True)
"""
SEAT = Seat("g", "g/0", 4)


@pytest.fixture
def program(tmp_path):
    def written(says="", **constants):
        file = tmp_path / f"world{len(list(tmp_path.iterdir()))}.py"
        file.write_text(COUNTER.replace("SAYS", says))
        made = Command((sys.executable, str(file)), **constants)
        rooms.append(room_of(made))
        return made

    rooms = []
    yield written
    for room in rooms:
        room.close()


def play(world, *said, state=None, start=0):
    state = world.start(Task("?", {"from": start}, "s"), SEAT) if state is None else state

    async def through():
        at, replies = state, []
        for one in said:
            at, reply = await world.reply(at, one if isinstance(one, Said) else Said(one), {})
            replies.append(reply)
        return at, replies

    return asyncio.run(through())


def test_a_program_answers_and_the_same_process_goes_on(program):
    world = program()
    state, replies = play(world, "1", "2", Said("x", (Call("add", {"by": 1}), Broken("no call"))), start=4)
    assert [reply.observation for reply in replies] == ["5", "7", "7"]
    assert replies[2].calls == (Called("add", True), Called("add", False, "no call"))
    assert replies[0].facts == {"total": 5}
    assert (room_of(world).begun, room_of(world).told) == (1, 0), "nothing was told twice"
    _, (last,) = play(world, "end", state=state)
    assert (last.done, last.scores) == (True, {"outcome": 0.0})
    assert not room_of(world).processes, "who is done waits for nobody"


def test_a_state_is_gone_on_from_twice_and_the_second_is_told_again(program):
    world = program()
    before, _ = play(world, "1", "2")
    (_, (one,)), (_, (other,)) = play(world, "10", state=before), play(world, "20", state=before)
    assert (one.observation, other.observation) == ("13", "23")
    assert (room_of(world).begun, room_of(world).told) == (2, 2)


def test_a_process_that_was_killed_is_made_again_and_tells_the_same(program):
    world = program()
    before, _ = play(world, "1", "2")
    (process,) = room_of(world).processes.values()
    os.killpg(process.process.pid, signal.SIGKILL)
    _, (after,) = play(world, "4", state=before)
    assert (after.observation, after.stop) == ("7", "finished")
    assert room_of(world).begun == 2


def test_one_that_answers_otherwise_when_it_is_told_again_is_our_fault(program):
    world = program("import os; total += os.getpid() % 1000003 if said == '2' else 0")
    before, _ = play(world, "1", "2")
    play(world, "3", state=before)
    _, (again,) = play(world, "4", state=before)
    assert (again.done, again.stop) == (True, "error")
    assert "answered turn 2 otherwise" in again.facts["error"]


def test_what_does_not_repeat_forks_nowhere_and_is_lost_once(program):
    world = program(repeats="no")
    before, _ = play(world, "1")
    after, _ = play(world, "2", state=before)
    with pytest.raises(ValueError, match="does not repeat, and a rollout that forks"):
        play(world, "3", state=before)
    (process,) = room_of(world).processes.values()
    os.killpg(process.process.pid, signal.SIGKILL)
    _, (lost,) = play(world, "3", state=after)
    assert (lost.stop, room_of(world).begun) == ("error", 1)


def test_a_silent_program_and_one_that_dies_are_no_score(program):
    hangs = program("import time; time.sleep(60 * (said == 'hang'))", deadline=0.5)
    began = time.monotonic()
    _, (_, hung) = play(hangs, "1", "hang")
    assert hung.stop == "error"
    assert "no answer within 0.5 s" in hung.facts["error"]
    assert time.monotonic() - began < 20
    _, (died,) = play(program("sys.exit()"), "1")
    assert (died.stop, "lost twice" in died.facts["error"]) == ("error", True)
    _, (long,) = play(program("print('x' * (1 << 21), flush=True)"), "1")
    assert "more than 1048576 bytes" in long.facts["error"]


@pytest.mark.parametrize(
    ("says", "why"),
    [
        ("print('[]', flush=True)", "an answer is an object"),
        ("print('no', flush=True)", "no JSON"),
        ("print('[' * 100000, flush=True)", "no JSON"),
        ("""print('{"observation": 1}', flush=True)""", "observation is no text"),
        ("""print('{"observation": "", "stop": "tired"}', flush=True)""", "an episode ends by one of"),
        ("""print('{"observation": "", "calls": [["a", 1, ""]]}', flush=True)""", "neither true nor false"),
    ],
)
def test_a_program_that_answers_nonsense_stops_the_run_in_words(program, says, why):
    with pytest.raises(ValueError, match=why):
        play(program(says), "1")


def test_what_cannot_be_a_program_is_refused():
    with pytest.raises(ValueError, match="each a text"):
        Command("python3")
    with pytest.raises(ValueError, match="names no program"):
        play(Command(), "1")
    with pytest.raises(ValueError, match="cannot be started"):
        play(Command(("/nowhere/at/all",)), "1")
    with pytest.raises(NotImplementedError, match="has no begin"):
        asyncio.run(Live().reply(Live().start(Task("?", {}, "s"), SEAT), Said("a"), {}))


def test_few_wait_and_whoever_was_ended_is_told_again(program):
    world = program(waiting=2)
    states = [play(world, str(i))[0] for i in (1, 2, 3)]
    assert len(room_of(world).processes) == 2
    assert [play(world, "5", state=state)[1][0].observation for state in states] == ["6", "7", "8"]
    assert (room_of(world).begun, room_of(world).told) == (6, 3), "the next one is always the one that has waited longest"


def test_an_engine_trains_in_it_and_its_verdict_follows_again_from_what_was_said(program, tmp_path):
    world = program()
    method = GRPO.but(
        "counted", idea=("environment", "sampler"), environment=world, sampler=Episodes(n=2, turns=3, max_tokens=4, observation=8)
    )
    run = create(Recipe(method=method, task="chain", steps=1, tasks=2, eval_tasks=0), tmp_path / "run")
    assert run.grade_of_bits == "exact"
    run.train()
    assert json.loads((tmp_path / "run" / "metrics.jsonl").read_text())["watch"]["kept"] == 4
    said = [Said("7"), Said("8"), Said("end")]
    assert asyncio.run(verdict(world, Task("?", {}, "s"), SEAT, said)) == {"outcome": 1.0}
    once = method.but("once", environment=program(repeats="no"))
    assert create(Recipe(method=once, task="chain", steps=1, eval_tasks=0), tmp_path / "once").grade_of_bits == "logged"


PLAYS = """
import asyncio, sys
from strop.records import Task
from strop.seams.world import Said, Seat
from strop.worlds.live import Command
world = Command((sys.executable, sys.argv[1]))
state = world.start(Task("?", {}, "s"), Seat("g", "g/0", 4))
asyncio.run(world.reply(state, Said("1"), {}))
print("playing", flush=True)
sys.stdin.read()
"""


def test_a_killed_run_leaves_no_program_behind(tmp_path):
    """Its program holds a lock, which ends with whoever holds it."""
    held = tmp_path / "held"
    lock = f"import fcntl; held = open({str(held)!r}, 'w'); fcntl.flock(held, fcntl.LOCK_EX)\n"
    (tmp_path / "world.py").write_text(lock + COUNTER.replace("SAYS", ""))
    command = [sys.executable, "-c", PLAYS, str(tmp_path / "world.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run, held.open("a") as mine:
        assert run.stdout.readline() == "playing\n"
        with pytest.raises(BlockingIOError):
            fcntl.flock(mine, fcntl.LOCK_EX | fcntl.LOCK_NB)
        run.kill()
        run.wait()
        until = time.monotonic() + 20
        while True:
            try:
                fcntl.flock(mine, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                assert time.monotonic() < until, "its program is still there"
                time.sleep(0.05)
