"""desk: an address on this machine that speaks OpenAI's chat completions. Who has a key of a rollout talks with the actor there.

    POST /v1/chat/completions     a reply, at once or, with `stream`, as events
    GET  /v1/models               the one model there is

It lives in the event loop of whoever opened it, between one `async with` and its end, and listens on 127.0.0.1 alone. What it is sent may
be anything: it is read by h11, has a largest size and a longest time, and what is wrong with it is answered in words, as that API does.
What is said and drawn is no matter of this file: a key's answer is `seats[key](body)`.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import h11

from strop.records import unique

LARGEST = 8 << 20
"""Bytes of a request."""
PATIENCE = 60.0
"""Seconds that a request may take to arrive, and that an answer may take to be taken."""
MODEL = "actor"

Answer = Callable[[Mapping[str, Any]], Awaitable[dict[str, Any]]]
"""From a request's body to the body of a chat completion."""


class Refused(Exception):
    """A request that gets no reply, and why. `code` is HTTP's, `word` what programs go by."""

    def __init__(self, why: str, word: str = "invalid_request_error", code: int = 400):
        super().__init__(why)
        self.why, self.word, self.code = why, word, code

    @property
    def body(self) -> dict[str, Any]:
        kind = "invalid_request_error" if self.code < 500 else "server_error"
        return {"error": {"message": self.why, "type": kind, "param": None, "code": self.word}}


@dataclass
class Desk:
    """Answers on a port of its own while it is open."""

    seats: dict[str, Answer] = field(default_factory=dict[str, Answer])
    """Who answers, by key."""

    async def __aenter__(self) -> Desk:
        self._open = set[asyncio.Task[None]]()
        self._within = contextvars.copy_context()  # what is drawn here is drawn with the room of who opened it
        self._server = await asyncio.start_server(self._met, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    @property
    def url(self) -> str:
        """What a client calls its base."""
        return f"http://127.0.0.1:{self.port}/v1"

    def seat(self, answer: Answer) -> str:
        """A key of its own for somebody's answers."""
        key = f"sk-{secrets.token_urlsafe(24)}"
        self.seats[key] = answer
        return key

    def _met(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._served(reader, writer), context=self._within.copy())
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _served(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, request after request. Whoever is on the other end may leave at any moment."""
        wire = Connection(reader, writer)
        try:
            while (request := await wire.request()) is not None:
                await wire.send(*await self._events(*request))
                if not wire.again():
                    return
        except (OSError, TimeoutError, h11.ProtocolError):
            return  # it is gone, or speaks something else
        finally:
            writer.close()
            with suppress(OSError, TimeoutError):
                await asyncio.wait_for(writer.wait_closed(), 1.0)

    async def _events(self, request: h11.Request, body: bytes | None) -> list[h11.Event]:
        try:
            told = await self._told(request, body)
        except Refused as refused:
            return whole(refused.code, refused.body)
        if not told.get("stream"):
            return whole(200, told["answer"])
        said = [b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks(told["answer"], told.get("usage", False))]
        head = h11.Response(status_code=200, headers=[("content-type", "text/event-stream"), ("cache-control", "no-cache")])
        return [head, *(h11.Data(data=one) for one in (*said, b"data: [DONE]\n\n")), h11.EndOfMessage()]

    async def _told(self, request: h11.Request, body: bytes | None) -> dict[str, Any]:
        given = next((value for name, value in request.headers if name == b"authorization"), b"").decode("latin-1")
        answer = self.seats.get(given.removeprefix("Bearer ").strip()) if given.startswith("Bearer ") else None
        if answer is None:
            raise Refused("no rollout has this key. It stands in OPENAI_API_KEY while the program runs.", "invalid_api_key", 401)
        path, method = request.target.decode("latin-1").partition("?")[0], request.method
        if (method, path) == (b"GET", "/v1/models"):
            return {"answer": {"object": "list", "data": [{"id": MODEL, "object": "model", "created": 0, "owned_by": "strop"}]}}
        if (method, path) != (b"POST", "/v1/chat/completions"):
            raise Refused(f"{path[:80]!r} is not served: POST /v1/chat/completions, GET /v1/models", "not_found", 404)
        if body is None:
            raise Refused(f"a request of more than {LARGEST >> 20} MiB", "request_too_large", 413)
        asked = read(body)
        told = asked.get("stream_options")
        usage = isinstance(told, dict) and told.get("include_usage") is True
        return {"answer": await answer(asked), "stream": asked.get("stream") is True, "usage": usage}


def read(body: bytes) -> dict[str, Any]:
    """An object of JSON, strictly."""
    try:
        found = json.loads(body, object_pairs_hook=unique, parse_constant=_constant)
        json.dumps(found, ensure_ascii=False).encode()  # half a character is no text
    except (ValueError, RecursionError) as error:
        raise Refused(f"the body is no JSON: {str(error)[:120] or type(error).__name__}") from None
    if not isinstance(found, dict):
        raise Refused("the body is no object of JSON")
    return found


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is no number in JSON")


def whole(code: int, body: Mapping[str, Any]) -> list[h11.Event]:
    """An answer in one piece."""
    said = json.dumps(body).encode()
    headers = [("content-type", "application/json"), ("content-length", str(len(said)))]
    return [h11.Response(status_code=code, headers=headers), h11.Data(data=said), h11.EndOfMessage()]


def chunks(answer: Mapping[str, Any], usage: bool) -> list[dict[str, Any]]:
    """A completion as the events of a stream: what is said, in one piece, and why it ended."""
    choice = answer["choices"][0]
    delta = {**choice["message"]}
    if "tool_calls" in delta:
        delta["tool_calls"] = [{"index": i, **call} for i, call in enumerate(delta["tool_calls"])]
    head = {**{k: answer[k] for k in ("id", "created", "model")}, "object": "chat.completion.chunk"}
    said = [{"index": 0, "delta": delta, "finish_reason": None}], [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]
    made: list[dict[str, Any]] = [{**head, "choices": one} for one in said]
    return [*made, {**head, "choices": [], "usage": answer["usage"]}] if usage else made


class Connection:
    """One client, as h11 understands it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.reader, self.writer, self.h11 = reader, writer, h11.Connection(h11.SERVER)

    async def request(self) -> tuple[h11.Request, bytes | None] | None:
        """The next request with its body, None in its place where that is too long; nothing where the client has left."""
        request, body, size = None, bytearray(), 0
        async with asyncio.timeout(None) as patience:
            while True:
                event = self.h11.next_event()
                if event is h11.NEED_DATA:
                    if self.h11.they_are_waiting_for_100_continue:
                        await self.send(h11.InformationalResponse(status_code=100, headers=[]))
                    self.h11.receive_data(await self.reader.read(1 << 16))
                    if patience.when() is None:  # it has begun: the rest has to follow
                        patience.reschedule(asyncio.get_running_loop().time() + PATIENCE)
                elif isinstance(event, h11.Request):
                    request = event
                elif isinstance(event, h11.Data):
                    size += len(event.data)
                    body += event.data if size <= LARGEST else b""
                elif isinstance(event, h11.EndOfMessage) and request is not None:
                    return request, bytes(body) if size <= LARGEST else None
                else:
                    return None

    async def send(self, *events: h11.Event) -> None:
        """All of it at once: whoever waits is woken once."""
        if data := b"".join(self.h11.send(event) or b"" for event in events):
            self.writer.write(data)
            async with asyncio.timeout(PATIENCE):
                await self.writer.drain()

    def again(self) -> bool:
        """Whether another request may follow on this connection."""
        if self.h11.our_state is not h11.DONE or self.h11.their_state is not h11.DONE:
            return False
        self.h11.start_next_cycle()
        return True
