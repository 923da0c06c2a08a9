"""mcp: the tools of any MCP server, over its standard streams or over HTTP; every episode has a session of its own.

    Mcp((Server(("mcp-server-time",)),))                  a program, behind the walls of a cell; one process an episode
    Mcp((Server(url="http://localhost:8000/mcp"),))       a server that stands somewhere
    Mcp(configured("mcp.json"))                           `mcpServers`, as other clients write them

What calls nothing ends the episode. A server that dies, hangs, floods, or offers other tools than it did at first is our fault and no
score (`stop="error"`); a call that it refuses is the policy's, and an observation. What a server says of itself and answers is text of a
stranger's: it is read within limits, and its characters stay characters. Its secrets are names of environment variables.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import signal
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar, cast

from strop.aside import Loop
from strop.records import Task, canonical, digest
from strop.sandbox import SandboxError
from strop.sandbox.strangers import enclosed, located
from strop.seams.context import Handle
from strop.seams.part import added, nearest, written
from strop.seams.world import Broken, Call, Called, Repeats, Reply, Said, Seat, Tool, World
from strop.worlds.calls import unsound
from strop.worlds.live import History, Live, Lost, Otherwise, room_of
from strop.worlds.managed import Managed

T = TypeVar("T")
LONGEST = 1 << 20
"""Bytes of a message; a listing of tools is one."""
NOISE = 1 << 16
"""Bytes that a program may print which are no message."""
PAGES, TOOLS = 64, 512
"""Of a listing."""
GRACE = 0.5
"""Seconds a program has to end by itself when its input does."""


@dataclass(frozen=True)
class Server:
    """One MCP server: a program, or an address."""

    argv: tuple[str, ...] = ()
    """The program and its arguments; no shell reads them."""
    url: str = ""
    """The address of one that speaks streamable HTTP."""
    name: str = ""
    """Stands before its tools' names, with a point between, where there are several servers."""
    only: tuple[str, ...] = ()
    """Of its tools, those that may be called; empty: all of them."""
    secrets: tuple[str, ...] = ()
    """Names of environment variables: a program gets them all, an address the one as its bearer token."""
    walls: Literal["cell", "open"] = "cell"
    """What a program runs behind: a cell (docs/mcp.md), or nothing."""
    network: bool = False
    """Whether a cell has one."""
    read: tuple[str, ...] = ()
    """Files and folders that a program in a cell may read, beside the system and itself."""
    shared: bool = False
    """One session for all episodes, where a server remembers nothing of what it is asked: nothing is begun for each."""
    folder: str = ""
    """Copied, for every episode anew, to where a program in a cell begins and may write: `/room`."""

    def __post_init__(self) -> None:
        if isinstance(self.argv, str) or not all(isinstance(one, str) for one in self.argv):  # pyright: ignore
            raise ValueError(f"Server(argv={self.argv!r}): the program and its arguments, each a text: ('mcp-server-time',)")
        if bool(self.argv) == bool(self.url):
            raise ValueError("Server: either a program, ('mcp-server-time',), or url='http://HOST:PORT/mcp'")
        if self.url and not re.match(r"https?://[^/\s@]+(/|$)", self.url):
            raise ValueError(f"Server(url={self.url!r}): http://… or https://…, and who asks is said by secrets=('NAME OF A VARIABLE',)")
        if self.url and len(self.secrets) > 1:
            raise ValueError("Server(url=…, secrets=…): one variable, whose value is its bearer token")
        if self.walls not in ("cell", "open"):
            raise ValueError(f"Server(walls={self.walls!r}): cell or open. {nearest(self.walls, ('cell', 'open'))}")
        if missing := [name for name in self.secrets if not name.isidentifier()]:
            raise ValueError(f"Server(secrets=…): {missing[0]!r:.20} is no name of an environment variable; its value stands there alone")


@dataclass(frozen=True)
class Limit:
    """What holds of one tool."""

    tool: str
    """Its name, as a call names it."""
    seconds: float = 0.0
    """For one answer; 0: as the world's `deadline`. Longer is our fault."""
    per_second: float = 0.0
    """Calls a second that are sent at most, by all episodes together; 0: any number."""
    retries: int = added(0)
    """Further tries of a call that was lost, in the same session, where a server stands at an address: for tools that only read, since
    what is lost may have been done all the same."""

    def __post_init__(self) -> None:
        if min(self.seconds, self.per_second, self.retries) < 0:
            raise ValueError(f"Limit({self.tool!r}): nothing below 0")


@dataclass(frozen=True)
class Mcp(Live):
    """The tools of these servers."""

    servers: tuple[Server, ...] = ()
    """Whose tools."""
    limits: tuple[Limit, ...] = ()
    """Deadlines and rates by tool."""
    repeats: Repeats = "no"
    """no: a session is never told again, and the run's bits are graded `logged`. checked, where the same calls are answered alike."""
    VERSION: ClassVar[int] = 2
    deadline: float = 60.0
    """Seconds for a beginning, and for all calls of one action."""
    waiting: int = 64
    """Sessions that wait at most."""
    most: int = 1 << 14
    """Characters of one answer; a longer one is cut there."""

    def __post_init__(self) -> None:
        if not self.deadline > 0 or self.waiting < 1 or self.most < 1:
            raise ValueError(f"Mcp(deadline={self.deadline}, waiting={self.waiting}, most={self.most}): above 0, and at least 1")
        names = [server.name for server in self.servers]
        if len(names) > 1 and (not all(re.fullmatch(r"[A-Za-z][\w-]{0,31}", name) for name in names) or len({*names}) < len(names)):
            raise ValueError(f"Mcp: several servers have names, each its own, of letters and digits: got {names}")

    def tools(self, task: Task) -> tuple[Tool, ...]:
        """What may be called, and how a call is checked: by the servers' schemas without their patterns, which may take for ever."""
        return _common(self).checked

    def documents(self, task: Task) -> tuple[Tool, ...]:
        """What is told of them: all that the servers say."""
        return _common(self).tools

    def stands(self) -> dict[str, Any]:
        """Who the servers say they are, and a digest of what they offer."""
        return {"servers": _common(self).about}

    def took(self) -> dict[str, list[float]]:
        """Seconds of every call since this was asked, by tool."""
        return _common(self).took()

    async def show(self, state: History) -> str:
        """Nothing beside the question: a session begins with the first call."""
        return ""

    async def reply(self, state: History, said: Said, ask: Mapping[str, Handle]) -> tuple[History, Reply]:
        if said.calls:
            return await room_of(self).go_on(state, said)
        room_of(self).over(state)
        last = Reply("", done=True)
        return state.then(said, last), last

    def begin(self, task: Task, seat: Seat) -> Sessions:
        common, sessions = _common(self), Sessions(self)
        if digest_of(sessions.offered()) != common.digest:
            sessions.close()
            raise Otherwise("its tools are others than at the beginning of the run")
        return sessions


def reached(servers: Sequence[Server]) -> World:
    """The tools of these servers: managed (`managed.py`) where one stands at an address, since what is far away is lost now and then."""
    world = Mcp(tuple(servers))
    return Managed(world, retries=2) if any(server.url for server in servers) else world


@cache
def _loop() -> Loop:
    """Where all sessions live. What its library has to say of them is said by us, where somebody is at fault."""
    logging.getLogger("mcp").setLevel(logging.CRITICAL)
    return Loop("strop-mcp")


class Common:
    """What all episodes of a world share: the listing that they began with, and whose turn it is at a tool with a rate."""

    def __init__(self, world: Mcp):
        if not world.servers:
            raise ValueError("Mcp() names no server: Mcp((Server(('mcp-server-time',)),))")
        if find_spec("mcp") is None:
            raise ModuleNotFoundError("MCP servers need the module 'mcp': pip install 'strop[tools]'", name="mcp")
        self.limits = {limit.tool: limit for limit in world.limits}
        self.next, self.times, self.lock = dict[str, float](), dict[str, list[float]](), threading.Lock()
        try:
            sessions = Sessions(world)
        except Lost as error:
            raise ValueError(f"an MCP server does not begin: {error}") from error
        try:
            self.tools = sessions.offered()
            self.about = [session.about() for session in sessions.each]
        finally:
            sessions.close()
        self.digest = digest_of(self.tools)
        for tool in self.tools:
            if why := unsound(tool.schema):
                raise ValueError(f"the MCP tool {tool.name!r} has a schema that nothing can be checked by: {why}")
        self.checked = tuple(Tool(tool.name, tool.description, without_patterns(tool.schema)) for tool in self.tools)
        known = [tool.name for tool in self.tools]
        if unknown := next((name for name in self.limits if name not in known), ""):
            raise ValueError(f"Limit({unknown!r}): these servers have no such tool. {nearest(unknown, known)}")

    def pause(self, tool: str) -> float:
        """Seconds until this call may be sent; its place is taken."""
        limit = self.limits.get(tool)
        if limit is None or not limit.per_second:
            return 0.0
        with self.lock:
            now = time.monotonic()
            at = max(now, self.next.get(tool, 0.0))
            self.next[tool] = at + 1 / limit.per_second
            return at - now

    def lasted(self, tool: str, seconds: float) -> None:
        with self.lock:
            self.times.setdefault(tool, []).append(seconds)

    def took(self) -> dict[str, list[float]]:
        with self.lock:
            told, self.times = self.times, {}
        return told


_COMMON: dict[str, Common] = {}
_OPENING, _OPENING_ONE = threading.Lock(), threading.Lock()


def _common(world: Mcp) -> Common:
    key = written(world)
    with _OPENING:
        if key not in _COMMON:
            _COMMON[key] = Common(world)
        return _COMMON[key]


def digest_of(tools: Sequence[Tool]) -> str:
    """Of what is offered, in any order."""
    return digest(sorted([tool.name, tool.description, dict(tool.schema)] for tool in tools))


def without_patterns(schema: Any) -> Any:
    """A schema that says nothing of a text's letters: an expression of a stranger's may take for ever on a text of a model's."""
    if isinstance(schema, Mapping):
        kept = cast("Mapping[str, Any]", schema).items()
        return {key: without_patterns(value) for key, value in kept if key not in ("pattern", "patternProperties", "format")}
    return [without_patterns(one) for one in cast("list[Any]", schema)] if isinstance(schema, list) else schema


class Sessions:
    """An episode: a session with each server. It hears one action after the other."""

    def __init__(self, world: Mcp):
        self.world, self.each = world, [session_of(server) for server in world.servers]
        try:
            _loop().wait(_together([session.begun(world.deadline) for session in self.each]), world.deadline + 5)
        except TimeoutError as error:
            self.close()
            raise Lost(str(error)) from error
        except BaseException:
            self.close()
            raise

    def offered(self) -> tuple[Tool, ...]:
        """All tools, as a call names them."""
        several = len(self.each) > 1
        found = list[Tool]()
        for session in self.each:
            for tool in session.tools:
                found.append(Tool(f"{session.server.name}.{tool.name}" if several else tool.name, tool.description, tool.schema))
        return tuple(found)

    def of(self, call: Call) -> tuple[Session, str]:
        """Whose tool it is, and what it is called there."""
        if len(self.each) == 1:
            return self.each[0], call.tool
        name, _, tool = call.tool.partition(".")
        return next(session for session in self.each if session.server.name == name), tool

    def hear(self, said: Said) -> Reply:
        told, became, common = list[str](), list[Called](), _common(self.world)
        for call in said.calls:
            if isinstance(call, Broken):
                told.append(f"error: {call.why}")
                became.append(Called("", False, call.why))
                continue
            text, ok = self.asked(call, common)
            most = self.world.most
            told.append(text if len(text) <= most else text[:most] + " [cut]")
            became.append(Called(call.tool, ok, "" if ok else text[:120]))
        return Reply("\n".join(told), calls=tuple(became))

    def asked(self, call: Call, common: Common) -> tuple[str, bool]:
        """What is answered to one call, in its turn, and again where its limit says so."""
        session, tool = self.of(call)
        limit = common.limits.get(call.tool, Limit(call.tool))
        for left in range(limit.retries if session.server.url else 0, -1, -1):
            time.sleep(common.pause(call.tool))
            began = time.perf_counter()
            try:
                return session.call(tool, dict(call.arguments), limit.seconds or self.world.deadline)
            except Lost:
                if not left or session.why:
                    raise
            finally:
                common.lasted(call.tool, time.perf_counter() - began)
        raise AssertionError

    def close(self) -> None:
        for session in self.each:
            if not session.server.shared or session.why:
                session.close()


_SHARED: dict[Server, Session] = {}


def session_of(server: Server) -> Session:
    """A session of its own, or the one of all."""
    if not server.shared:
        return Session(server)
    with _OPENING_ONE:
        if server not in _SHARED or _SHARED[server].why:
            _SHARED[server] = Session(server)
        return _SHARED[server]


async def _together(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    await asyncio.gather(*works)


class Session:
    """One session with one server. It lives in a task of the loop, and is asked from any thread."""

    def __init__(self, server: Server):
        self.server, self.tools, self.why = server, tuple[Tool, ...](), ""
        self.client: Any = None
        self.over = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self.beginning: asyncio.Future[None] | None = None

    async def begun(self, seconds: float) -> None:
        """Begins, once: whoever comes later waits for it too."""
        if self.beginning is None:
            self.beginning = asyncio.ensure_future(self._begin(seconds))
        await asyncio.shield(self.beginning)

    async def _begin(self, seconds: float) -> None:
        ready = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(self._live(ready))
        try:
            async with asyncio.timeout(seconds):
                await asyncio.shield(ready)
        except TimeoutError:
            self.over.set()
            self.task.cancel()
            self.why = f"{self.called} does not begin within {seconds:g} s"
            raise Lost(self.why) from None

    @property
    def called(self) -> str:
        return self.server.url or self.server.argv[0]

    async def _live(self, ready: asyncio.Future[None]) -> None:
        try:
            async with self._spoken() as streams, self._client(streams) as client:
                self.client, self.tools = client, await self._listed(client)
                ready.set_result(None)
                await self.over.wait()
        except BaseException as error:
            if not ready.done():
                ours = self._ours(error)
                self.why = self.why or str(ours)
                ready.set_exception(ours)
            elif not self.over.is_set():
                self.why = self.why or str(self._ours(error))
            if isinstance(error, asyncio.CancelledError | KeyboardInterrupt | SystemExit):
                raise
        finally:
            self.client = None

    def _ours(self, error: BaseException) -> Exception:
        while isinstance(error, BaseExceptionGroup) and error.exceptions:
            error = error.exceptions[0]
        if isinstance(error, SandboxError | OSError) and not isinstance(error, ConnectionError) and self.server.argv:
            return ValueError(f"{self.called!r} cannot be started: {error}")
        if isinstance(error, ValueError | Lost):
            return error if type(error).__name__ != "ValidationError" else Lost(f"{self.called} answers what is no MCP: {error!s:.200}")
        return Lost(self.why or f"{self.called}: {type(error).__name__} {error}".strip())

    def _client(self, streams: Any) -> Any:
        from mcp import Client
        from mcp.types import Implementation

        return Client(_Streams(streams), cache=None, client_info=Implementation(name="strop", version="1"))

    async def _listed(self, client: Any) -> tuple[Tool, ...]:
        found, cursor = list[Tool](), None
        for _ in range(PAGES):
            page = await client.list_tools(cursor=cursor)
            found += [Tool(tool.name, tool.description or "", dict(tool.input_schema)) for tool in page.tools]
            cursor = page.next_cursor
            if not cursor:
                break
        size = len(canonical([dict(tool.schema) for tool in found])) + sum(len(tool.description) for tool in found)
        if cursor or len(found) > TOOLS or size > LONGEST:
            raise ValueError(f"{self.called} offers more than {TOOLS} tools or {LONGEST >> 20} MiB of them. Serve fewer of them.")
        names = [tool.name for tool in found]
        if odd := next((name for name in names if not re.fullmatch(r"[A-Za-z_][\w.-]{0,63}", name) or names.count(name) > 1), ""):
            raise ValueError(f"{self.called} offers a tool named {odd!r:.80}: a name is letters and digits, and of one tool")
        if missing := next((name for name in self.server.only if name not in names), ""):
            raise ValueError(f"Server(only=…): {self.called} has no tool {missing!r}. {nearest(missing, names)}")
        return tuple(tool for tool in found if not self.server.only or tool.name in self.server.only)

    def about(self) -> dict[str, str]:
        """Who it says it is."""
        info = getattr(self.client, "server_info", None)
        name, version = (f"{getattr(info, one, '') or ''}"[:80] for one in ("name", "version"))
        return {"name": name, "version": version, "protocol": str(self.client.protocol_version), "tools": digest_of(self.tools)}

    def call(self, tool: str, arguments: dict[str, Any], seconds: float) -> tuple[str, bool]:
        """What a tool answers, and whether it was a good call; from any thread but the loop's."""
        try:
            return _loop().wait(self._call(tool, arguments, seconds), seconds + 5)
        except TimeoutError:
            raise Lost(f"{self.called}: no answer of {tool} within {seconds:g} s") from None

    async def _call(self, tool: str, arguments: dict[str, Any], seconds: float) -> tuple[str, bool]:
        from mcp import MCPError
        from mcp.types import CONNECTION_CLOSED, REQUEST_TIMEOUT
        from pydantic import ValidationError

        if self.client is None:
            raise Lost(self.why or f"{self.called} is gone")
        try:
            async with asyncio.timeout(seconds):
                result = await self.client.call_tool(tool, arguments)
        except TimeoutError:
            raise Lost(f"{self.called}: no answer of {tool} within {seconds:g} s") from None
        except MCPError as error:
            if error.code in (CONNECTION_CLOSED, REQUEST_TIMEOUT):
                raise Lost(self.why or f"{self.called}: {error.message:.200}") from None
            return f"error: {error.message}", False
        except ValidationError as error:
            raise Lost(f"{self.called} answers what is no MCP: {error!s:.200}") from None
        except (RuntimeError, OSError) as error:
            raise Lost(self.why or f"{self.called}: {type(error).__name__} {error!s:.200}") from None
        text = "\n".join(_text(block) for block in result.content)
        if not text and result.structured_content is not None:
            text = canonical(result.structured_content)
        return (f"error: {text}", False) if result.is_error else (text, True)

    def close(self) -> None:
        def end() -> None:
            self.over.set()

        with suppress(RuntimeError):
            _loop().loop.call_soon_threadsafe(end)

    @asynccontextmanager
    async def _spoken(self) -> AsyncIterator[Any]:
        """A stream of what it says and one for what it hears."""
        if self.server.argv:
            async with self._piped() as streams:
                yield streams
            return
        import httpx2
        from mcp.client.streamable_http import streamable_http_client

        key = next((os.environ.get(name, "") for name in self.server.secrets), "")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        timeout = httpx2.Timeout(30.0, read=300.0)
        async with (
            httpx2.AsyncClient(headers=headers, timeout=timeout, transport=_Bounded(httpx2.AsyncHTTPTransport())) as http,
            streamable_http_client(self.server.url, http_client=http, max_sse_event_size=LONGEST) as streams,
        ):
            yield streams

    @asynccontextmanager
    async def _piped(self) -> AsyncIterator[Any]:
        import anyio
        from mcp.shared.message import SessionMessage
        from mcp.types import jsonrpc_message_adapter

        process = await self._started()
        to, back = cast(asyncio.StreamWriter, process.stdin), cast(asyncio.StreamReader, process.stdout)
        heard, hears = anyio.create_memory_object_stream[Any](16)
        says, said = anyio.create_memory_object_stream[Any](16)

        async def listen() -> None:
            noise = 0
            try:
                while line := await back.readline():
                    try:
                        message = jsonrpc_message_adapter.validate_json(line, by_name=False)
                    except ValueError:  # what it prints besides is no message of the protocol's
                        if (noise := noise + len(line)) > NOISE:
                            self.why = f"{self.called} prints what is no message: {line[:60]!r}"
                            break
                        continue
                    await heard.send(SessionMessage(message))
                else:
                    walls = "" if self.server.walls == "open" or self.client is not None else ", behind the walls of a cell (walls='open')"
                    self.why = self.why or f"{self.called} ended{walls}"
            except ValueError:
                self.why = f"{self.called} says more than {LONGEST >> 20} MiB at once"
            except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
                pass
            finally:
                await heard.aclose()

        async def speak() -> None:
            with suppress(OSError, anyio.ClosedResourceError):
                async for one in said:
                    to.write(one.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")
                    await to.drain()

        works = [asyncio.create_task(listen()), asyncio.create_task(speak())]
        try:
            yield hears, says
        finally:
            to.close()
            with suppress(TimeoutError):
                async with asyncio.timeout(GRACE if self.server.walls == "open" else 0):
                    await process.wait()
            with suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            for work in works:
                work.cancel()
            await asyncio.gather(*works, return_exceptions=True)
            for stream in (heard, hears, says, said):
                stream.close()
            await process.wait()

    async def _started(self) -> asyncio.subprocess.Process:
        server = self.server
        if server.walls == "cell":
            command, environment = enclosed(
                server.argv, read=server.read, folder=server.folder, network=server.network, secrets=server.secrets
            )
        else:
            command = [str(located(server.argv[0])), *server.argv[1:]]
            environment = {name: os.environ[name] for name in (*INHERITED, *server.secrets) if name in os.environ}
        pipe = asyncio.subprocess.PIPE
        nobody = asyncio.subprocess.DEVNULL
        return await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=nobody, env=environment, limit=LONGEST, start_new_session=True
        )


INHERITED = ("HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "LANG", "LC_ALL", "TMPDIR")
"""What a program without a cell sees of this environment."""


class _Streams:
    """Streams that stand already, as the SDK takes a transport."""

    def __init__(self, streams: Any):
        self.streams = streams

    async def __aenter__(self) -> Any:
        return self.streams

    async def __aexit__(self, *error: object) -> None:
        return None


def _Bounded(inner: Any) -> Any:
    """A transport whose answers are read up to a size, but for streams of events, where each event has one."""
    import httpx2

    class Bounded(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: Any) -> Any:
            answer = await inner.handle_async_request(request)
            if "event-stream" in answer.headers.get("content-type", ""):
                return answer
            size, pieces = 0, list[bytes]()
            async for piece in answer.aiter_raw():
                size += len(piece)
                if size > LONGEST:
                    await answer.aclose()
                    raise httpx2.ReadError(f"an answer of more than {LONGEST >> 20} MiB")
                pieces.append(piece)
            return httpx2.Response(answer.status_code, headers=answer.headers, content=b"".join(pieces))

        async def aclose(self) -> None:
            await inner.aclose()

    return Bounded()


def _text(block: Any) -> str:
    """What of an answer is text; what is none is named."""
    if block.type == "text":
        return block.text
    if block.type == "resource" and getattr(block.resource, "text", None) is not None:
        return block.resource.text
    if block.type == "resource_link":
        return f"[{block.name}: {block.uri}]"
    return f"[{block.type}, {getattr(block, 'mime_type', None) or 'no text'}]"


# ---------------------------------------------------------------------------------------- as other clients name them


def configured(path: str | Path) -> tuple[Server, ...]:
    """The servers of a file with `mcpServers`, as other clients write them: {"NAME": {"command", "args"}} or {"NAME": {"url"}}. Values of
    `env` are not read, they belong into the environment: {"secrets": ["NAME"]} says which of it a server gets."""
    try:
        found = json.loads(Path(path).read_text())["mcpServers"]
        rows = [(str(name), dict(one)) for name, one in found.items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} names no MCP servers ({type(error).__name__}): {{'mcpServers': {{NAME: {{'command': …}}}}}}") from error
    if odd := [(name, key) for name, one in rows for key in one if key not in KNOWN]:
        name, key = odd[0]
        if key in ("env", "headers"):
            raise ValueError(f"{path}: {name} has {key!r}: secrets come from the environment alone; name them: 'secrets': ['API_KEY']")
        raise ValueError(f"{path}: {name} has {key!r}. {nearest(key, KNOWN)}")
    return tuple(_server(name, one) for name, one in rows)


KNOWN = ("command", "args", "url", "type", "secrets", "only", "walls", "network", "read", "folder", "shared")


def _server(name: str, one: Mapping[str, Any]) -> Server:
    argv = (one["command"], *one.get("args", ())) if "command" in one else ()
    lists = {key: tuple(one[key]) for key in ("secrets", "only", "read") if key in one}
    plain = {key: one[key] for key in ("walls", "network", "folder", "shared") if key in one}
    return Server(argv, str(one.get("url", "")), name, **lists, **plain)


def named(text: str) -> tuple[Server, ...]:
    """Servers as a command line says them: FILE.json, an address, or a program with its arguments.

    >>> named("mcp-server-time --local-timezone UTC")[0].argv
    ('mcp-server-time', '--local-timezone', 'UTC')
    """
    import shlex

    if text.endswith(".json"):
        return configured(text)
    return (Server(url=text) if re.match(r"https?://", text) else Server(tuple(shlex.split(text))),)
