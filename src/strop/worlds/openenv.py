"""openenv: an environment that an OpenEnv server has, over its socket; one session an episode. `act` is its step.

    OpenEnv("http://localhost:8000", shows="echoed_message")     act {"message": "hello"}   ->   hello

What it observes is read as JSON, or one field of it. The episode's reward is the sum of its steps' (`outcome`) once it is done.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

from strop.records import Task, canonical
from strop.seams.context import keyed
from strop.seams.world import Broken, Called, Repeats, Reply, Said, Seat, Tool
from strop.worlds.calls import unsound
from strop.worlds.live import LONGEST, Live, Lost
from strop.worlds.mcp import without_patterns


@dataclass(frozen=True)
class OpenEnv(Live):
    """One server's."""

    url: str = ""
    """http://HOST:PORT"""
    shows: str = ""
    """The field of an observation that is read; empty: all of it, as JSON."""
    says: str = ""
    """The field of an action that a reply without a call becomes; empty: such a reply is told that it calls nothing."""
    repeats: Repeats = "no"
    """no: a session is never told again. checked, where the same seed and actions are answered alike."""
    deadline: float = 60.0
    """Seconds for one answer."""
    waiting: int = 64
    """Sessions that wait at most."""

    def __post_init__(self) -> None:
        if self.url and not re.match(r"https?://[^/\s@]+/?$", self.url):
            raise ValueError(f"OpenEnv(url={self.url!r}): http://HOST:PORT")

    def tools(self, task: Task) -> tuple[Tool, ...]:
        """Its step, with the fields of an action."""
        return (Tool("act", "One step in the environment.", _action(self.url)),)

    def begin(self, task: Task, seat: Seat) -> Socket:
        return Socket(self, task, seat)


@lru_cache(256)
def _action(url: str) -> Mapping[str, Any]:
    """The schema of an action, as the server says it."""
    import httpx2

    try:
        with httpx2.stream("GET", f"{url.rstrip('/')}/schema", timeout=10.0) as answer:
            body = b""
            for piece in answer.iter_bytes():
                body += piece
                if len(body) > LONGEST:
                    raise ValueError(f"OpenEnv({url!r}): its schema has more than {LONGEST >> 20} MiB")
        found = json.loads(body)["action"]
        fields = {name: one for name, one in found.get("properties", {}).items() if name != "metadata"}
    except (httpx2.HTTPError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"OpenEnv({url!r}) has no /schema of its actions: {type(error).__name__} {error!s:.120}") from error
    schema = without_patterns({**{key: found[key] for key in ("$defs", "required") if key in found}, "properties": fields})
    if why := unsound(schema):
        raise ValueError(f"OpenEnv({url!r}): the schema of its actions is none: {why}")
    return {"type": "object", **schema, "additionalProperties": False}


class Socket:
    """One session."""

    def __init__(self, world: OpenEnv, task: Task, seat: Seat):
        try:
            from websockets.sync.client import connect
        except ModuleNotFoundError:
            raise ModuleNotFoundError("OpenEnv needs the module 'websockets': pip install 'strop[tools]'", name="websockets") from None
        from websockets.exceptions import WebSocketException

        self.world, self.gone, self.total = world, (WebSocketException, OSError, TimeoutError), 0.0
        try:
            self.socket = connect(
                f"{world.url.rstrip('/').replace('http', 'ws', 1)}/ws", max_size=LONGEST, open_timeout=world.deadline, compression=None
            )
        except self.gone as error:
            raise Lost(f"{world.url}: {type(error).__name__} {error!s:.120}") from error
        try:
            seed = task.needs.get("seed", keyed(seat.group, "openenv").getrandbits(31))
            shown = self._shown(self._asked("reset", {"seed": seed, "episode_id": seat.own[-200:]}))
            self.first = f"{task.prompt}\n{shown}" if task.prompt else shown
        except BaseException:
            self.close()
            raise

    def _asked(self, kind: str, data: Mapping[str, Any]) -> dict[str, Any]:
        try:
            self.socket.send(json.dumps({"type": kind, "data": data}))
            answer = json.loads(self.socket.recv(timeout=self.world.deadline))
            told, found = answer["type"], answer["data"]
        except self.gone as error:
            raise Lost(f"{self.world.url}: {type(error).__name__} {error!s:.120}") from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise Lost(f"{self.world.url} answers what is no message of OpenEnv's") from error
        if told == "error" and isinstance(found, dict):
            raise Wrong(str(cast("dict[str, Any]", found).get("message", ""))[:400])
        if told != "observation" or not isinstance(found, dict):
            raise Lost(f"{self.world.url} answers {kind} with {told!r:.40}")
        return cast("dict[str, Any]", found)

    def _shown(self, found: Mapping[str, Any]) -> str:
        seen = found.get("observation")
        if self.world.shows:
            if not isinstance(seen, dict) or self.world.shows not in seen:
                raise ValueError(f"OpenEnv(shows={self.world.shows!r}): an observation has no such field: {seen!r:.120}")
            seen = cast("dict[str, Any]", seen)[self.world.shows]
        return seen if isinstance(seen, str) else canonical(seen)

    def hear(self, said: Said) -> Reply:
        calls = said.calls
        if not calls and self.world.says:
            return self._stepped([{self.world.says: said.text}], (None,))
        if not calls:
            return Reply("no call", calls=(Called("", False, "no call"),))
        return self._stepped([None if isinstance(c, Broken) else dict(c.arguments) for c in calls], calls)

    def _stepped(self, actions: list[dict[str, Any] | None], calls: Any) -> Reply:
        told, became, done = list[str](), list[Called](), False
        for action, call in zip(actions, calls, strict=True):
            why = call.why if isinstance(call, Broken) else "the episode is over" if done else ""
            if action is None or why:
                told.append(f"error: {why}")
                became.append(Called("", False, why))
                continue
            try:
                found = self._asked("step", action)
            except Wrong as error:
                told.append(f"error: {error}")
                became.append(Called("act", False, str(error)[:120]))
                continue
            reward = found.get("reward")
            self.total += float(reward) if isinstance(reward, int | float) else 0.0
            done = bool(found.get("done"))
            told.append(self._shown(found))
            became.append(Called("act", True))
        scores = {"outcome": self.total} if done else {}
        return Reply("\n".join(told), done=done, facts={"return": self.total}, scores=scores, calls=tuple(became))

    def close(self) -> None:
        with suppress(Exception):
            self.socket.close_socket()


class Wrong(Exception):
    """An action that the environment refuses: the policy's fault."""
