"""The remote engine's faults, against a stand-in server that misbehaves on request; a real one is asked in test_vllm.py."""

from __future__ import annotations

import asyncio
import gzip
import time
import traceback
import tracemalloc
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest
from standin import Handler, StandIn, completion, serving

from strop import evaluate
from strop.engines import options, remote
from strop.engines.remote import RemoteError
from strop.recipe import Recipe
from strop.records import Sampling
from strop.tasks import source


@pytest.fixture
def standin() -> Iterator[StandIn]:
    with serving() as server:
        yield server


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(remote, "FIRST_PAUSE", 0.01)


def say(engine: str, text: str = "hello", **more) -> str:
    handle = remote.handle(engine, "m", system="Be brief.")

    async def one() -> str:
        root = await handle.open(text, root="r")
        node = await handle.generate(root, max=8, **more)
        turn = await handle.extend(node, "and then?")
        await handle.generate(turn, max=8)
        return handle.text(node)

    try:
        return asyncio.run(one())
    finally:
        handle.engine.endpoint.close()


def test_a_conversation_reaches_the_endpoint_as_messages(standin):
    assert say(standin.engine, sampling=Sampling(temperature=0.5)) == "<answer>3</answer>"
    first, second = standin.asked
    assert [m["role"] for m in second["messages"]] == ["system", "user", "assistant", "user"]
    assert second["messages"][2]["content"] == "<answer>3</answer>"
    assert (first["model"], first["max_tokens"], first["temperature"]) == ("m", 8, 0.5)
    assert first["seed"] != second["seed"]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (500, b"oops"),
        (429, b"{}"),
        (200, b"<html>"),
        (200, b'{"choices": []}'),
        (200, b"[" * 5000),
        (200, completion("x" * remote.LARGEST)),
        (200, completion("3").replace(b'"3"', b'"\\ud800"')),
        (200, completion("3").replace(b"5", b"1e999")),
        (200, completion("3").replace(b"5", b"-5")),
    ],
    ids=["500", "429", "not-json", "no-choice", "deep", "huge", "half a character", "endless tokens", "negative tokens"],
)
def test_a_passing_fault_is_tried_again_and_a_lasting_one_is_named_with_the_server(standin, code, said):
    standin.plan = [(code, said, 0.0)] * 2
    assert say(standin.engine) == "<answer>3</answer>"
    standin.plan = [(code, said, 0.0)] * 9
    with pytest.raises(RemoteError, match=rf"m at http://127\.0\.0\.1:{standin.server_port}/v1 gave no reply in 3 tries"):
        say(f"{standin.engine},tries=3")
    assert len(standin.plan) == 6


def test_a_hanging_endpoint_is_left_at_its_deadline(standin):
    standin.plan = [(200, b"", 1.0)] * 2
    began = time.monotonic()
    with pytest.raises(RemoteError, match=r"no answer within 0\.2 s"):
        say(f"{standin.engine},deadline=0.2,tries=2")
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(("code", "advice"), [(401, "STROP_REMOTE_KEY"), (404, "/v1")])
def test_a_refusal_is_not_tried_again(standin, code, advice):
    standin.plan = [(code, b"no", 0.0)] * 2
    with pytest.raises(RemoteError, match=advice):
        say(standin.engine)
    assert len(standin.plan) == 1


@pytest.mark.parametrize("code", [200, 401, 500])
def test_the_key_is_in_no_message_whatever_an_endpoint_says_back(standin, monkeypatch, code):
    monkeypatch.setenv("STROP_REMOTE_KEY", "sk-secret\n")
    standin.plan = [(code, b'{"error": "your key is sk-secret, ' + b"x" * 300, 0.0)] * 9
    with pytest.raises(RemoteError, match="your key is") as said:
        say(f"{standin.engine},tries=2")
    assert "sk-secret" not in "".join(traceback.format_exception(said.value))
    monkeypatch.setenv("STROP_REMOTE_KEY", "sk-sec\nret")
    with pytest.raises(RemoteError, match="STROP_REMOTE_KEY holds a character that no key has") as said:
        say(standin.engine)
    assert "sk-sec" not in str(said.value)


@pytest.mark.parametrize("url", ["http://me:secret@host/v1", "https://host/v1?api_key=secret"])
def test_an_address_with_a_secret_in_it_is_refused_and_not_repeated(url):
    with pytest.raises(ValueError, match="STROP_REMOTE_KEY") as said:
        options.read(f"remote:{url}")
    assert "secret" not in str(said.value)


def test_what_an_endpoint_sends_compressed_is_not_unpacked(standin, monkeypatch):
    bomb = gzip.compress(b" " * 50_000_000)
    monkeypatch.setattr(
        Handler, "end_headers", lambda self: (self.send_header("Content-Encoding", "gzip"), BaseHTTPRequestHandler.end_headers(self))
    )
    standin.plan = [(200, bomb, 0.0)] * 2
    tracemalloc.start()
    with pytest.raises(RemoteError, match="no chat completion"):
        say(f"{standin.engine},tries=2")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 5_000_000


def test_an_evaluation_asks_no_more_at_once_than_it_was_told_to(standin):
    handle = remote.handle(f"{standin.engine},at_once=3", "m")
    standin.plan = [(200, completion("<answer>3</answer>"), 0.02)] * 40
    asked = evaluate.evaluate(handle, source("chain"), 10, samples=4, sampling=Sampling(), max_tokens=16)
    found = asyncio.run(asked)
    handle.engine.endpoint.close()
    assert found.tasks == 10
    assert 2 <= standin.most <= 3
    assert handle.engine.counters.decoded == 80


def test_training_through_a_remote_endpoint_is_refused_in_words():
    with pytest.raises(ValueError, match="nothing can be learned from it"):
        Recipe(engine="remote:http://127.0.0.1:1/v1")


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ("vllm:pyton=/x", "python"),
        ("vllm:deadline=soon", "deadline is a number"),
        ("vllm:ftp://x", "a url begins with"),
        ("vllm:http://x,python=/y", "not both"),
        ("embedded:slots=3", "has none"),
        ("vlm", "vllm"),
    ],
)
def test_an_engine_that_is_miswritten_is_refused_with_what_would_do(engine, said):
    with pytest.raises(ValueError, match=said):
        Recipe(engine=engine)
