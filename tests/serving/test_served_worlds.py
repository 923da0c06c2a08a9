"""A world served: to the SDK's client and to strop's own, on standard streams and over HTTP, and to what speaks OpenEnv."""

import asyncio
import json
import queue
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest
from mcp import Client, StdioServerParameters
from websockets.sync.client import connect

from strop.aside import Loop
from strop.cli import main
from strop.offered import Served, mcp_at, openenv_at
from strop.records import Task
from strop.seams.world import Call, Said, Seat
from strop.tasks import source
from strop.worlds.mcp import Mcp, Server
from strop.worlds.openenv import OpenEnv

STROP = (sys.executable, "-m", "strop")


@contextmanager
def served(name, how, index=0):
    """Its address, while it is served from a thread of this process."""
    tasks = source(name)
    loop, there = Loop("served"), queue.Queue()
    work = asyncio.run_coroutine_threadsafe(how(Served(tasks, tasks.world, index=index), "127.0.0.1", 0, there.put), loop.loop)
    try:
        yield there.get(timeout=30)
    finally:
        work.cancel()
        loop.wait(asyncio.sleep(0.1), 5)  # what listened is told of it
        loop.close()


def chain(task):
    """The calls that a chain of cards asks for, and its answer."""
    at, asked = task.needs["start"], []
    while not at.isdigit():
        asked.append(at)
        at = task.needs["cards"][at]
    return asked, at


def solved(client, task):
    async def go():
        async with client as c:
            tools = [tool.name for tool in (await c.list_tools()).tools]
            question = (await c.get_prompt("task")).messages[0].content.text
            asked, digit = chain(task)
            cards = [(await c.call_tool("get", {"key": key})).content[0].text for key in asked]
            wrong = await c.call_tool("get", {"key": "too long"})
            last = await c.call_tool("finish", {"text": f"<answer>{digit}</answer>"})
            behind = await c.call_tool("get", {"key": "a"})
            return tools, question, cards, wrong, last, behind

    return asyncio.run(go())


def test_a_client_of_mcp_plays_an_episode_and_is_told_its_score():
    task = source("wiki").task("test", 0, 3)
    client = Client(StdioServerParameters(command=STROP[0], args=[*STROP[1:], "world", "serve", "wiki", "--mcp", "--index", "3"]))
    tools, question, cards, wrong, last, behind = solved(client, task)
    assert tools == ["get", "finish"]
    assert question == task.prompt
    assert [card[:2] for card in cards] == [f"{key}{task.needs['cards'][key]}" for key in chain(task)[0]]
    assert wrong.is_error
    assert "too long" in wrong.content[0].text
    assert last.structured_content == {"done": True, "stop": "finished", "scores": {"outcome": 1.0, "lenient": 1.0}}
    assert behind.is_error
    assert "over" in behind.content[0].text


def test_over_http_every_session_is_an_episode_of_the_next_task():
    tasks = [source("wiki").task("test", 0, index) for index in range(2)]
    with served("wiki", mcp_at, None) as url:
        for task in tasks:
            _, question, _, _, last, _ = solved(Client(url), task)
            assert question == task.prompt
            assert last.structured_content["scores"]["outcome"] == 1.0


def test_strop_plays_in_what_strop_serves():
    task = source("wiki").task("test", 0, 0)
    with served("wiki", mcp_at) as url:
        world = Mcp((Server(url=url),))

        async def go():
            state = world.start(task, Seat("g", "g/0", 9))
            said = [Call("get", {"key": key}) for key in chain(task)[0]] + [Call("finish", {"text": f"<answer>{chain(task)[1]}</answer>"})]
            replies = []
            for call in said:
                state, reply = await world.reply(state, Said("", (call,)), {})
                replies.append(reply.observation)
            return replies

        *cards, last = asyncio.run(go())
        assert len(cards) == task.needs["hops"]
        assert json.loads(last)["scores"]["outcome"] == 1.0


def test_a_client_of_openenv_plays_and_is_refused_in_its_own_words():
    task = source("wiki").task("test", 0, 5)
    with served("wiki", openenv_at) as url:
        assert json.load(urllib.request.urlopen(f"{url}/health"))["status"] == "healthy"
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"{url}/elsewhere")
        with connect(url.replace("http", "ws") + "/ws") as socket:

            def asked(message):
                socket.send(message if isinstance(message, str) else json.dumps(message))
                return json.loads(socket.recv(timeout=20))

            assert asked({"type": "step", "data": {"text": "a"}})["data"]["code"] == "SESSION_ERROR"
            assert asked("{")["data"]["code"] == "INVALID_JSON"
            begun = asked({"type": "reset", "data": {"seed": 5}})["data"]
            assert begun["observation"]["text"] == task.prompt
            assert asked({"type": "step", "data": {"nothing": 1}})["data"]["code"] == "VALIDATION_ERROR"
            for key in chain(task)[0]:
                step = asked({"type": "step", "data": {"tool": "get", "arguments": {"key": key}}})["data"]
                assert step["observation"]["text"].startswith(key)
                assert (step["done"], step["reward"]) == (False, None)
            last = asked({"type": "step", "data": {"text": f"<answer>{chain(task)[1]}</answer>"}})["data"]
            assert (last["done"], last["reward"]) == (True, 1.0)
            assert asked({"type": "state"})["data"]["step_count"] == len(chain(task)[0]) + 1
        world = OpenEnv(url, shows="text", says="text")

        async def go():
            state = world.start(Task("", {"seed": 5}, "openenv"), Seat("g", "g/0", 9))
            shown = await world.show(state)
            state, first = await world.reply(state, Said("", (Call("act", {"tool": "get", "arguments": {"key": "a"}}),)), {})
            state, wrong = await world.reply(state, Said("", (Call("act", {"tool": "get", "text": "a"}),)), {})
            state, last = await world.reply(state, Said(f"<answer>{chain(task)[1]}</answer>"), {})
            return shown, first, wrong, last

        shown, first, wrong, last = asyncio.run(go())
        assert shown == task.prompt
        assert first.calls[0].ok
        assert not wrong.calls[0].ok
        assert last.scores == {"outcome": 1.0}


def test_an_openenv_server_that_is_gone_is_our_fault():
    with served("wiki", openenv_at) as url:
        world = OpenEnv(url, shows="text", says="text", deadline=5.0)
        assert world.tools(Task("", {}, "s"))[0].name == "act"
        state = world.start(Task("", {"seed": 5}, "openenv"), Seat("g", "g/0", 9))
        assert asyncio.run(world.show(state))
    _, reply = asyncio.run(world.reply(state, Said("a"), {}))
    assert reply.stop == "error"
    with pytest.raises(ValueError, match="has no /schema"):
        OpenEnv("http://127.0.0.1:1").tools(Task("", {}, "s"))


def test_words_for_what_cannot_be_served(capsys):
    for words, says in [
        (("wiki",), "--mcp or --openenv"),
        (("wiki", "--openenv"), "over HTTP"),
        (("chain", "--mcp"), "brings no world"),
    ]:
        with pytest.raises(SystemExit) as stop:
            main(["world", "serve", *words])
        assert stop.value.code == 2
        assert says in capsys.readouterr().err
