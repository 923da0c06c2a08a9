"""Somebody else's program, started for each rollout: what it asks is trained, what it does wrong has a name, and nothing of it stays."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from strop import own
from strop.check.growing import Letters, Script
from strop.engines.embedded import EmbeddedEngine
from strop.grading import grade
from strop.method import Method
from strop.methods.grpo import GRPO
from strop.policies.causal import load
from strop.recipe import Recipe
from strop.records import Task
from strop.run import create
from strop.saved import load as saved_load
from strop.seams.context import Ctx, Handle, Progress
from strop.seams.episode import Episodes
from strop.seams.sampler import grown
from strop.seams.world import Reply, Said, Seat
from strop.sense import called
from strop.serving.guest import Guest, standing
from strop.serving.leash import MARK, marked, swept

HERE = Path(__file__).parent
TASK = Task("question", {"answer": "7"}, "rooms")


def guest(name: str, **how: Any) -> Guest:
    return Guest(
        (sys.executable, "-I", "-S", str(HERE / "guests.py"), name),
        **{"n": 2, "turns": 4, "max_tokens": 6, "context": 400, "deadline": 30.0, "repeats": "exact"} | how,
    )


def context(engine: Any = None, renderer: Any = None) -> Ctx:
    nobody: Any = None  # this sampler asks neither a source nor a grader
    return Ctx(0, Progress(0, 4), nobody, {"actor": Handle(engine or Script(), renderer or Letters())}, nobody, place="task#0")


def played(sampler: Any, world: Any = None, **parts: Any) -> Any:
    (group,) = asyncio.run(grown(sampler, TASK, world, context(**parts)))
    return group


def why(rollout: Any) -> str:
    return " ".join(fact["error"] for fact in rollout.keys["facts"] if "error" in fact)


@dataclass(frozen=True)
class Nods:
    def start(self, task: Task, seat: Seat) -> int:
        return 0

    async def reply(self, state: int, said: Said, ask: Any) -> tuple[int, Reply]:
        return state + 1, Reply("go on")


@pytest.fixture(scope="module")
def pico() -> Any:
    from strop import pico

    policy = load(str(pico.path()))
    return {"engine": EmbeddedEngine(policy.model, policy.tokenizer, seed=3), "renderer": policy.renderer}


def test_a_program_that_plays_an_episode_plays_the_episode(pico):
    ours = played(Episodes(n=3, turns=3, max_tokens=12, observation=0), Nods(), **pico)
    theirs = played(guest("nods", n=3, turns=3, max_tokens=12), **pico)
    assert [r.rows for r in theirs.rollouts] == [r.rows for r in ours.rollouts], "token for token, under the same noise"
    assert [(r.id, r.text) for r in theirs.rollouts] == [(r.id, r.text) for r in ours.rollouts]
    assert len({r.rows for r in theirs.rollouts}) == 3, "siblings draw apart"


def test_what_it_hands_in_is_what_is_graded():
    class Knows:
        def grade(self, task: Task, text: str) -> dict[str, float]:
            return {"outcome": float(task.needs["answer"] in text)}

    answers, scored = played(guest("hands_in")), played(guest("grades"))
    assert [r.text for r in answers.rollouts] == ["<answer>7</answer>"] * 2
    source: Any = Knows()
    found = asyncio.run(grade(source, [answers, replace(scored, rollouts=tuple(replace(r, id=f"x{r.id}") for r in scored.rollouts))]))
    assert [found.get(r, "outcome") for r in answers.rollouts] == [1.0, 1.0]
    assert [found.get(f"x{r.id}", "words") for r in scored.rollouts] == [4.0, 4.0]
    assert all(r.stop == "finished" for r in (*answers.rollouts, *scored.rollouts))


def test_a_program_that_begins_anew_gives_a_row_each_time():
    for rollout in played(guest("summarises")).rollouts:
        assert [[s.kind for s in row.segments] for row in rollout.rows] == [["prompt", "action"]] * 3
        trained = [segment for row in rollout.rows for segment in row.trains]
        assert len(trained) == len(set(trained)) == 3
        assert rollout.keys["guest"] == {"asked": 3, "at_once": 1}


def test_asking_at_once_is_answered_and_breaks_a_promise_to_ask_in_turn():
    class Takes(Script):
        async def _written(self, *what: Any) -> Any:
            await asyncio.sleep(0.3)  # long enough that the next is asked meanwhile
            return await super()._written(*what)

    group = played(guest("together", repeats="no", rows=3), engine=Takes())
    assert all(r.stop == "finished" and len(r.rows) == 3 for r in group.rollouts)
    assert all(r.keys["guest"]["at_once"] > 1 for r in group.rollouts)
    assert all(r.stop == "error" and "at once" in why(r) for r in played(guest("together", rows=3), engine=Takes()).rollouts)


def test_programs_that_stay_play_one_rollout_after_the_other():
    sampler = guest("stays", stays=1, deadline=1.5, n=4)
    first, second = played(sampler).rollouts, played(replace(sampler, n=2)).rollouts
    assert [r.stop for r in first] == ["finished", "finished", "error", "finished"], "who was late was ended, and another one begun"
    assert "within 1.5 s" in why(first[2])
    assert [r.stop for r in second] == ["finished", "error"]
    pids = [r.keys["scores"]["pid"] for r in (first[0], first[1], first[3], second[0])]
    assert pids[0] == pids[1] != pids[2] == pids[3]
    alone = played(guest("grades", n=2))  # asks the same, a process each
    assert [r.rows for r in alone.rollouts] == [r.rows for r in second]
    standing(sampler.command, 1).close()
    assert marks() == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("dies", "ended with 1: it fell over"),
        ("asks_nothing", "asked nothing"),
        ("lies", "Infinity"),
        ("wants_other", "ended with 3: temperature=0, and the rollout is drawn at 1.0"),
        ("no_such_program", "ended with 1"),
    ],
)
def test_what_a_program_does_wrong_is_our_fault_and_no_score(name, said):
    group = played(guest(name))
    assert all(r.stop == "error" and said in why(r) for r in group.rollouts), [why(r) for r in group.rollouts]
    source: Any = None
    scores = asyncio.run(grade(source, [group]))
    assert {scores.get(r, "outcome") for r in group.rollouts} == {None}


def test_what_the_rollout_has_no_turn_or_room_for_is_its_own_ending():
    assert [r.stop for r in played(guest("asks_too_much")).rollouts] == ["turns", "turns"]
    assert [r.stop for r in played(guest("asks_too_much", turns=99, context=60)).rollouts] == ["length", "length"]


def marks() -> list[int]:
    """Programs of ours that live."""
    sought = f"{MARK}=".encode()
    found = []
    for one in Path("/proc").glob("[0-9]*/environ"):
        try:
            found += [int(one.parent.name)] if any(v.startswith(sought) for v in one.read_bytes().split(b"\0")) else []
        except OSError:
            continue
    return found


def test_a_program_without_end_is_ended_with_all_that_it_began():
    began = time.monotonic()
    group = played(guest("without_end", deadline=1.5))
    assert time.monotonic() - began < 10
    assert all(r.stop == "error" and "within 1.5 s" in why(r) for r in group.rollouts)
    assert marks() == []


def test_what_it_leaves_behind_is_ended_too():
    assert all(r.stop == "finished" for r in played(guest("leaves_a_child")).rollouts)
    assert marks() == []


def test_a_program_that_cannot_be_started_stops_the_run():
    with pytest.raises(ValueError, match="no-such-thing"):
        played(Guest(("/no-such-thing",), n=2))
    with pytest.raises(ValueError, match="names no program"):
        played(Guest(n=2))
    with pytest.raises(ValueError, match="would answer nobody"):
        called(method(), Nods())


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"command": "python agent.py"}, "each a text"),
        ({"n": 0}, "at least 1"),
        ({"deadline": 0}, "above 0"),
        ({"context": 100, "max_tokens": 100}, "no prompt"),
        ({"repeats": "checked"}, "exact, or no"),
    ],
    ids=str,
)
def test_what_is_no_guest_is_refused(how, said):
    with pytest.raises(ValueError, match=said):
        Guest(**how)


def method(name: str = "nods", **how: Any) -> Method:
    return GRPO.but("guest", idea=("sampler",), sampler=guest(name, turns=3, max_tokens=8, **how))


def recipe(made: Method, **more: Any) -> Recipe:
    sizes = {"tasks": 2, "group": 2, "steps": 2, "eval_tasks": 0, "checkpoint_every": 1, "slots": 16, "seed": 3}
    return Recipe(method=made, task="chain", **{**sizes, **more})


@pytest.mark.slow  # three runs
def test_a_run_with_a_guest_repeats_and_says_how_far(tmp_path):
    lines = []
    for place in ("one", "other"):
        run = create(recipe(method()), tmp_path / place)
        run.train()
        lines.append(
            [{k: v for k, v in json.loads(line).items() if k != "t"} for line in (run.directory / "metrics.jsonl").read_text().splitlines()]
        )
        assert run.grade_of_bits == "exact"
    assert lines[0] == lines[1]
    assert lines[0][-1]["bill"]["decoded"] > 0
    assert create(recipe(method(repeats="no")), tmp_path / "no").grade_of_bits == "logged"


def test_a_saved_method_holds_its_guest():
    made = method()
    assert saved_load(made.to_json()) == made


RUNS = """
import asyncio, os, sys
from strop.serving.program import ran
print("begun", flush=True)
asyncio.run(ran((sys.executable, "-I", "-S", {here!r} + "/guests.py", "hides_for_ever"), b"{{}}", 60.0, "test", os.environ))
"""


def gone(seconds: float) -> bool:
    """Whether every program of ours ends within this time."""
    until = time.monotonic() + seconds
    while marks() and time.monotonic() < until:
        time.sleep(0.02)
    return marks() == []


def there(seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not marks() and time.monotonic() < until:
        time.sleep(0.005)
    return marks() != []


def test_programs_end_with_who_started_them():
    process = subprocess.Popen([sys.executable, "-c", RUNS.format(here=str(HERE))], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    assert there(20)
    time.sleep(0.3)
    process.kill()
    process.wait()
    process.stdout.close()
    assert gone(10)


def twenty() -> None:
    """Forks of one warm process, so that none imports torch again; each waits for programs without end and is killed."""
    for number in range(20):
        pid = os.fork()
        if not pid:
            played(guest("without_end", deadline=60.0))
            os._exit(0)
        was = there(20)
        time.sleep(0.02 * number)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        print(json.dumps([was, gone(10)]), flush=True)


@pytest.mark.full  # twenty strops that are killed while their guests ask
def test_twenty_kills_leave_no_process():
    source = (
        f"import sys; sys.path.insert(0, {str(HERE)!r}); import torch; torch.set_num_threads(1); from test_guest import twenty; twenty()"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", source], capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert [json.loads(line) for line in done.stdout.splitlines()] == [[True, True]] * 20


@pytest.mark.full  # a run is killed while it draws, and goes on, eight times
def test_a_run_whose_guests_are_killed_goes_on_alike():
    from test_resume import check, kills

    results = kills("sample", 0, 8, "guest")
    assert len(results) == 8
    check(results)
    assert marks() == []


def test_who_carries_a_mark_is_found_and_ended():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], env={**os.environ, MARK: "ours"})
    until = time.monotonic() + 5
    while marked("ours") != [process.pid] and time.monotonic() < until:
        time.sleep(0.01)
    assert marked("ours") == [process.pid]
    assert marked("our") == []
    swept("ours")
    assert process.wait(5) == -9


def example(name: str) -> Method:
    return getattr(own.loaded(HERE.parent.parent / "examples" / "guests" / "methods.py"), name)


def small(sampler: Guest) -> Guest:
    return replace(sampler, n=2, max_tokens=24, deadline=60.0)


def test_the_example_of_an_agent_is_asked_and_answers(pico):
    task = Task("1+2=?", {}, "rooms")
    (group,) = asyncio.run(grown(small(example("AGENT").sampler), task, None, context(**pico)))
    assert [r.stop for r in group.rollouts] == ["finished"] * 2, [why(r) for r in group.rollouts]
    assert all([s.kind for s in r.rows[0].segments] == ["prompt", "action", "observation", "action"] for r in group.rollouts)


def venv(name: str, package: str) -> str:
    """A Python that has a package, by the environment variable that names it."""
    python = os.environ.get(name, "")
    if not python:
        pytest.skip(f"{name} names no Python that has {package}")
    return python


@pytest.mark.full  # each program imports openai
def test_an_agent_on_the_openai_package_is_what_plain_http_is(pico):
    task, plain = Task("1+2=?", {}, "rooms"), small(example("AGENT").sampler)
    plain = replace(plain, command=(sys.executable, *plain.command[1:]))
    theirs = replace(plain, command=(venv("STROP_AGENT_PYTHON", "openai"), *plain.command[1:]))
    (one,), (other,) = (asyncio.run(grown(sampler, task, None, context(**pico))) for sampler in (plain, theirs))
    assert one.rollouts == other.rollouts


@pytest.mark.full  # verifiers takes seconds to be imported
def test_an_environment_of_verifiers_plays_and_grades(pico):
    venv("STROP_VERIFIERS_PYTHON", "verifiers")
    sampler, task = small(example("SUMS").sampler), Task("25+50-28=?", {"answer": "0"}, "rows")
    (group,) = asyncio.run(grown(sampler, task, None, context(**pico)))
    standing(sampler.command, sampler.stays).close()
    for rollout in group.rollouts:
        assert rollout.stop == "finished", why(rollout)
        assert rollout.rows[0].segments[0].tokens == pico["renderer"].prompt(task.prompt), "it asks what its own task says"
        assert rollout.keys["scores"].keys() == {"outcome", "vf_first", "vf_solved"}
        assert rollout.keys["guest"]["asked"] == (1 if rollout.keys["scores"]["vf_first"] else 2)
    assert marks() == []
