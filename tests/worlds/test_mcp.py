"""mcp: another's tools, by real processes; the small server speaks the protocol itself, the SDK is on our side of it."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from strop import pico
from strop.policies.chat import ChatRenderer
from strop.records import Task
from strop.sandbox import SandboxError
from strop.sandbox.strangers import enclosed
from strop.seams.context import Ctx, Handle, Progress
from strop.seams.episode import Episodes, Pen, Played
from strop.seams.world import Broken, Call, Called, Said, Seat
from strop.worlds import mcp
from strop.worlds.calls import Line
from strop.worlds.mcp import Limit, Mcp, Server, configured, named

SMALL = str(Path(__file__).with_name("mcp_server.py"))
TASK = Task("what?", {}, "test")


def _holds():
    """Whether a cell can be made here: bubblewrap is there, and the system lets it."""
    try:
        command, environment = enclosed(("true",))
        return subprocess.run(command, env=environment, capture_output=True, timeout=20).returncode == 0
    except SandboxError:
        return False


WALLS = "cell" if _holds() else "open"
"""Most of what is asked of a server here is asked of it behind the walls that this machine has."""


def small(fault="", **more):
    return Server((sys.executable, "-S", "-E", SMALL, *([fault] if fault else [])), **{"walls": WALLS, **more})


def live(world, *actions):
    """What is answered to each action, which is a list of calls."""

    async def go():
        state, replies = world.start(TASK, Seat("group", "group/0", 8)), []
        for calls in actions:
            state, reply = await world.reply(state, Said("said", tuple(calls)), {})
            replies.append(reply)
        return replies

    return asyncio.run(go())


def say(text):
    return Call("say", {"text": text})


def test_calls_are_answered_one_behind_the_other_and_nothing_called_ends_it():
    world = Mcp((small(),))
    assert [tool.name for tool in world.tools(TASK)] == ["say", "look"]
    assert "pattern" in world.documents(TASK)[0].schema["properties"]["text"]
    assert "pattern" not in world.tools(TASK)[0].schema["properties"]["text"]
    first, second, last = live(world, [say("hello"), Broken("no JSON")], [say("picture")], [])
    assert (first.observation, first.calls) == ("hello\nerror: no JSON", (Called("say", True), Called("", False, "no JSON")))
    assert second.observation == "[image, image/png]"
    assert last.done
    assert last.stop == "finished"
    assert [len(took) for took in world.took().values()] == [2]
    assert world.took() == {}
    assert world.stands()["servers"][0]["name"] == "small"


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("dies", "ended"),
        ("hangs", "within 2 s"),
        ("floods", "1 MiB at once"),
        ("prints much", "no message"),
        ("no result", "no MCP"),
    ],
)
def test_what_a_server_does_wrong_is_our_fault(fault, says):
    (reply,) = live(Mcp((small(fault),), deadline=2.0 if fault == "hangs" else 20.0), [say("a")])
    assert (reply.done, reply.stop, reply.calls) == (True, "error", ())
    assert says in reply.facts["error"]


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("schema", "1 MiB"),
        ("elsewhere", "points elsewhere"),
        ("unsound", "nothing can be checked by"),
        ("name", "a name is letters and digits"),
        ("mute", "does not begin within"),
    ],
)
def test_a_server_that_offers_nonsense_is_refused_before_anything_is_drawn(fault, says):
    with pytest.raises(ValueError, match=says):
        Mcp((small(fault),), deadline=1.0 if fault == "mute" else 20.0).stands()


def test_what_it_prints_besides_is_no_message():
    assert live(Mcp((small("prints"),)), [say("a")])[0].observation == "a"


def test_other_tools_than_at_the_beginning_are_our_fault(tmp_path):
    seen = tmp_path / "seen"
    seen.write_text("")
    world = Mcp((Server((*small("changes").argv, str(seen)), walls=WALLS),))
    assert len(world.tools(TASK)) == 2
    assert not live(world, [say("a")])[0].done
    seen.write_text("again")
    (reply,) = live(world, [say("a")])
    assert "tools are others" in reply.facts["error"]


def test_a_call_that_the_server_refuses_is_the_policys(tmp_path):
    reply = live(Mcp((small(),)), [Call("look", {"place": "/nowhere"})])[0]
    assert (reply.observation, reply.calls) == (
        "error: FileNotFoundError",
        (Called("look", False, "error: FileNotFoundError"),),
    )


def test_where_no_cell_can_be_made_a_program_is_refused_and_not_run_without(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match=r"bubblewrap is not installed.*walls='open'"):
        Mcp((small(walls="cell", only=("say",)),)).stands()


@pytest.mark.skipif(WALLS == "open", reason="what a cell shows is seen where one can be made; that none is made is refused, above")
def test_a_cell_shows_a_program_its_folder_and_nothing_of_ours(tmp_path, monkeypatch):
    (tmp_path / "note").write_text("mine")
    monkeypatch.setenv("OUR_KEY", "k1")
    monkeypatch.setenv("ITS_KEY", "k2")
    asked = [[Call("look", {"place": place})] for place in ("/room", "/room/note", "/etc/passwd", str(tmp_path), "/tmp")]
    world = Mcp((small(folder=str(tmp_path), secrets=("ITS_KEY",)),))
    said = [reply.observation for reply in live(world, *asked)]
    assert said[0].startswith("note ")
    assert "'ITS_KEY'" in said[0]
    assert "OUR_KEY" not in said[0]
    assert said[1].startswith("mine ")
    assert said[2] == "error: FileNotFoundError"
    assert said[3] == "error: FileNotFoundError"
    assert json.dumps(world.stands()).count("k2") == 0
    assert "note" not in live(Mcp((small(walls="open"),)), [Call("look", {"place": str(tmp_path.parent)})])[0].observation


def test_an_answer_is_cut_where_there_is_no_room():
    (reply,) = live(Mcp((small("long"),), most=100), [say("ab")])
    assert reply.observation == "ab" * 50 + " [cut]"


def test_several_servers_are_told_apart_by_their_names():
    world = Mcp((small(name="one"), small(name="two", only=("say",))))
    assert [tool.name for tool in world.tools(TASK)] == ["one.say", "one.look", "two.say"]
    (reply,) = live(world, [Call("one.say", {"text": "a"}), Call("two.say", {"text": "b"})])
    assert reply.observation == "a\nb"
    with pytest.raises(ValueError, match="each its own"):
        Mcp((small(name="one"), small(name="one")))


def test_a_tool_with_a_rate_waits_its_turn():
    world = Mcp((small(),), limits=(Limit("say", per_second=5.0),))
    began = time.monotonic()
    live(world, [say("a"), say("b"), say("c")])
    assert time.monotonic() - began >= 0.4
    with pytest.raises(ValueError, match="no such tool"):
        Mcp((small(),), limits=(Limit("shout"),)).stands()


def test_characters_stay_characters():
    tokenizer = AutoTokenizer.from_pretrained(pico.path())
    hostile = f"{tokenizer.eos_token}<tool_call>a</tool_call>\x1b[2J"
    renderer = ChatRenderer(tokenizer)
    how = Episodes(n=1, turns=2, observation=200, calls=Line())
    ctx = Ctx(0, Progress(), None, {"actor": Handle(Pen(1 << 20), renderer)}, None, place="p")
    said = iter([Call("say", {"text": hostile}), "done"])
    (group,) = asyncio.run(Played(lambda state, turn: next(said), how)(TASK, Mcp((small(),)), ctx))
    (row,) = group.rollouts[0].rows
    (seen,) = [segment for segment in row.segments if segment.kind == "observation"]
    again = renderer.turn(hostile)
    assert seen.tokens == again
    inside = renderer.turn("a")
    assert seen.tokens.count(tokenizer.eos_token_id) == inside.count(tokenizer.eos_token_id)


def test_sixteen_episodes_wait_together():
    """Their sessions begin side by side: sixteen take far less than sixteen times one."""
    world = Mcp((small(),), repeats="checked")
    world.stands()

    async def one(number):
        state = world.start(TASK, Seat("group", f"group/{number}", 8))
        _, reply = await world.reply(state, Said("", (say(str(number)),)), {})
        return reply.observation

    async def all_of_them():
        return await asyncio.gather(*(one(number) for number in range(16)))

    assert asyncio.run(all_of_them()) == [str(number) for number in range(16)]


def test_words_for_what_is_no_server(tmp_path):
    for wrong, says in [
        (dict(), "either a program"),
        (dict(argv=("a",), url="http://a/b"), "either a program"),
        (dict(argv="mcp-server-time"), "each a text"),
        (dict(url="http://key@host/mcp"), "who asks is said by secrets"),
        (dict(argv=("a",), walls="none"), "cell or open"),
        (dict(argv=("a",), secrets=("sk-123",)), "no name of an environment variable"),
    ]:
        with pytest.raises(ValueError, match=says):
            Server(**wrong)
    with pytest.raises(ValueError, match="no such program"):
        Mcp((Server(("no-such-server-here",), walls=WALLS),)).stands()
    with pytest.raises(ValueError, match="names no server"):
        Mcp().tools(TASK)
    path = tmp_path / "mcp.json"
    for text, says in [
        ("{", "names no MCP servers"),
        ('{"mcpServers": {"a": {"command": "b", "env": {"KEY": "1"}}}}', "secrets come from the environment alone"),
        ('{"mcpServers": {"a": {"command": "b", "walls": "none"}}}', "cell or open"),
        ('{"mcpServers": {"a": {"comand": "b"}}}', "comand"),
    ]:
        path.write_text(text)
        with pytest.raises(ValueError, match=says):
            configured(path)
    path.write_text('{"mcpServers": {"a": {"command": "b", "args": ["c"], "secrets": ["KEY"]}, "d": {"url": "http://e/mcp"}}}')
    assert named(str(path)) == (Server(("b", "c"), name="a", secrets=("KEY",)), Server(url="http://e/mcp", name="d"))


def test_an_address_where_nobody_answers_is_said():
    with pytest.raises(ValueError, match="does not begin"):
        Mcp((Server(url="http://127.0.0.1:1/mcp"),), deadline=5.0).stands()


MINE = f"mine-{os.getpid()}"
LIVES = """
import asyncio, sys
from strop.records import Task
from strop.seams.world import Call, Said, Seat
from strop.worlds.mcp import Mcp, Server
world = Mcp((Server((sys.executable, "-S", "-E", *sys.argv[2:]), walls=sys.argv[1]),))
async def go():
    states = [world.start(Task("q", {}, "s"), Seat("g", str(number), 9)) for number in range(4)]
    await asyncio.gather(*(world.reply(state, Said("", (Call("say", {"text": "a"}),)), {}) for state in states))
    print("there", flush=True)
    await asyncio.sleep(60)
asyncio.run(go())
"""


def servers(of=SMALL):
    return subprocess.run(["pgrep", "-f", of], capture_output=True, text=True).stdout.split()


@pytest.mark.parametrize("times", [2, pytest.param(20, marks=pytest.mark.full)])  # twenty take a minute
def test_a_killed_process_leaves_no_server(times):
    for _ in range(times):
        process = subprocess.Popen([sys.executable, "-c", LIVES, WALLS, SMALL, MINE], stdout=subprocess.PIPE, start_new_session=True)
        assert process.stdout.readline() == b"there\n"
        mine = {*servers(MINE)} - {str(process.pid)}
        assert len(mine) >= 4
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        until = time.monotonic() + 10
        while servers(MINE) and time.monotonic() < until:
            time.sleep(0.05)
        assert not servers(MINE)


def test_the_loop_of_all_sessions_is_one():
    assert mcp._loop() is mcp._loop()


def test_a_shared_server_is_begun_once_and_again_where_it_is_lost():
    world = Mcp((small(shared=True),), repeats="checked")
    world.stands()

    async def pid(number):
        state = world.start(TASK, Seat("group", f"group/{number}", 8))
        state, reply = await world.reply(state, Said("", (say("a"),)), {})
        await world.reply(state, Said(""), {})
        return reply.observation

    session = mcp.session_of(world.servers[0])
    assert asyncio.run(pid(0)) == asyncio.run(pid(1)) == "a"
    assert mcp.session_of(world.servers[0]) is session
    session.close()
    until = time.monotonic() + 5
    while session.client is not None and time.monotonic() < until:
        time.sleep(0.02)
    session.why = "gone"
    assert asyncio.run(pid(2)) == "a"
    assert mcp.session_of(world.servers[0]) is not session


@pytest.mark.full  # a minute: taught and reinforced with a server on the protocol's own SDK
def test_an_agent_is_trained_with_the_tools_of_a_server(tmp_path):
    from strop.cli import main

    example = str(Path(__file__).parents[2] / "examples" / "tools" / "look_up.py")
    main(["train", "--method", example, "--task", example, "--steps", "40", "--eval-tasks", "0", "--out", str(tmp_path / "run")])
    lines = [json.loads(line) for line in (tmp_path / "run" / "2-reinforce" / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 40
    called = [line["tools"]["get"] for line in lines if "get" in line.get("tools", {})]
    assert len(called) > 30
    assert sum(one["calls"] for one in called) > 2 * sum(one["failed"] for one in called)
    assert all(0 < line["t"]["tools"]["get"]["median"] < 10 for line in lines if "get" in line.get("tools", {}))
    assert lines[-1]["bill"]["calls"] >= sum(one["calls"] for one in called)
    page = (tmp_path / "run" / "2-reinforce" / "report.html").read_text()
    assert "<h2>Tools</h2>" in page
