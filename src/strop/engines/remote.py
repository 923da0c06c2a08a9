"""Any endpoint that speaks OpenAI's chat completions: a model to evaluate, a judge, a simulated user. Text in, text out.

What such an endpoint drew, token by token and how likely, it does not tell, so nothing is learned from it: `Recipe` refuses it. Requests
are bounded in number, time, size and tries; what fails for good is an error that names the server.
"""

from __future__ import annotations

import asyncio
import copy
import json
import os
import random
import weakref
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, Protocol

from strop.aside import Loop
from strop.engines import options
from strop.records import Author, Sampling, Segment, Stop
from strop.seams.context import Handle
from strop.seams.engine import Counters, Footprint, Node, called, refuse

LARGEST = 4 << 20
"""Bytes of an answer that are read; more is no answer to a chat."""
AGAIN = (408, 409, 425, 429, 500, 502, 503, 504)
"""Codes after which the same request may do better."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 20.0


class RemoteError(ValueError):
    """What an endpoint did or did not do, and what to do about it."""


class Form(Protocol):
    """How calls stand in the text of an action; an endpoint has fields for them."""

    def raw(self, name: str, arguments: str) -> str:
        """A call's text, whatever its arguments are."""
        ...

    def split(self, text: str) -> tuple[str, list[tuple[str, str]]]:
        """What is said besides, and the calls, each a name and its arguments as JSON."""
        ...


@dataclass(frozen=True)
class Reply:
    text: str
    cut: bool
    """At `max_tokens`, and not because it was finished."""
    prompt: int = 0
    written: int = 0
    """Tokens, as the endpoint counts them."""
    calls: tuple[tuple[str, str], ...] = ()
    """Names and arguments of what it calls, unread."""


class Endpoint:
    """One model behind one address. The key comes from STROP_REMOTE_KEY or OPENAI_API_KEY, never from a recipe or a command line."""

    def __init__(self, model: str, chosen: options.Remote):
        if not chosen.url:
            raise RemoteError("engine=remote needs an address: remote:http://HOST:PORT/v1")
        self.model, self.chosen, self.where, self._key = model, chosen, chosen.url, key_of(os.environ)
        self._loop = Loop("strop-remote")
        self._room = asyncio.Semaphore(chosen.at_once)
        self._client = self._loop.wait(self._open(), 10)
        self.close = weakref.finalize(self, _close, self._loop, self._client)

    async def _open(self) -> Any:
        import httpx2

        scheme, _, path = self.chosen.url.partition("://")
        return httpx2.AsyncClient(
            base_url="http://remote/v1" if scheme == "unix" else self.chosen.url.rstrip("/"),
            transport=httpx2.AsyncHTTPTransport(uds=path if scheme == "unix" else None),
            timeout=httpx2.Timeout(None, connect=10.0),
            headers={"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {self._key}"} if self._key else {}),
        )

    async def ask(self, messages: Sequence[Mapping[str, str]], **more: Any) -> Reply:
        """The reply to a conversation; `more` are fields of a chat completion (max_tokens, temperature, top_p, seed, stop)."""
        return await self._loop.ask(self._ask({"model": self.model, "messages": list(messages), **more}))

    async def _ask(self, body: Mapping[str, Any]) -> Reply:
        import httpx2

        why = ""
        async with self._room:
            for tried in range(self.chosen.tries):
                pause: float | None = None
                try:
                    async with asyncio.timeout(self.chosen.deadline):
                        code, said, pause = await self._post(body)
                    if code == 200:
                        return _reply(said, self._shown(said))
                    why = f"it answered {code}: {self._shown(said)}"
                    if code not in AGAIN:
                        raise RemoteError(f"{self.model} at {self.where} refused a request; {why}. {_advice(code)}")
                except TimeoutError:
                    why = f"no answer within {self.chosen.deadline:g} s"
                except httpx2.HTTPError as error:
                    why = f"{type(error).__name__} {error}".strip()
                except _Malformed as error:
                    why = str(error)
                if tried + 1 < self.chosen.tries:
                    wait = min(FIRST_PAUSE * 2**tried, LONGEST_PAUSE) * (0.5 + random.random()) if pause is None else pause
                    await asyncio.sleep(min(wait, LONGEST_PAUSE))
        raise RemoteError(f"{self.model} at {self.where} gave no reply in {self.chosen.tries} tries; the last: {why}. {_advice(0)}")

    async def _post(self, body: Mapping[str, Any]) -> tuple[int, bytes, float | None]:
        """Code, body, and how long it asks to be left alone. What comes compressed all the same stays so: it may be of any size."""
        read = bytearray()
        async with self._client.stream("POST", "chat/completions", json=body) as answer:
            async for piece in answer.aiter_raw():
                read += piece
                if len(read) > LARGEST:
                    raise _Malformed(f"an answer of more than {LARGEST >> 20} MiB")
            after = answer.headers.get("retry-after", "")
            return answer.status_code, bytes(read), float(after) if after.isdecimal() else None

    def _shown(self, said: bytes) -> str:
        """The beginning of an answer, for a message: without our key, should it stand there."""
        clean = said.replace(self._key.encode(), b"[key]") if self._key else said
        return " ".join(clean[:300].decode(errors="replace").split())


class _Malformed(Exception): ...


def key_of(environment: Mapping[str, str]) -> str:
    """What proves who asks, or nothing; it is in no message, record or error of ours."""
    for name in ("STROP_REMOTE_KEY", "OPENAI_API_KEY"):
        if key := environment.get(name, "").strip():
            if not (key.isascii() and key.isprintable()):
                raise RemoteError(f"{name} holds a character that no key has, a line break or a letter beyond ASCII. Set it again.")
            return key
    return ""


def _reply(said: bytes, shown: str) -> Reply:
    try:
        answer = json.loads(said)
        choice, usage = answer["choices"][0], answer.get("usage") or {}
        text = choice["message"]["content"]
        if not isinstance(text, str | None):
            raise TypeError("content is no text")
        (text or "").encode()  # half a character is no text
        counted = int(usage.get("prompt_tokens", 0)), int(usage.get("completion_tokens", 0))
        if min(counted) < 0:
            raise ValueError("fewer than no tokens")
        calls = [(call["function"]["name"], call["function"]["arguments"]) for call in choice["message"].get("tool_calls") or ()]
        if any(not isinstance(one, str) for call in calls for one in call):
            raise TypeError("a call is no text")
        "".join(one for call in calls for one in call).encode()
        return Reply(text or "", choice.get("finish_reason") == "length", *counted, tuple(calls))
    except (ValueError, OverflowError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise _Malformed(f"an answer that is no chat completion ({type(error).__name__}: {shown[:80]!r})") from None


def _advice(code: int) -> str:
    if code in (401, 403):
        return "Set STROP_REMOTE_KEY to its key."
    if code == 404:
        return "Is the address the one that ends before /chat/completions (…/v1), and is the model's name one that it serves?"
    return "Look at the server; the same command can be given again."


def _close(loop: Loop, client: Any) -> None:
    with suppress(Exception):
        loop.wait(client.aclose(), 5)
    loop.close()


class Utf8:
    """A renderer for models whose tokens are not known: text is kept as its bytes, so lengths are bytes. The endpoint writes the chat."""

    stop = ()

    def prompt(self, text: str, *more: str) -> tuple[int, ...]:
        return tuple("\n".join((text, *more)).encode())

    turn = prompt
    reply = prompt
    plain = prompt

    def text(self, tokens: Sequence[int]) -> str:
        return bytes(tokens).decode(errors="replace")


class RemoteEngine:
    """An endpoint as an engine: what was opened or observed is said by the user, what it wrote by the assistant."""

    name = "remote"
    own = False
    grade = "statistical"
    limits: Mapping[str, float] = MappingProxyType({})
    limit = 1 << 31

    def __init__(self, endpoint: Endpoint, seed: int = 0, system: str = "", shots: Sequence[tuple[str, str]] = ()):
        self.said_first = [{"role": "system", "content": system}] if system else []
        for question, reply in shots:
            self.said_first += [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]
        self.endpoint, self.seed, self.step, self.version, self.counters = endpoint, seed, 0, 0, Counters()
        self.tools: Sequence[Mapping[str, Any]] = ()
        self.form: Form | None = None

    def telling(self, tools: Sequence[Mapping[str, Any]], form: Form) -> RemoteEngine:
        """The same endpoint, told of tools: what it calls stands in the text of its action, as `form` writes it."""
        made = copy.copy(self)
        made.tools, made.form = tools, form
        return made

    async def open(self, tokens: Sequence[int], *, root: str, ordinal: int = 0) -> Node:
        return Node(Segment("prompt", tuple(tokens), called((ordinal,))), None, (ordinal,), root, 0, length=len(tokens))

    def generate(
        self, node: Node, *, max: int, stop: tuple[str, ...] = (), sampling: Sampling = Sampling(), keep: bool = True
    ) -> Coroutine[Any, Any, Node]:
        refuse(node, max, stop, sampling, limit=1 << 62, tokenizer=self)
        if sampling.allowed is not None or sampling.top_k:
            raise ValueError(f"a remote endpoint knows no allowed ids and no top-k, got {sampling}. Draw with temperature and top_p alone.")
        return self._generate(node, node.next(), max, stop, sampling)

    async def _generate(self, node: Node, path: tuple[int, ...], most: int, stop: tuple[str, ...], sampling: Sampling) -> Node:
        from strop.engines.draw import key

        number = key(self.seed, self.step, node.root, path) >> 33  # 31 bits: some endpoints take no more
        asked: dict[str, Any] = {"max_tokens": most, "temperature": sampling.temperature, "top_p": sampling.top_p, "seed": number}
        asked |= ({"stop": list(stop)} if stop else {}) | ({"tools": [*self.tools]} if self.tools else {})
        reply = await self.endpoint.ask([*self.said_first, *self._said(node)], **asked)
        self.counters.prefilled += reply.prompt
        self.counters.decoded += reply.written
        ended: Stop = "length" if reply.cut else "stop" if stop else "finished"
        called_so = [] if self.form is None else [self.form.raw(*call) for call in reply.calls]
        tokens = "\n".join((*([reply.text] if reply.text or not called_so else []), *called_so)).encode()
        segment = Segment("action", tuple(tokens), called(path), Author(self.endpoint.model, 0, sampling))
        return Node(segment, node, path, node.root, 0, ended, node.length + len(tokens))

    def _said(self, node: Node) -> list[dict[str, Any]]:
        """The conversation. What answers a call is said by its tool: all of it to the first one, where several were called at once."""
        said, open_calls = list[dict[str, Any]](), list[str]()
        for number, one in enumerate(node.line()):
            text = _text(one)
            if one.segment.kind == "action":
                text, calls = (text, []) if self.form is None else self.form.split(text)
                open_calls = [f"call-{number}-{i}" for i in range(len(calls))]
                made = [
                    {"id": name, "type": "function", "function": {"name": tool, "arguments": arguments}}
                    for name, (tool, arguments) in zip(open_calls, calls, strict=True)
                ]
                said.append({"role": "assistant", "content": text} | ({"tool_calls": made} if made else {}))
            elif open_calls:
                said += [{"role": "tool", "tool_call_id": name, "content": "" if i else text} for i, name in enumerate(open_calls)]
                open_calls = []
            else:
                said.append({"role": "user", "content": text})
        return said

    def extend(self, node: Node, tokens: Sequence[int], *, kind: Literal["observation", "forced"]) -> Coroutine[Any, Any, Node]:
        if kind == "forced":
            raise ValueError("a remote endpoint cannot be made to say something: no forced text.")
        return self._extend(node, tuple(tokens), node.next())

    async def _extend(self, node: Node, tokens: tuple[int, ...], path: tuple[int, ...]) -> Node:
        return Node(Segment("observation", tokens, called(path)), node, path, node.root, 0, length=node.length + len(tokens))

    async def score(self, node: Node) -> tuple[float, ...]:
        raise ValueError("a remote endpoint tells no log-probabilities of given text, so it cannot score.")

    def admit(self, footprint: Footprint) -> AbstractAsyncContextManager[None]:
        return _free()

    def begin(self, step: int) -> None:
        self.step = step

    def deliver(self, version: int) -> None:
        raise ValueError("a remote endpoint keeps its own weights: nothing can be delivered to it.")


def handle(engine: str, model: str, seed: int = 0, system: str = "", shots: Sequence[tuple[str, str]] = ()) -> Handle:
    """`remote:URL,…` and the model's name there, as samplers, graders and evaluations use a policy."""
    return Handle(RemoteEngine(Endpoint(model, options.read(engine)), seed, system, shots), Utf8())


def _text(node: Node) -> str:
    return bytes(node.segment.tokens).decode(errors="replace")


@asynccontextmanager
async def _free() -> AsyncIterator[None]:
    yield
