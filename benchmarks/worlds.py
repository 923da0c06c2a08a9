"""Episodes in worlds: what slow tools cost a step, and what a window that forgets computes.

    python benchmarks/worlds.py [--model DIR] [--tokens 64] [--rounds 5] [--programs 64] [--json FILE]

64 episodes of four turns, actions of a fixed length (the model knows no end token), whole steps: sampled, graded, learned from. The world
answers the same words at once, or after a tenth of a second; the two runs take turns, step by step, and the first step of each is not
counted. While a tool is awaited the engine draws for whoever is not waiting.

Then sixteen episodes with an MCP server each (a program in a cell, four calls of a tenth of a second), one by one and all at once.

The same turns again by somebody else's programs, which stay and ask a desk over HTTP (`strop.serving.guest`): what the desk costs a step.

Behind it, what was prefilled in steps whose rows were summarised and begun again, against the tokens of those rows' openings and of the
answers: a restart prefills its new prompt, and nothing else again.

    python benchmarks/worlds.py --browser 20

New episodes in a browser that runs (`strop.worlds.browser`) against new browsers with their first episode, in turns. The next page is made
ready while an episode is played, four actions here, and a new one then waits for what is left of it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from strop.method import Method
from strop.methods.grpo import GRPO
from strop.recipe import Recipe
from strop.records import Task
from strop.run import create
from strop.seams.context import Ctx, Handle
from strop.seams.engine import Node
from strop.seams.episode import Episodes
from strop.seams.window import Append, Past, Summarised, Window
from strop.seams.world import Call, Reply, Said, Seat
from strop.serving.guest import Guest
from strop.worlds.mcp import Mcp, Server

TASKS, GROUP, TURNS, ANSWER = 8, 8, 4, 16
ASKED, DESK, NEW = 1.2, 1.1, 0.1


@dataclass(frozen=True)
class Slow:
    """Answers the same words, after so many seconds."""

    seconds: float = 0.0

    def start(self, task: Task, seat: Seat) -> int:
        return 0

    async def reply(self, state: int, said: Said, ask: Mapping[str, Handle]) -> tuple[int, Reply]:
        if self.seconds:
            await asyncio.sleep(self.seconds)
        return state + 1, Reply("go on")


@dataclass(frozen=True)
class Told:
    """A summary by nobody."""

    most: int = 8

    async def __call__(self, node: Node, past: Past, ctx: Ctx) -> tuple[Node, str] | None:
        return node, f"{len(past.turns)} so far"


PROGRAM = """
import http.client, json, sys
for line in sys.stdin:
    told = json.loads(line)
    wire = http.client.HTTPConnection(told["url"].split("/")[2])
    said = [{"role": "user", "content": told["prompt"]}]
    for turn in range(%d):
        wire.request("POST", "/v1/chat/completions", json.dumps({"messages": said}), {"Authorization": "Bearer " + told["key"]})
        said += [json.loads(wire.getresponse().read())["choices"][0]["message"], {"role": "user", "content": "go on"}]
    print(json.dumps({"scores": {"outcome": 0.0}}), flush=True)
"""


def run_of(place: Path, model: str, tokens: int, seconds: float, window: Window) -> Any:
    how = Episodes(n=GROUP, turns=TURNS, max_tokens=tokens, observation=ANSWER, window=window)
    return of(GRPO.but("slow", idea=("environment", "sampler"), environment=Slow(seconds), sampler=how), place, model)


def guests_of(place: Path, model: str, tokens: int, programs: int) -> Any:
    command = (sys.executable, "-I", "-S", "-c", PROGRAM % TURNS)
    how = Guest(command, n=GROUP, turns=TURNS, max_tokens=tokens, context=TURNS * (tokens + ANSWER) + 64, stays=programs)
    return of(GRPO.but("desk", idea=("sampler",), sampler=how), place, model)


def of(method: Method, place: Path, model: str) -> Any:
    recipe = Recipe(method=method, task="chain", model=model, tasks=TASKS, steps=10**6, eval_tasks=0, tripwire="runaway-length=off")
    run = create(recipe, place)
    if hasattr(run.engine, "_ends_V"):
        run.engine._ends_V[:] = False  # no end token: every action has its length
    return run


def stepped(run: Any) -> tuple[float, dict[str, float]]:
    began = time.perf_counter()
    run.advance()
    return time.perf_counter() - began, dict(run.clock)


EPISODES, CALLS, TOOK = 16, 4, 0.1
TOGETHER = 8.0
SERVER = """
import json, sys, time
INFO = {"name": "slow", "version": "1"}
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    said = {"jsonrpc": "2.0", "id": asked["id"]}
    if asked["method"] == "initialize":
        said["result"] = {"protocolVersion": asked["params"]["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": INFO}
    elif asked["method"] == "tools/list":
        said["result"] = {"tools": [{"name": "wait", "inputSchema": {"type": "object"}}]}
    elif asked["method"] == "tools/call":
        time.sleep(float(sys.argv[1]))
        said["result"] = {"content": [{"type": "text", "text": "waited"}]}
    else:
        said["error"] = {"code": -32601, "message": "no such method"}
    print(json.dumps(said), flush=True)
"""


def mcp_episodes() -> dict[str, float]:
    """Seconds of sixteen episodes, one by one and all at once."""
    world = Mcp((Server((sys.executable, "-S", "-E", "-c", SERVER, str(TOOK))),))
    world.stands()

    async def one(number: str) -> None:
        state = world.start(Task("wait", {}, "wait"), Seat("group", number, CALLS + 1))
        for _ in range(CALLS):
            state, reply = await world.reply(state, Said("", (Call("wait", {}),)), {})
            assert reply.observation == "waited", reply
        await world.reply(state, Said(""), {})

    async def in_turn() -> None:
        for number in range(EPISODES):
            await one(f"in turn {number}")

    async def at_once() -> None:
        await asyncio.gather(*(one(f"at once {number}") for number in range(EPISODES)))

    took = dict[str, float]()
    for name, work in (("one by one", in_turn), ("at once", at_once)):
        began = time.perf_counter()
        asyncio.run(work())
        took[name] = time.perf_counter() - began
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="pico")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--programs", type=int, default=TASKS * GROUP)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--browser", type=int, metavar="N", help="N new episodes against N new browsers, and nothing else")
    args = parser.parse_args()
    if args.browser:
        made = browsers(args.browser)
        if args.json:
            args.json.write_text(json.dumps(made))
        return
    with tempfile.TemporaryDirectory() as place:
        runs = {f"tools of {s:.1f} s": run_of(Path(place) / str(s), args.model, args.tokens, s, Append()) for s in (0.0, 0.1)}
        runs["desk"] = guests_of(Path(place) / "desk", args.model, args.tokens, args.programs)
        times: dict[str, list[float]] = {name: [] for name in runs}
        sampled: dict[str, list[float]] = {name: [] for name in runs}
        for number in range(args.rounds + 1):
            for name, run in [*runs.items()][:: 1 if number % 2 else -1]:
                took, clock = stepped(run)
                if number:
                    times[name].append(took)
                    sampled[name].append(clock.get("sample", float("nan")))
        print(f"{TASKS * GROUP} episodes of {TURNS} turns, {args.tokens} tokens each; load {os.getloadavg()[0]:.1f}")
        for name, took in times.items():
            said = f"{statistics.median(took):6.2f} s a step   ({min(took):.2f} to {max(took):.2f})"
            print(f"{name:<14}   {said}, {statistics.median(sampled[name]):.2f} s of it sampling")
        fast, slow, desk = times.values()
        ratios = [b / a for a, b in zip(fast, slow, strict=True)]
        ratio, of_desk = statistics.median(ratios), [b / a for a, b in zip(fast, desk, strict=True)]
        print(f"with over without   {ratio:.2f}   (asked: at most {ASKED})")
        print(f"desk over inside    {statistics.median(of_desk):.2f}   (asked: at most {DESK})")
        together = mcp_episodes()
        gain = together["one by one"] / together["at once"]
        said = ", ".join(f"{seconds:.2f} s {name}" for name, seconds in together.items())
        print(f"{EPISODES} episodes with an MCP server each   {said}: {gain:.1f} times   (asked: at least {TOGETHER:g})")
        limit = len(next(iter(runs.values())).policy.renderer.prompt("1+2=?")) + 2 * (args.tokens + ANSWER) + 24
        run = run_of(Path(place) / "restarts", args.model, args.tokens, 0.0, Summarised(Told(), limit=limit))
        before = run.engine.counters.prefilled + run.engine.counters.recomputed
        run.advance()
        computed = run.engine.counters.prefilled + run.engine.counters.recomputed - before
        groups = run.record(0)["groups"]
        rows = [row for group in groups for rollout in group["rollouts"] for row in rollout["rows"]]
        needed = _needed(groups)
        count = len(rows) - TASKS * GROUP
        print(f"restarts   {count} in {TASKS * GROUP} episodes: {computed} positions prefilled; openings and answers have {needed}")
    if args.json:
        made = {"mcp": together, "ratio": ratio, "ratios": ratios, "desk": statistics.median(of_desk), "desks": of_desk, "seconds": times}
        args.json.write_text(json.dumps(made | {"prefilled": computed, "needed": needed}))


def browsers(count: int) -> dict[str, Any]:
    """Seconds of each, by what was begun."""
    from strop.seams.world import Call
    from strop.tasks import source
    from strop.worlds.browser import NAMES, Browser, Chrome, Opened, _chrome

    world, tasks = Browser(weakest="open"), source("screens")
    running, program = _chrome(world), next(filter(None, map(shutil.which, NAMES)))
    running.version()
    times: dict[str, list[float]] = {"episode": [], "browser": []}
    for number in range(count + 1):
        for what in [*times][:: 1 if number % 2 else -1]:
            began = time.perf_counter()
            chrome = running if what == "episode" else Chrome(program, False)
            page = Opened(chrome, tasks.task("test", 0, number), 1.0)
            page.look()
            if number:  # the first one finds no page that is ready
                times[what].append(time.perf_counter() - began)
            for _ in range(4):
                page.hear(Said("", (Call("click", {"number": 1}),)))
            page.close()
            if chrome is not running:
                chrome.stop()
    ratio = statistics.median(times["episode"]) / statistics.median(times["browser"])
    for what, took in times.items():
        print(f"a new {what:<8} {statistics.median(took):6.3f} s   ({min(took):.3f} to {max(took):.3f}); load {os.getloadavg()[0]:.1f}")
    print(f"episode over browser   {ratio:.2f}   (asked: at most {NEW})")
    return {"ratio": ratio, "seconds": times}


def _needed(groups: Any) -> int:
    """Openings of a group, alike ones once, and answers."""
    total = 0
    for group in groups:
        rows = [row for rollout in group["rollouts"] for row in rollout["rows"]]
        total += sum(map(len, {tuple(row["segments"][0]["tokens"]) for row in rows}))
        total += sum(len(s["tokens"]) for row in rows for s in row["segments"] if s["kind"] == "observation")
    return total


if __name__ == "__main__":
    main()
