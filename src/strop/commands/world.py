"""Worlds: which there are, what one answers, and whether it keeps its promises.

Examples:
    strop world list                                    strop's own, and whose tasks bring them
    strop world play wiki                               you act, a line a turn; an empty line or Ctrl-D ends it
    strop world play wiki --expert --index 3            its expert does
    strop world play sums --method grpo-roc             the world of a method, with that task
    strop world check wiki                              states, repeats, broken calls; the expert's replies are graded
    strop world check my.py:TASKS --method my.py        your own
    strop world serve wiki --mcp                        to any MCP client, which starts this; --port 8000: over HTTP
    strop world serve wiki --openenv --port 8000        to clients of OpenEnv
    strop world list --mcp mcp-server-time              the tools of an MCP server: a program, an address or FILE.json
    strop world play --mcp 'mcp-server-time'            you call them
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, cast

from strop.cli import Usage, answer, say, table
from strop.engines.remote import Utf8
from strop.records import Group, Rollout, Task
from strop.sandbox.rules import LEVELS
from strop.seams.context import Ctx, Handle, Progress
from strop.seams.episode import Agent, Episodes, Pen, Played, Say, spoken
from strop.seams.source import Source
from strop.seams.world import Call, Reply, Said, Seat, Tool, World, documents_of, replied, tools_of, verdict
from strop.worlds.calls import FORMATS

DEADLINE = 60.0
"""Seconds that a world may think about one action."""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("list", "play", "check", "serve"))
    parser.add_argument("task", nargs="?", metavar="TASK", help="a source of tasks, as in `strop tasks`")
    parser.add_argument("--method", metavar="NAME", help="the world of this method, where the task brings none")
    parser.add_argument("--split", choices=("train", "test"), default="test", help="which tasks [test]")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the tasks and of the seat [0]")
    parser.add_argument("--index", type=int, default=0, metavar="N", help="play, serve: which task; serve: -1, each session the next [0]")
    parser.add_argument("--turns", type=int, default=64, metavar="N", help="actions at most [64]")
    parser.add_argument("--calls", choices=[*FORMATS], default="line", help="how calls are written [line]")
    parser.add_argument(
        "--sandbox", choices=LEVELS, metavar="LEVEL", help="the weakest walls it may execute code behind: cell, locks, open"
    )
    parser.add_argument(
        "--mcp",
        nargs="?",
        const="",
        metavar="SERVER",
        help="list, play: the tools of this MCP server, a program in quotes, an address or FILE.json. serve: speak MCP",
    )
    parser.add_argument("--walls", choices=("cell", "open"), default="cell", help="what that program runs behind [cell]")
    parser.add_argument("--openenv", action="store_true", help="serve: speak OpenEnv, at --port")
    parser.add_argument("--port", type=int, metavar="N", help="serve: over HTTP at this port, 0 for any [MCP: standard input and output]")
    parser.add_argument("--host", default="127.0.0.1", metavar="NAME", help="serve: the address to listen at [127.0.0.1]")
    parser.add_argument("--expert", action="store_true", help="play: its expert acts")
    parser.add_argument("--tasks", type=int, default=32, metavar="N", help="check: how many its expert solves [32]")


def run(args: argparse.Namespace) -> int:
    if args.mcp and args.action != "serve":
        return _foreign(args)
    if args.action == "list":
        rows = listed()
        head = ("world", "task", "tools", "says")
        answer(args, {"worlds": rows}, table([[row[key] for key in head] for row in rows], head))
        return 0
    if not args.task:
        raise Usage(f"strop world {args.action} TASK: name a source of tasks, as in `strop world {args.action} wiki`")
    source, world = _there(args)
    if args.action == "serve":
        return _serving(args, source, world)
    return (_played if args.action == "play" else _checked)(args, source, world)


def _foreign(args: argparse.Namespace) -> int:
    """The tools of an MCP server: told, or called by you."""
    from dataclasses import replace

    from strop.worlds.mcp import named, reached

    servers = tuple(replace(one, walls=args.walls) if one.argv and not args.mcp.endswith(".json") else one for one in named(args.mcp))
    world, task = cast(Any, reached(servers)), Task("Call what you like; an empty line ends it.", {}, "mcp")
    if args.action == "list":
        rows = [
            [tool.name, ", ".join(tool.schema.get("properties", {})), tool.description.partition("\n")[0][:100]]
            for tool in world.tools(task)
        ]
        said = [{"name": tool.name, "description": tool.description, "schema": dict(tool.schema)} for tool in world.documents(task)]
        answer(args, {**world.stands(), "tools": said}, plain(table(rows, ("tool", "arguments", "says"))))
        return 0
    if args.action == "check" or args.task or args.expert:
        raise Usage("--mcp SERVER goes with `strop world list` and `strop world play`, without a task: nobody grades what is said there")
    rollout = _lived(args, cast(Any, None), world, task, _typed, say)
    answer(args, rollout.to_json(), f"{len(rollout.keys['facts'])} actions; {rollout.stop}")
    return 0


def _serving(args: argparse.Namespace, source: Source, world: World) -> int:
    from strop.offered import Served, mcp_at, mcp_here, openenv_at

    if args.openenv == (args.mcp is not None):
        raise Usage("strop world serve TASK: --mcp or --openenv says to whom")
    if args.openenv and args.port is None:
        raise Usage("--openenv is served over HTTP: --port 8000, or 0 for any")
    served = Served(source, world, args.split, args.seed, args.index if args.index >= 0 else None, args.turns)
    if args.openenv:
        work = openenv_at(served, args.host, args.port, say)
    else:
        work = mcp_here(served) if args.port is None else mcp_at(served, args.host, args.port, say)
    asyncio.run(work)
    return 0


def listed() -> list[dict[str, str]]:
    """strop's worlds, with the sources whose tasks they answer to."""
    from strop.catalogue import own
    from strop.methods import METHODS, method
    from strop.tasks import SOURCES, maker
    from strop.worlds.around import Around

    brought = ((name, getattr(maker(name)(), "world", None)) for name in SOURCES)
    theirs = {"Gymstrop.worlds.gym": "gym:ID", "OpenEnvstrop.worlds.openenv": "openenv:URL"}
    brings = theirs | {type(world).__name__ + world.__module__: name for name, world in brought if world is not None}
    uses = {type(one).__name__ + one.__module__: name for name in METHODS if (one := method(name).environment) is not None}
    found: list[dict[str, str]] = []
    for name, kind in own().items():
        if kind.__module__.startswith("strop.worlds.") and hasattr(kind, "start"):
            key = name + kind.__module__
            task = brings.get(key) or f"--method {uses[key]}" if key in uses or key in brings else ""
            inside = issubclass(cast(type, kind), Around)
            there: Any = () if inside else getattr(kind(), "tools", ())  # pyright: ignore[reportCallIssue]
            own_ones = "each task's own" if callable(there) else ", ".join(tool.name for tool in there)
            tools = "those of the world inside" if inside else own_ones
            about = (sys.modules[kind.__module__].__doc__ or "").partition("\n")[0].partition(": ")[2]
            found.append({"world": kind.__module__.rpartition(".")[2], "task": task, "tools": tools, "says": about})
    return found


def _there(args: argparse.Namespace) -> tuple[Source, World]:
    from strop.commands import recipes
    from strop.program import Program
    from strop.seams.world import world_of
    from strop.tasks import source

    tasks = source(args.task)
    one = recipes.named(args.method) if args.method else None
    if isinstance(one, Program):
        raise Usage(f"{args.method} is a program of stages: name the method of one, or a task that brings its world")
    world = world_of(one.environment if one is not None else None, tasks)
    if world is None:
        raise Usage(f"{args.task} brings no world: name a method that has one, --method grpo-roc. `strop world list` shows strop's.")
    if args.sandbox:
        if not hasattr(world, "within"):
            raise Usage("--sandbox: this world executes nothing")
        world = cast(Any, world).within(args.sandbox)
    if names := [*getattr(world, "asks", ())]:
        raise Usage(f"this world asks the policy {names[0]!r}, and nobody is here to answer. `strop eval --policy {names[0]}=…` plays it.")
    return tasks, world


def plain(text: str) -> str:
    """What a terminal may be shown: a control character is a dot there, a line break stays."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "·" for letter in text)


class Shown:
    """A world whose answers are told as they come, each with a deadline. Nothing said to it ends the episode."""

    def __init__(self, world: World, how: Episodes, show: Callable[[str], None]):
        self.world, self.how, self.told = world, how, show

    def tools(self, task: Task) -> Sequence[Tool]:
        return tools_of(self.world, task)

    def documents(self, task: Task) -> Sequence[Tool]:
        return documents_of(self.world, task)

    def start(self, task: Task, seat: Seat) -> Any:
        self.task, self.turns = task, seat.turns
        return self.world.start(task, seat)

    async def show(self, state: Any) -> str:
        first: Callable[[Any], Awaitable[str]] | None = getattr(self.world, "show", None)
        text = self.task.prompt if first is None else await first(state)
        self.told(plain(self.how.opening(self.task, self.world, self.turns, text)))
        return text

    async def reply(self, state: Any, said: Said, ask: Mapping[str, Handle]) -> tuple[Any, Reply]:
        if not said.text:
            return state, Reply("", done=True)
        state, reply = await asyncio.wait_for(replied(self.world, state, said, ask), DEADLINE)
        broken = "".join(f"  [{call.tool or 'no tool'}: {plain(call.why)}]" for call in reply.calls if not call.ok)
        self.told((f"done: {reply.stop}" if reply.done else plain(reply.observation)) + broken)
        return state, reply


def _lived(args: argparse.Namespace, source: Source, world: World, task: Task, act: Agent, show: Callable[[str], None]) -> Rollout:
    """One episode, in which a script or a person acts."""
    how = Episodes(n=1, turns=args.turns, observation=0, calls=FORMATS[args.calls]() if tools_of(world, task) else None)
    renderer, nobody = Utf8(), cast(Any, None)
    ctx = Ctx(args.seed, Progress(), source, {"actor": Handle(Pen(1 << 31), renderer)}, nobody, place=task.id)
    (group,) = asyncio.run(Played(act, how)(task, Shown(world, how, show), ctx))
    return group.rollouts[0]


def _typed(state: Any, turn: int) -> str:
    """A line of yours."""
    if sys.stdin.isatty():
        print("> ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().rstrip("\n").replace("\\n", "\n")


def _expert(world: World) -> Agent:
    teach: Callable[[Any], str | Call] | None = getattr(world, "expert", None)
    if teach is None:
        raise Usage(f"{type(world).__name__} has no expert(state), which says what a demonstration does next")
    return lambda state, turn: teach(state)


def _played(args: argparse.Namespace, source: Source, world: World) -> int:
    task, calls = source.task(args.split, args.seed, args.index), FORMATS[args.calls]()

    def taught(state: Any, turn: int) -> Say:
        said = expert(state, turn)
        say(f"> {plain(spoken(said, calls.written))}")
        return said

    expert = _expert(world) if args.expert else _typed
    rollout = _lived(args, source, world, task, taught if args.expert else _typed, say)
    channels = _graded(source, task, rollout)
    answer(args, {"task": task.to_json(), **rollout.to_json(), "channels": channels}, ", ".join(f"{n} {v}" for n, v in channels.items()))
    return 0


def _graded(source: Source, task: Task, rollout: Rollout) -> dict[str, float | None]:
    """The world's verdict, or the source's."""
    from strop.grading import grade

    scores = asyncio.run(grade(source, [Group(task, (rollout,))]))
    return dict(scores.values[rollout.id])


def _checked(args: argparse.Namespace, source: Source, world: World) -> int:
    from strop.check.growing import of_world

    said = of_world(world, source.task("train", args.seed, 0))
    rows = [("its states are values, it answers alike twice, and a broken call is an answer", said or ["kept"])]
    if getattr(world, "expert", None) is not None:
        wrong, again = list[str](), list[str]()
        for index in range(args.tasks):
            task = source.task(args.split, args.seed, index)
            rollout = _lived(args, source, world, task, _expert(world), lambda text: None)
            if (channels := _graded(source, task, rollout)).get("outcome") != 1:
                wrong.append(
                    f"task {index}: {channels}" + (f" at the last of {args.turns} turns (--turns)" if rollout.stop == "turns" else "")
                )
            if scores := rollout.keys.get("scores"):
                read = FORMATS[args.calls]().read
                spoken = [Said(text, read(text, tools_of(world, task))) for text in rollout.keys["said"]]
                if asyncio.run(verdict(world, task, Seat(*rollout.keys["seat"]), spoken)) != scores:
                    again.append(f"task {index}")
        rows.append((f"its expert solves {args.tasks} tasks of {args.split}", wrong[:3] or ["kept"]))
        if again:
            rows.append(("its scores follow again from what was said", again[:3]))
    else:
        rows.append(("it has no expert(state): nothing shows that a task can be solved in it", ["not looked at"]))
    fine = all(found[0] in ("kept", "not looked at") for _, found in rows)
    answer(
        args,
        {"fine": fine, "checks": [{"says": says, "found": found} for says, found in rows]},
        "\n".join(f"{says}: {'; '.join(found)}" for says, found in rows),
    )
    return 0 if fine else 1
