"""offered: a world of strop's or of yours, served to any MCP client or to clients of OpenEnv. A session is an episode of one task.

    strop world serve wiki --mcp               on standard input and output, as clients start a server
    strop world serve wiki --mcp --port 8000   over HTTP at /mcp: a session each
    strop world serve wiki --openenv --port 8000

An MCP client finds the world's tools, the question as the server's instructions and as the prompt `task`, and one tool more, `finish`,
with which it says its answer: what is said there is an action without a call. What it scored stands in that result's structured content.
A client of OpenEnv sends an action with `text` or with `tool` and `arguments`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, cast

from strop.grading import grade
from strop.records import Group, Rollout, Row, Segment, Task
from strop.seams.source import Source
from strop.seams.world import Broken, Call, Reply, Said, Seat, Tool, World, documents_of, replied, tools_of
from strop.worlds.calls import Hermes, Unread, checked, function

DEADLINE = 60.0
"""Seconds that a world may think about one action."""
SESSIONS = 1000
"""That are remembered."""
FINISH = Tool(
    "finish",
    "Says the answer, in the form that the question asks for, and ends the episode.",
    {"properties": {"text": {"type": "string"}}, "required": ["text"], "additionalProperties": False},
)


class Over(ValueError):
    """An action behind the end."""


@dataclass
class Sitting:
    """An episode that somebody else plays."""

    source: Source
    world: World
    task: Task
    seat: Seat
    turns: list[tuple[Said, Reply]] = field(default_factory=list[tuple[Said, Reply]])
    state: Any = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.state = self.world.start(self.task, self.seat)

    @property
    def tools(self) -> Sequence[Tool]:
        """What may be called in it."""
        return tools_of(self.world, self.task)

    @property
    def over(self) -> bool:
        """Whether it is."""
        return bool(self.turns) and (self.turns[-1][1].done or len(self.turns) >= self.seat.turns)

    async def first(self) -> str:
        """The question, or what the world shows."""
        show: Any = getattr(self.world, "show", None)
        return ("" if show is None else await asyncio.wait_for(show(self.state), DEADLINE)) or self.task.prompt

    def read(self, name: Any, arguments: Any) -> Said:
        """An action that calls this, if it may be called so."""
        try:
            call: Call | Broken = checked(name, arguments, self.tools)
        except Unread as why:
            return Said(json.dumps({"name": name, "arguments": arguments}, default=str, ensure_ascii=False), (Broken(str(why)),))
        return Said(Hermes().written(call), (call,))

    async def act(self, said: Said) -> Reply:
        """What the world answers; one action behind the other."""
        async with self.lock:
            if self.over:
                raise Over("the episode is over; begin another one")
            self.state, reply = await asyncio.wait_for(replied(self.world, self.state, said, {}), DEADLINE)
            self.turns.append((said, reply))
            return reply

    async def scores(self) -> dict[str, float | None]:
        """The verdict of the world, or of the source over all that was said."""
        last = self.turns[-1][1]
        if last.stop == "error":
            return {}
        text = "\n".join(part for said, reply in self.turns for part in (said.text, reply.observation)).rstrip("\n")
        keys: dict[str, Any] = {"facts": [dict(reply.facts) for _, reply in self.turns]}
        keys |= {"scores": dict(last.scores)} if last.scores else {}
        rollout = Rollout((Row.of(Segment("prompt", (0,), "0")),), f"{self.task.id}/0", stop=last.stop, keys=keys, text=text)
        found = await grade(self.source, [Group(self.task, (rollout,))])
        return dict(found.values[rollout.id])


@dataclass(frozen=True)
class Served:
    """Which episodes there are: one task, or one behind the other for each session."""

    source: Source
    world: World
    split: str = "test"
    seed: int = 0
    index: int | None = None
    """Which task; None: each session the next one."""
    turns: int = 32
    numbers: count[int] = field(default_factory=count)

    def sit(self, index: int | None = None) -> Sitting:
        """An episode that nobody has played yet."""
        number = next(self.numbers)
        index = number if (chosen := self.index if index is None else index) is None else chosen
        task = self.source.task(cast(Any, self.split), self.seed, index)
        return Sitting(self.source, self.world, task, Seat(f"{self.seed}/{task.id}", f"{self.seed}/{task.id}/{number}", self.turns))


# ------------------------------------------------------------------------------------------- MCP


def mcp_server(served: Served) -> Any:
    """An MCP server whose every session is an episode."""
    try:
        from mcp import types
        from mcp.server.lowlevel import Server
    except ModuleNotFoundError:
        raise ModuleNotFoundError("serving a world needs the module 'mcp': pip install 'strop[tools]'", name="mcp") from None

    sat: dict[str, Sitting] = {}

    def here(ctx: Any) -> Sitting:
        """This session's; on standard streams there is one."""
        key = ctx.request.headers.get("mcp-session-id", "") if ctx.request is not None else ""
        if key not in sat:
            sat[key] = served.sit()
            for old in [*sat][:-SESSIONS]:
                del sat[old]
        return sat[key]

    async def list_tools(ctx: Any, params: Any) -> Any:
        sitting = here(ctx)
        shown = [*documents_of(served.world, sitting.task), FINISH]
        tools = [
            types.Tool(name=tool.name, description=tool.description, input_schema={"type": "object", **dict(tool.schema)}) for tool in shown
        ]
        return types.ListToolsResult(tools=tools)

    async def call_tool(ctx: Any, params: Any) -> Any:
        sitting = here(ctx)
        arguments = dict(params.arguments or {})
        try:
            if params.name == FINISH.name and all(tool.name != FINISH.name for tool in sitting.tools):
                said = Said(str(arguments.get("text", "")))
            else:
                said = sitting.read(params.name, arguments)
            reply = await sitting.act(said)
        except (Over, TimeoutError) as error:
            text = str(error) or f"the world has not answered within {DEADLINE:g} s"
            return types.CallToolResult(content=[types.TextContent(type="text", text=text)], is_error=True)
        bad = bool(reply.calls) and not all(call.ok for call in reply.calls)
        found = {"done": True, "stop": reply.stop, "scores": await sitting.scores()} if sitting.over else None
        text = reply.observation or (json.dumps(found) if found else "")
        return types.CallToolResult(content=[types.TextContent(type="text", text=text)], structured_content=found, is_error=bad)

    async def list_prompts(ctx: Any, params: Any) -> Any:
        return types.ListPromptsResult(prompts=[types.Prompt(name="task", description="The question of this session.")])

    async def get_prompt(ctx: Any, params: Any) -> Any:
        text = await here(ctx).first()
        said = types.PromptMessage(role="user", content=types.TextContent(type="text", text=text))
        return types.GetPromptResult(messages=[said])

    return Server(
        "strop",
        version="1",
        instructions=f"Each session is an episode of one task: the prompt `task` is its question, the tool `{FINISH.name}` ends it.",
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_prompts=list_prompts,
        on_get_prompt=get_prompt,
    )


async def mcp_here(served: Served) -> None:
    """Serve on standard streams, until they end."""
    server = mcp_server(served)
    from mcp.server.stdio import stdio_server

    async with stdio_server() as (hears, says):
        await server.run(hears, says, server.create_initialization_options())


async def mcp_at(served: Served, host: str, port: int, told: Callable[[str], None]) -> None:
    """Serve over HTTP at /mcp, until somebody ends it."""
    app = mcp_server(served).streamable_http_app(host=host, max_sessions=SESSIONS)
    import uvicorn
    from mcp.types.version import MODERN_PROTOCOL_VERSIONS

    async def with_sessions(scope: Any, receive: Any, send: Any) -> None:
        """An episode needs a session: who comes without is sent back to the handshake, which every client knows."""
        version = dict(scope.get("headers", ())).get(b"mcp-protocol-version", b"").decode(errors="replace")
        if scope["type"] == "http" and version in MODERN_PROTOCOL_VERSIONS:
            await send({"type": "http.response.start", "status": 400, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"this server keeps sessions: begin with initialize"})
            return
        await app(scope, receive, send)

    server = uvicorn.Server(uvicorn.Config(with_sessions, host=host, port=port, log_level="error", lifespan="on"))
    await _served(server, host, told)


async def _served(server: Any, host: str, told: Callable[[str], None]) -> None:
    """Says where, once it listens."""

    async def listening() -> None:
        while not server.started:
            await asyncio.sleep(0.02)
        port = server.servers[0].sockets[0].getsockname()[1]
        told(f"http://{host}:{port}/mcp")

    waits, works = asyncio.create_task(listening()), asyncio.create_task(server.serve())
    try:
        await asyncio.shield(works)
    finally:
        waits.cancel()
        server.should_exit = server.force_exit = True  # it closes what it listened at
        await asyncio.shield(works)


# ------------------------------------------------------------------------------------------- OpenEnv

SCHEMA = {
    "type": "object",
    "properties": {
        "text": {"type": "string", "description": "What is said, where nothing is called."},
        "tool": {"type": "string", "description": "What is called."},
        "arguments": {"type": "object", "description": "With what."},
    },
    "additionalProperties": False,
}
"""Of an action."""


async def openenv_at(served: Served, host: str, port: int, told: Callable[[str], None]) -> None:
    """Serve what clients of OpenEnv ask for: a socket at /ws, each an episode after the other, and /health and /schema beside it."""
    try:
        from websockets.asyncio.server import serve
        from websockets.datastructures import Headers
        from websockets.http11 import Response
    except ModuleNotFoundError:
        raise ModuleNotFoundError("serving OpenEnv needs the module 'websockets': pip install 'strop[tools]'", name="websockets") from None

    beside = {
        "/health": {"status": "healthy"},
        "/schema": {"action": SCHEMA, "observation": {"type": "object"}, "state": {"type": "object"}},
    }
    beside["/metadata"] = {"name": "strop", "description": f"{type(served.world).__name__}: {type(served.source).__name__}"}

    async def asked(connection: Any, request: Any) -> Any:
        path = request.path.partition("?")[0]
        if path in beside:
            return Response(200, "OK", Headers({"content-type": "application/json"}), json.dumps(beside[path]).encode())
        return None if path == "/ws" else connection.respond(404, "there is /ws, /health, /schema and /metadata\n")

    async def episode(socket: Any) -> None:
        sitting: Sitting | None = None
        async for message in socket:
            try:
                kind, data = _heard(message)
                if kind == "close":
                    return
                if kind == "reset":
                    seed = data.get("seed")
                    sitting = served.sit(seed if isinstance(seed, int) else None)
                    answer = {"observation": {"text": await sitting.first(), "tools": _told(sitting)}, "reward": None, "done": False}
                elif sitting is None:
                    raise Refused("SESSION_ERROR", "begin with reset")
                elif kind == "state":
                    state = {"episode_id": sitting.seat.own, "step_count": len(sitting.turns), "task": sitting.task.id}
                    await socket.send(json.dumps({"type": "state", "data": state}))
                    continue
                else:
                    answer = await _stepped(sitting, data)
            except (Refused, Over, TimeoutError) as error:
                code = error.code if isinstance(error, Refused) else "EXECUTION_ERROR"
                await socket.send(json.dumps({"type": "error", "data": {"code": code, "message": str(error) or "no answer in time"}}))
                continue
            await socket.send(json.dumps({"type": "observation", "data": answer}))

    async with serve(episode, host, port, process_request=asked, max_size=1 << 20) as server:
        told(f"http://{host}:{next(iter(server.sockets)).getsockname()[1]}")
        await server.serve_forever()


class Refused(ValueError):
    """A message that is none."""

    def __init__(self, code: str, why: str):
        super().__init__(why)
        self.code = code


def _heard(message: str | bytes) -> tuple[str, dict[str, Any]]:
    try:
        found = json.loads(message)
        kind, data = found["type"], found.get("data") or {}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Refused("INVALID_JSON", "a message is an object with type and data") from None
    if kind not in ("reset", "step", "state", "close") or not isinstance(data, dict):
        raise Refused("UNKNOWN_TYPE", "a message is one of reset, step, state, close")
    return kind, cast("dict[str, Any]", data)


def _told(sitting: Sitting) -> list[dict[str, Any]]:
    return [function(tool) for tool in documents_of(sitting.world, sitting.task)]


async def _stepped(sitting: Sitting, data: Mapping[str, Any]) -> dict[str, Any]:
    if set(data) - {"text", "tool", "arguments", "metadata"} or not ("text" in data) ^ ("tool" in data):
        raise Refused("VALIDATION_ERROR", "an action has text, or tool and arguments")
    said = sitting.read(data["tool"], data.get("arguments", {})) if "tool" in data else Said(str(data["text"]))
    reply = await sitting.act(said)
    scores = await sitting.scores() if sitting.over else {}
    calls = [[call.tool, call.ok, call.why] for call in reply.calls]
    observation = {"text": reply.observation, "calls": calls, "scores": scores, "stop": reply.stop if sitting.over else None}
    return {"observation": observation, "reward": scores.get("outcome"), "done": sitting.over}
