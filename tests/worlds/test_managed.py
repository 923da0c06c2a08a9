"""Worlds around worlds: faults that are always the same, and a manager of them: asked again, kept, of another source, in time."""

import asyncio
import pickle
import time
from dataclasses import dataclass, replace
from random import Random
from types import SimpleNamespace

import pytest

from strop.check.growing import Script
from strop.metrics import of_worlds
from strop.policies.causal import load
from strop.records import Rollout, Task
from strop.seams.context import Ctx, Handle, Progress
from strop.seams.episode import Episodes, Played
from strop.seams.world import Broken, Call, Called, Reply, Said, Seat, Tool
from strop.tasks import source
from strop.worlds.calls import Line
from strop.worlds.faulty import Faulty, spoilt
from strop.worlds.graphs import GET, Graphs
from strop.worlds.live import Lost
from strop.worlds.managed import Managed
from strop.worlds.mcp import Limit, Mcp, Server, Sessions, reached

TASK = Task("a*.?", {}, "test")
SEAT = Seat("g", "g/0", 8)
TOOLS = (Tool("get", "", {"properties": {"key": {"type": "string"}}}), Tool("set", ""))


@dataclass(frozen=True)
class Shop:
    """Answers with its name, what was asked and how often `set` was called; what stands in `plan`, in turn, happens to calls of `get`."""

    name: str = "x"
    plan: tuple[str, ...] = ()
    tools = TOOLS

    def start(self, task, seat):
        return {"asked": 0, "set": 0}

    async def reply(self, state, said, ask):
        if not said.calls:
            return state, Reply("", done=True)
        (call,) = said.calls
        if isinstance(call, Broken):
            return state, Reply("broken", calls=(Called("", False, "broken"),))
        if call.tool == "set":
            return {**state, "set": state["set"] + 1}, Reply("ok", calls=(Called("set", True),))
        does = self.plan[state["asked"]] if state["asked"] < len(self.plan) else ""
        state = {**state, "asked": state["asked"] + 1}
        if does == "lost":
            return state, Reply("", done=True, stop="error", facts={"error": "gone"})
        if does == "slow":
            await asyncio.sleep(5)
        good = does != "refused"
        return state, Reply(f"{self.name}{call.arguments['key']}{state['set']}{does}", calls=(Called("get", good, "" if good else "no"),))


def get(key="k"):
    return Said("", (Call("get", {"key": key}),))


SET = Said("", (Call("set"),))


def told(world, *said, task=TASK, seat=SEAT):
    """What is answered to each action, what was counted, and why it ended."""

    async def go():
        state, heard = world.start(task, seat), []
        for one in said:
            state, reply = await world.reply(state, one, {})
            heard.append((reply.observation if reply.stop != "error" else "lost", dict(reply.facts.get("counts", {}))))
        return heard

    return asyncio.run(go())


def test_what_is_lost_is_asked_again_and_after_its_tries_it_is_lost_as_it_was():
    assert told(Managed(Shop(plan=("lost", "", "lost", "lost"))), get(), get()) == [("xk0", {"retried": 1}), ("xk0", {"retried": 2})]
    assert told(Managed(Shop(plan=("lost",) * 3)), get()) == [("lost", {"retried": 2})]
    assert told(Managed(Shop(plan=("lost",)), retries=0), get()) == [("lost", {})]
    world = Managed(Shop(plan=("lost",)), retries=0)
    _, reply = asyncio.run(world.reply(world.start(TASK, SEAT), get(), {}))
    assert reply.facts == {"error": "gone"}


def test_what_only_reads_is_kept_until_something_else_is_called_so_no_answer_is_stale():
    world = Managed(Shop(), cache=("get",))
    assert told(world, get(), get(), get("j"), SET, get()) == [("xk0", {}), ("xk0", {"cached": 1}), ("xj0", {}), ("ok", {}), ("xk1", {})]
    assert told(Managed(Shop()), get(), get()) == [("xk0", {}), ("xk0", {})], "nothing is kept unless its tools are named"
    two = Said("", (Call("get", {"key": "k"}), Call("set")))
    assert world._read(two) == ""
    assert world._read(Said("", (Call("get", {"key": "k"}), Broken("no")))) == ""


def test_a_fault_is_never_kept_and_a_wrong_answer_is_since_nobody_can_tell():
    world = Managed(Shop(plan=("lost", "refused", "", "wrong")), retries=0, cache=("get",))
    assert told(world, get(), get(), get(), get()) == [("lost", {}), ("xk0refused", {}), ("xk0", {}), ("xk0", {"cached": 1})]
    assert told(Managed(Shop(plan=("wrong",)), cache=("get",)), get(), get()) == [("xk0wrong", {}), ("xk0wrong", {"cached": 1})]


def test_who_also_answers_is_heard_and_a_broken_call_changes_nothing():
    world = Managed(Shop(), cache=("get",))
    also = Said("<answer>a</answer>", get().calls)
    assert told(world, get(), also) == [("xk0", {}), ("xk0", {})], "told to the world, which may end there"
    broken = Said("", (Broken("no JSON"),))
    assert told(world, get(), broken, get())[2] == ("xk0", {"cached": 1})


def test_a_backup_that_asks_executes_or_differs_is_refused():
    for name, value in (("asks", ("judge",)), ("repeats", "no"), ("within", lambda weakest: None)):
        other = type("Other", (Shop,), {name: value})()
        with pytest.raises(ValueError, match="whoever only reads in another's place"):
            Managed(Shop(), cache=("get",), backup=other)


def test_two_of_other_salt_fail_apart():
    def lost(salt):
        return [told(Faulty(Shop(), lost=0.5, salt=salt), get(), seat=Seat("g", str(i), 8))[0][0] == "lost" for i in range(40)]

    assert lost("") == lost("")
    assert lost("") != lost("second")


def test_a_backup_stands_in_is_not_kept_and_is_counted_where_it_disagrees():
    world = Managed(Shop(plan=("lost", "", "lost", "")), retries=0, cache=("get",), backup=Shop("y"))
    heard = told(world, get(), get(), get("j"), get("j"))
    assert heard == [("yk0", {"backed": 1}), ("xk0", {"disagreed": 1}), ("yj0", {"backed": 1}), ("xj0", {"disagreed": 1})]
    alike = replace(world, backup=Shop())
    assert told(alike, get(), get()) == [("xk0", {"backed": 1}), ("xk0", {})]
    assert told(replace(world, backup=Shop("y", ("lost",))), get()) == [("lost", {"backed": 1})]
    writes = Managed(Shop(plan=("lost",)), retries=0, cache=("read",), backup=Shop("y"))
    assert told(writes, get()) == [("lost", {})], "another source never stands in for a tool that may write"


def test_an_answer_that_comes_too_late_is_lost_and_actions_keep_to_a_rate():
    began = time.perf_counter()
    assert told(Managed(Shop(plan=("slow",)), retries=1, deadline=0.05), get()) == [("lost", {"late": 2, "retried": 1})]
    assert time.perf_counter() - began < 2
    began = time.perf_counter()
    told(Managed(Shop("rated"), rate=20.0), get(), get(), get())
    assert 0.09 < time.perf_counter() - began < 2


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (lambda: Managed(Shop(), retries=-1), "nothing below 0"),
        (lambda: Managed(Shop(), cache="get"), "each a text"),
        (lambda: Managed(Shop(), backup=Shop()), "names none of them"),
        (lambda: Faulty(Shop(), lost=0.9, wrong=0.2), "at most 1 together"),
        (lambda: Faulty(Shop(), stale=-0.1), "at most 1 together"),
        (lambda: Limit("get", retries=-1), "nothing below 0"),
    ],
)
def test_what_makes_no_sense_is_refused(made, why):
    with pytest.raises(ValueError, match=why):
        made()


# ------------------------------------------------------------------------------------------------ faults


def test_faults_come_as_often_as_they_are_asked_for_and_always_alike():
    world, many = Faulty(Shop(), lost=0.15, stale=0.05, wrong=0.03), [get(key) for key in "abcdefgh"] * 5
    found = [told(world, *many, seat=Seat("g", f"g/{n}", 40)) for n in range(50)]
    counts = of_worlds([Rollout((), "", keys={"facts": [{"counts": counted} for _, counted in one]}) for one in found])
    assert 220 < counts["lost"] < 380
    assert 60 < counts["stale"] < 140
    assert 30 < counts["wrong"] < 90
    assert found == [told(world, *many, seat=Seat("g", f"g/{n}", 40)) for n in range(50)]
    assert told(Faulty(Shop(), lost=1.0), Said("done")) == [("", {})], "what calls nothing meets no tool"


def test_a_stale_answer_is_the_one_before_and_a_wrong_one_differs_in_one_place():
    assert told(Faulty(Shop(), stale=1.0), get("a"), get("b"), get("c")) == [("xa0", {}), ("xa0", {"stale": 1}), ("xb0", {"stale": 1})]
    for number in range(20):
        ((said, counts),) = told(Faulty(Shop(), wrong=1.0), get("a"), seat=Seat("g", f"g/{number}", 8))
        assert sum(one != two for one, two in zip(said, "xa0", strict=True)) == 1
        assert counts == {"wrong": 1}
    assert spoilt("...", Random(0)) == "..."


def test_another_try_draws_another_fault_so_that_asking_again_helps():
    world = Managed(Faulty(Shop(), lost=0.5), retries=20)
    heard = told(world, *[get()] * 30)
    assert all(said == "xk0" for said, _ in heard)
    assert sum(counts.get("lost", 0) for _, counts in heard) == sum(counts.get("retried", 0) for _, counts in heard) > 10


# ------------------------------------------------------------------------------------------------ around a world


def test_what_the_other_world_has_is_there_too_and_nothing_else():
    around = Managed(Faulty(Graphs()))
    assert around.tools == (GET,)
    assert not hasattr(around, "show")
    assert not hasattr(around, "took")
    task = source("graphs").task("train", 0, 0)
    assert around.expert(around.start(task, SEAT)) == Graphs().expert(Graphs().start(task, SEAT))
    assert pickle.loads(pickle.dumps(around)) == around
    assert around.repeats if hasattr(Graphs(), "repeats") else not hasattr(around, "repeats")


def test_an_episode_under_management_counts_what_was_done_and_a_lost_one_is_our_fault():
    asked, renderer = source("graphs:least=4,most=4,blur=1"), load("pico").renderer
    ctx = Ctx(0, Progress(), asked, {"actor": Handle(Script(), renderer)}, None, place="0")
    how = Episodes(n=6, turns=20, max_tokens=20, observation=16, calls=Line())

    def played(world):
        (group,) = asyncio.run(Played(lambda state, turn: world.expert(state), how)(asked.task("train", 0, 1), world, ctx))
        return group.rollouts

    managed = played(Managed(Faulty(Graphs(), lost=0.3), retries=9, cache=(GET.name,)))
    assert {r.stop for r in managed} == {"finished"}
    assert of_worlds(managed)["lost"] == of_worlds(managed)["retried"] > 0
    raw = played(Faulty(Graphs(), lost=0.3))
    assert "error" in {r.stop for r in raw}
    assert played(Faulty(Graphs(), lost=0.3)) == raw


def test_counts_of_anybody_s_are_read_where_they_are_numbers():
    odd = [{"counts": 3}, {"counts": {"lost": "x", "late": 1, "wrong": True}}, {}]
    assert of_worlds([Rollout((), "", keys={"facts": odd}), Rollout((), "")]) == {"late": 1}


# ------------------------------------------------------------------------------------------------ MCP over HTTP


def test_servers_at_an_address_are_managed_and_programs_are_as_they_were():
    there, here = Server(url="http://127.0.0.1:1/mcp", name="a"), Server(("mcp-server-time",), name="b")
    assert reached((there,)) == Managed(Mcp((there,)), retries=2)
    assert reached((there, here)) == Managed(Mcp((there, here)), retries=2)
    assert reached((here,)) == Mcp((here,))


@pytest.mark.parametrize(("url", "limit", "tries"), [("http://a/mcp", 2, 3), ("http://a/mcp", 0, 1), ("", 2, 1)])
def test_a_call_that_is_lost_is_sent_again_in_its_session_where_its_limit_says_so(url, limit, tries):
    asked = []

    def call(tool, arguments, seconds):
        asked.append(tool)
        raise Lost("no answer")

    session = SimpleNamespace(server=SimpleNamespace(url=url, name=""), why="", call=call)
    sessions = Sessions.__new__(Sessions)
    sessions.world, sessions.each = SimpleNamespace(deadline=1.0), [session]
    took = []
    common = SimpleNamespace(limits={"get": Limit("get", retries=limit)}, pause=lambda tool: 0.0, lasted=lambda *one: took.append(one))
    with pytest.raises(Lost):
        sessions.asked(Call("get"), common)
    assert len(asked) == len(took) == tries
    session.why = "it is gone"
    asked.clear()
    with pytest.raises(Lost):
        sessions.asked(Call("get"), common)
    assert len(asked) == 1, "a session that is gone answers nothing"


@pytest.mark.full
def test_what_is_kept_costs_a_tenth_more_than_the_bare_world_at_most():
    """The ratio of the least of several times, of the two in turn."""
    task = source("graphs").task("train", 0, 0)
    world, look = Graphs(), Said("", (Call(GET.name, {"of": task.prompt[0] + "."}),))

    async def timed(around):
        state, _ = await around.reply(around.start(task, SEAT), look, {})
        began = time.perf_counter()
        for _ in range(5000):
            state, _ = await around.reply(state, look, {})
        return time.perf_counter() - began

    kept, bare = zip(*[(asyncio.run(timed(Managed(world, cache=(GET.name,)))), asyncio.run(timed(world))) for _ in range(7)], strict=True)
    assert min(kept) <= 1.1 * min(bare)
