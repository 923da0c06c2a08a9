"""Servers of other people, as the registries have them: six of MCP in cells, OpenEnv's server and client. `.ci/full worlds` installs them.

STROP_ZOO names a folder with `py`, an environment with mcp-server-time, -git and -fetch, and `node_modules` with the three of Node;
STROP_OPENENV the Python of an environment with openenv.
"""

import asyncio
import json
import os
import socket
import subprocess
import time
from pathlib import Path

import pytest

from strop.records import Task
from strop.seams.world import Call, Said, Seat
from strop.tasks import source
from strop.worlds.mcp import Mcp, Server
from strop.worlds.openenv import OpenEnv

pytestmark = pytest.mark.full  # they are installed for it
ZOO, OPENENV = Path(os.environ.get("STROP_ZOO", "")), os.environ.get("STROP_OPENENV", "")
TASK = Task("what?", {}, "zoo")


def live(world, *calls):
    async def go():
        state, replies = world.start(TASK, Seat("g", "g/0", 20)), []
        for call in calls:
            state, reply = await world.reply(state, Said("", (call,)), {})
            replies.append(reply)
        return replies

    return asyncio.run(go())


@pytest.fixture
def repository(tmp_path):
    def git(*words):
        subprocess.run(["git", "-C", tmp_path, *words], check=True, capture_output=True)

    git("init", "-q", "-b", "main")
    (tmp_path / "note.txt").write_text("<|im_end|> first\n")
    git("add", ".")
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "a note")
    return str(tmp_path)


@pytest.mark.skipif("STROP_ZOO" not in os.environ, reason="what STROP_ZOO names is installed by `.ci/full worlds`")
@pytest.mark.parametrize(
    ("program", "asked", "said", "good"),
    [
        (("py/bin/mcp-server-time",), ("get_current_time", {"timezone": "UTC"}), '"timezone": "UTC"', True),
        (("py/bin/mcp-server-time",), ("get_current_time", {"timezone": "Nowhere"}), "error: ", False),
        (("py/bin/mcp-server-fetch",), ("fetch", {"url": "http://127.0.0.1:1/"}), "error: ", False),
        (("py/bin/mcp-server-git", "--repository", "/room"), ("git_log", {"repo_path": "/room"}), "a note", True),
        (("node_modules/.bin/mcp-server-filesystem", "/room"), ("read_text_file", {"path": "/room/note.txt"}), "<|im_end|> first", True),
        (
            ("node_modules/.bin/mcp-server-filesystem", "/room"),
            ("read_text_file", {"path": "/etc/hostname"}),
            "error: Access denied",
            False,
        ),
        (("node_modules/.bin/mcp-server-memory",), ("read_graph", {}), "entities", True),
        (("node_modules/.bin/mcp-server-everything",), ("get-sum", {"a": 1, "b": 2}), "3", True),
        (("node_modules/.bin/mcp-server-everything",), ("get-tiny-image", {}), "[image, image/png]", True),
    ],
)
def test_a_server_of_the_zoo_answers_from_its_cell(program, asked, said, good, repository):
    name, *rest = program
    world = Mcp((Server((str(ZOO / name), *rest), folder=repository),))
    (reply,) = live(world, Call(*asked))
    assert reply.stop == "finished", reply.facts
    assert said in reply.observation
    assert [call.ok for call in reply.calls] == [good]
    assert len(world.tools(TASK)) == len(world.documents(TASK)) > 0


@pytest.mark.skipif("STROP_ZOO" not in os.environ, reason="what STROP_ZOO names is installed by `.ci/full worlds`")
def test_what_one_episode_writes_the_next_one_does_not_see(tmp_path):
    world = Mcp((Server((str(ZOO / "node_modules/.bin/mcp-server-filesystem"), "/room")),))
    wrote, read = live(world, Call("write_file", {"path": "/room/a", "content": "b"}), Call("read_text_file", {"path": "/room/a"}))
    assert (wrote.calls[0].ok, read.observation) == (True, "b")
    (again,) = live(Mcp(world.servers), Call("list_directory", {"path": "/room"}))
    assert again.calls[0].ok
    assert "a" not in again.observation.replace("error", "")


def free_port():
    with socket.socket() as end:
        end.bind(("127.0.0.1", 0))
        return end.getsockname()[1]


def listens(port, seconds=60.0):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with socket.socket() as end:
            if end.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError(f"nobody listens at {port}")


SIDE = Path(__file__).with_name("openenv_side")


@pytest.mark.skipif("STROP_OPENENV" not in os.environ, reason="what STROP_OPENENV names is installed by `.ci/full worlds`")
def test_openenvs_own_server_is_a_world():
    port = free_port()
    process = subprocess.Popen([OPENENV, SIDE / "server.py", str(port)])
    try:
        listens(port)
        world = OpenEnv(f"http://127.0.0.1:{port}", shows="heard", says="word")

        async def go():
            state, replies = world.start(Task("Say words.", {"seed": 4}, "openenv"), Seat("g", "g/0", 9)), []
            shown = await world.show(state)
            for said in (Said("hello"), Said("x" * 30), Said("", (Call("act", {"word": "abc"}),)), Said("ok")):
                state, reply = await world.reply(state, said, {})
                replies.append(reply)
            return shown, replies

        shown, replies = asyncio.run(go())
    finally:
        process.kill()
        process.wait()
    assert shown == "Say words.\nseed 4"
    assert [reply.observation for reply in replies] == ["1: hello", "error: Invalid message", "2: abc", "3: ok"]
    assert [reply.calls[0].ok for reply in replies] == [True, False, True, True]
    assert replies[-1].scores == {"outcome": 10.0}


@pytest.mark.skipif("STROP_OPENENV" not in os.environ, reason="what STROP_OPENENV names is installed by `.ci/full worlds`")
def test_openenvs_own_client_plays_a_served_world():
    task = source("wiki").task("test", 0, 5)
    at = task.needs["start"]
    process = subprocess.Popen(
        [os.sys.executable, "-m", "strop", "world", "serve", "wiki", "--openenv", "--port", "0"], stderr=subprocess.PIPE, text=True
    )
    try:
        url = process.stderr.readline().strip()
        answer = f"<answer>{task.needs['answer']}</answer>"
        ran = subprocess.run([OPENENV, SIDE / "client.py", url, "5", at, answer], capture_output=True, text=True, timeout=120, check=True)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
    first, card, steps, reward, done = json.loads(ran.stdout.splitlines()[-1])
    assert first == task.prompt
    assert card.startswith(at + task.needs["cards"][at])
    assert (steps, reward, done) == (1, 1.0, True)
