"""guest: a sampler that lets somebody else's program ask. It knows an address and a key, and nothing of strop.

    Guest(("python3", "agent.py"), turns=8, max_tokens=256, context=4096)

Each rollout is a process of its own. Its environment has `OPENAI_BASE_URL` and `OPENAI_API_KEY`, which the `openai` package reads; its
input is a line of JSON, `{"prompt": …, "needs": …, "seat": [group, own, turns], "model": …}`. Whatever it asks there is drawn by the actor
(`strop.serving.talk`) and trained. The last line that it prints may be JSON: `{"answer": text}` is what the source grades, `{"scores":
{"outcome": …}}` is a verdict in its place, `{"error": why}` that it failed. Without any of them the source grades all that was said.
Programs that `stays` keeps are told such a line for each rollout, with `url` and `key` in it, and answer with an object of JSON.

A program that ends with another code than 0, that is not done within `deadline` seconds, or that asks nothing, is our fault and no score.
But where a reply was refused since no turn was left or its row had no room, what the program does then is the policy's own ending.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, cast

from strop.records import Group, Rollout, Row, Sampling, Stop, Task, unique
from strop.seams.context import Ctx, Footprint
from strop.seams.engine import Node
from strop.seams.episode import Calls
from strop.seams.world import Broken, Repeats, World
from strop.serving.desk import MODEL, Desk
from strop.serving.leash import swept
from strop.serving.program import Ended, Standing, own, ran
from strop.serving.talk import Message, Talk
from strop.shape import odd
from strop.worlds.calls import Native

NATIVE = Native()
SAYS = {"answer?": str, "scores?": {str: float}, "error?": str}


@dataclass(frozen=True)
class Guest:
    """n rollouts of a task, each a run of somebody else's program that talks with the actor."""

    command: tuple[str, ...] = ()
    """The program and its arguments; no shell reads them."""
    n: int = 8
    """Rollouts a task."""
    turns: int = 8
    """Replies that a rollout may ask for."""
    max_tokens: int = 128
    """Of a reply; a program may ask for fewer, and not for more."""
    context: int = 1024
    """Tokens that a row may have."""
    rows: int = 1
    """Rows of a rollout whose cache is kept at one time: what a program talks in turn or at once."""
    deadline: float = 120.0
    """Seconds for the whole of a rollout."""
    at_once: int = 64
    """Programs of a task that run at one time."""
    stays: int = 0
    """So many programs that stay and play one rollout after the other, for those that take long to begin; 0: one for each rollout."""
    calls: Calls | None = NATIVE
    """How the actor writes the calls of a request's tools."""
    sampling: Sampling = Sampling()
    """How each decision is drawn."""
    stop: tuple[str, ...] = ()
    """Texts that end a reply, beside the template's own."""
    repeats: Repeats = "no"
    """`exact` promises that the program asks the same when it is answered the same, one thing after the other: then the run's bits are.
    One that asks two things at once has broken it, and is our fault."""
    own_context: ClassVar[bool] = True
    """Rows are trained in the context they were drawn in, and a group's id is the root of its noise."""
    own_way: ClassVar[bool] = True
    """Held-out tasks are asked by it too."""
    own_world: ClassVar[bool] = True
    """The program answers itself."""

    def __post_init__(self) -> None:
        if isinstance(self.command, str) or not all(isinstance(one, str) for one in self.command):  # pyright: ignore
            raise ValueError(f"Guest(command={self.command!r}): the program and its arguments, each a text: ('python3', 'agent.py')")
        for name in ("n", "turns", "max_tokens", "rows", "at_once"):
            if getattr(self, name) < 1:
                raise ValueError(f"Guest({name}={getattr(self, name)}): needs at least 1")
        if self.stays < 0:
            raise ValueError(f"Guest(stays={self.stays}): at least 0")
        if not self.deadline > 0:
            raise ValueError(f"Guest(deadline={self.deadline}): seconds above 0")
        if self.context <= self.max_tokens:
            raise ValueError(
                f"Guest: a row of {self.context} tokens holds no prompt beside a reply of {self.max_tokens}. Raise context, or lower "
                "max_tokens."
            )
        if self.repeats not in ("exact", "no"):
            raise ValueError(f"Guest(repeats={self.repeats!r}): exact, or no")

    @property
    def group_size(self) -> int:
        return self.n

    def footprint(self, prompt: int) -> Footprint:
        return Footprint(positions=self.n * self.rows * self.context, requests=self.n * self.turns)

    async def __call__(self, task: Task, world: World | None, ctx: Ctx) -> list[Group]:
        if not self.command:
            raise ValueError("Guest() names no program: Guest(('python3', 'agent.py'))")
        mark, room = secrets.token_hex(16), asyncio.Semaphore(self.at_once)
        try:
            async with Desk() as desk, asyncio.TaskGroup() as running:
                made = [running.create_task(self._rollout(desk, task, ctx, i, mark, room)) for i in range(self.n)]
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            if not self.stays:
                swept(mark)
        return [Group(task, tuple(one.result() for one in made), id=ctx.place)]

    async def _rollout(self, desk: Desk, task: Task, ctx: Ctx, i: int, mark: str, room: asyncio.Semaphore) -> Rollout:
        actor = ctx.policies["actor"]
        limit = min(self.context, actor.engine.limit)
        how = (self.turns, self.max_tokens, limit, self.rows, self.sampling, self.stop, self.calls)
        talk = Talk(task, actor, ctx.place, i, *how)
        group = f"{ctx.seed}/{ctx.progress.before + ctx.progress.step}/{ctx.place}"
        seat = [group, f"{group}/{i}", self.turns]
        given = {"prompt": task.prompt, "needs": dict(task.needs), "seat": seat, "model": MODEL}
        async with room:
            key = desk.seat(talk.answer)
            try:
                if self.stays:
                    line = json.dumps({**given, "url": desk.url, "key": key}).encode() + b"\n"
                    ended = await standing(self.command, self.stays).play(line, self.deadline)
                else:
                    environment = own(os.environ, OPENAI_BASE_URL=desk.url, OPENAI_API_KEY=key)
                    ended = await ran(self.command, json.dumps(given).encode() + b"\n", self.deadline, mark, environment)
                await (talk.cut() if ended.code is None else talk.over())
            finally:
                del desk.seats[key]
                await talk.cut()
        if talk.failure is not None:
            raise talk.failure
        rows = talk.row_list() or (await self._nothing(task, ctx),)
        said = self._said(ended)
        why = said if isinstance(said, str) else self._fault(talk, ended)
        stop: Stop = "error" if why else talk.ended or "finished"
        keys: dict[str, Any] = {"facts": [{} for _ in talk.drawn], "guest": {"asked": len(talk.drawn), "at_once": talk.at_once}}
        if why:
            keys["facts"].append({"error": why})
        if any(one.calls for one in talk.drawn.values()):
            keys["calls"] = [[_called(call) for call in one.calls] for _, one in sorted(talk.drawn.items())]
        answer = told(talk)
        if isinstance(said, Mapping) and not why:
            answer = said.get("answer", answer)
            keys |= {"scores": dict(said["scores"])} if "scores" in said else {}
        return Rollout(rows, f"{ctx.place}/{i}", stop=stop, keys=keys, text=answer)

    def _said(self, ended: Ended) -> Mapping[str, Any] | str:
        """What a program hands in, or what is wrong with it."""
        try:
            found = json.loads(ended.out, object_pairs_hook=unique)
        except (ValueError, RecursionError):
            return {}
        if not isinstance(found, dict) or not {"answer", "scores", "error"} & found.keys():
            return {}
        if wrong := odd(found, SAYS):
            return f"{self.command[0]} hands in what is no answer: {wrong}"
        if "error" in found:
            return f"{self.command[0]} says: {found['error'][:300]}"
        scores = cast("dict[str, float]", found.get("scores", {"outcome": 0.0}))
        if "outcome" not in scores or not all(abs(value) < float("inf") for value in scores.values()):
            return f"{self.command[0]} hands in scores {scores!r:.80}: finite numbers, `outcome` among them"
        return found

    def _fault(self, talk: Talk, ended: Ended) -> str:
        """Why nobody can be graded for it, if so."""
        name = " ".join(self.command)[:80]
        if ended.code is None:
            return f"{name} was not done within {self.deadline:g} s"
        if self.repeats == "exact" and talk.at_once > 1:
            return f"{name} asked {talk.at_once} things at once, and repeats='exact' promises that it does not: say repeats='no'"
        if talk.ended is not None and talk.drawn:
            return ""
        if ended.code:
            return f"{name} ended with {ended.code}" + (f": {ended.errors}" if ended.errors else "")
        return "" if talk.drawn else f"{name} asked nothing"

    async def _nothing(self, task: Task, ctx: Ctx) -> Row:
        """The row of a rollout in which nobody was asked: the question."""
        node: Node = await ctx.policies["actor"].open(task.prompt, root=ctx.place)
        return node.row()


@cache
def standing(command: tuple[str, ...], most: int) -> Standing:
    """Those of this process that stay."""
    return Standing(command, most)


def told(talk: Talk) -> str:
    """All that was said: replies with what was said between them, a line each."""
    text = ""
    for number, one in sorted(talk.drawn.items()):
        text += (f"\n{_texts(one.before)}\n" if text or number > 1 else "") + one.text
    return text


def _texts(messages: tuple[Message, ...]) -> str:
    return "\n".join(one.text for one in messages)


def _called(call: Any) -> list[Any]:
    return ["", False, call.why] if isinstance(call, Broken) else [call.tool, True, ""]
