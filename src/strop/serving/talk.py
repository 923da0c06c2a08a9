"""talk: what one rollout says at the desk. A known conversation goes on, any other opens a row; asked twice is answered once.

    known       the longest beginning of the messages that ends in a reply of ours, token for token as it was drawn
    goes on     what users and tools say behind it is an observation under that reply, and the next reply is drawn under it
    otherwise   the whole conversation is the prompt of a new row

A reply is a function of what is asked and of who asks: the noise of a row is keyed by its conversation, not by what came first. The task's
own words are row 0, as in `Episodes`; any other opening has the hash of its messages for an ordinal. Only where one reply is gone on from
in two ways at once do the two draw in the order they came.

A row that nobody goes on from keeps its tokens and loses its cache: at most `rows` of them stay warm, and going on from a cold one computes
it again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, cast

from strop.records import Row, Sampling, Stop, Task, canonical, digest
from strop.seams.context import Handle
from strop.seams.engine import Node
from strop.seams.episode import Calls, once
from strop.seams.world import Broken, Call, Tool
from strop.serving.desk import MODEL, Refused
from strop.worlds.calls import unsound

T = TypeVar("T")
LETTERS = 15
"""Hexadecimal digits of an ordinal."""
READ = ("messages", "tools", "temperature", "top_p", "stop", "max_tokens", "max_completion_tokens")
"""Fields of a request that are looked at."""
FREE = ("model", "stream", "stream_options", "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key")
"""Those that say nothing of how a reply is drawn. What is in none of these lists is refused by its name."""
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "seed": (),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "response_format": ({"type": "text"},),
    "tool_choice": ("auto",),
    "parallel_tool_calls": (True,),
}
"""What those say that change nothing."""


@dataclass(frozen=True)
class Message:
    """One of a conversation, as it is compared and written."""

    role: Literal["system", "user", "assistant", "tool"]
    text: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    """Names and arguments of what an assistant calls."""

    @property
    def plain(self) -> list[Any]:
        """For comparing: arguments that are the same JSON are the same."""
        return [self.role, self.text, [[name, _same(arguments)] for name, arguments in self.calls]]


def _same(arguments: str) -> str:
    try:
        return canonical(json.loads(arguments))
    except (ValueError, RecursionError):
        return arguments


def messages(asked: Mapping[str, Any]) -> tuple[Message, ...]:
    """The messages of a request."""
    given = asked.get("messages")
    if not isinstance(given, list) or not given:
        raise Refused("messages is a list of at least one message")
    made = tuple(_message(one, f"messages[{i}]") for i, one in enumerate(cast("list[Any]", given)))
    if made[-1].role not in ("user", "tool"):
        raise Refused(f"the last message is what is answered, a user's or a tool's; it is the {made[-1].role}'s")
    if any(one.role == "system" for one in made[1:]):
        raise Refused("a system message stands first, or nowhere")
    return made


ROLES: Mapping[str, Literal["system", "user", "assistant", "tool"]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}


def _message(one: Any, where: str) -> Message:
    role = ROLES.get(one.get("role", "")) if isinstance(one, dict) and isinstance(one.get("role"), str) else None
    if role is None:
        raise Refused(f"{where} is no message of {', '.join(ROLES)}")
    text, calls = one.get("content"), one.get("tool_calls") or []
    if isinstance(text, list):
        parts: list[Any] = [part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None for part in text]
        if any(not isinstance(part, str) for part in parts):
            raise Refused(f"{where}.content holds a part that is no text: the actor reads texts alone")
        text = "".join(parts)
    if text is None and role == "assistant":
        text = ""
    if not isinstance(text, str):
        raise Refused(f"{where}.content is no text")
    try:
        said = tuple((call["function"]["name"], call["function"]["arguments"]) for call in calls)
        if any(not isinstance(part, str) for call in said for part in call) or (said and role != "assistant"):
            raise TypeError
    except (KeyError, TypeError):
        raise Refused(f"{where}.tool_calls: an assistant's list of calls, each with function.name and function.arguments as text") from None
    return Message(role, text, said)


def tools(asked: Mapping[str, Any]) -> tuple[Tool, ...]:
    """The tools of a request."""
    try:
        made = list[Tool]()
        for one in asked.get("tools") or ():
            what = one["function"]
            schema = what.get("parameters") or {}
            if one.get("type") != "function" or not isinstance(what["name"], str) or not isinstance(schema, dict):
                raise TypeError
            made.append(Tool(what["name"], str(what.get("description") or ""), schema))
            if unsound(schema):
                raise TypeError
        return tuple(made)
    except ModuleNotFoundError:
        raise
    except Exception:  # a schema that is none, too
        raise Refused("tools is a list of {'type': 'function', 'function': {'name', 'description', 'parameters'}}") from None


def allowed(asked: Mapping[str, Any], sampling: Sampling, stop: Sequence[str], most: int) -> int:
    """How many tokens the reply may have. Whatever else is said of how to draw has to be what the sampler says."""
    for name, value in asked.items():
        if value is None:
            continue
        if name not in (*READ, *FREE, *NEUTRAL):
            raise Refused(f"{name} is not known here, and might ask for other sampling than the rollout's. Leave it out.", "other_sampling")
        if name in NEUTRAL and value not in NEUTRAL[name]:
            raise Refused(f"{name}={_short(value)}: other sampling than the rollout's. Leave it out.", "other_sampling")
    for name, own in (("temperature", sampling.temperature), ("top_p", sampling.top_p)):
        if asked.get(name) not in (None, own) or isinstance(asked.get(name), bool):
            raise Refused(f"{name}={_short(asked[name])}, and the rollout is drawn at {own}. Leave it out.", "other_sampling")
    said: Any = asked.get("stop") or []
    said = [said] if isinstance(said, str) else said
    if not isinstance(said, list) or (said and (any(one not in stop for one in said) or any(one not in said for one in stop))):
        raise Refused(f"stop={_short(said)}, and the rollout stops at {list(stop)}. Name them in the sampler: stop=(…)", "other_sampling")
    for name in ("max_completion_tokens", "max_tokens"):
        if (count := asked.get(name)) is not None:
            if not isinstance(count, int) or isinstance(count, bool) or count < 1:
                raise Refused(f"{name}={_short(count)}: a whole number of at least 1")
            if count > most:
                raise Refused(
                    f"{name}={count}, and a reply has at most {most} tokens here. Raise the sampler's max_tokens.", "other_sampling"
                )
            most = min(most, count)
    return most


def _short(value: Any) -> str:
    return repr(value)[:60]


@dataclass(eq=False)
class Line:
    """A row as it grows: a chain of nodes with one end."""

    end: Node
    busy: int = 0
    """Replies that are being drawn under it."""
    drew: int = 0
    """Replies that were drawn under it since it was opened."""
    warm: bool = False
    """Whether its cache is kept."""


@dataclass(frozen=True)
class Drawn:
    """One reply, in the order they were asked for."""

    before: tuple[Message, ...]
    """What was said since the reply before it."""
    text: str
    calls: tuple[Call | Broken, ...]


@dataclass(eq=False)
class Talk:
    """Everything that one rollout is asked."""

    task: Task
    actor: Handle
    place: str
    """The group's: root of the noise."""
    number: int
    """The rollout's own, in its group."""
    turns: int
    """Replies at most."""
    max_tokens: int
    """Of a reply."""
    limit: int
    """Tokens of a row."""
    rows: int
    """That stay warm."""
    sampling: Sampling
    stop: tuple[str, ...]
    calls: Calls | None
    lines: list[Line] = field(default_factory=list[Line])
    """Rows in the order in which they were opened."""
    drawn: dict[int, Drawn] = field(default_factory=dict[int, Drawn])
    """Replies, by the order in which they were asked for."""
    ended: Stop | None = None
    """Why a reply was refused that the program had to do without: no turn was left, or its row had no room."""
    at_once: int = 0
    """The most replies that were asked for at one time."""
    failure: BaseException | None = None
    """What went wrong on our side."""

    def __post_init__(self) -> None:
        self._known: dict[str, tuple[Line, tuple[int, ...]]] = {}
        """Where a conversation stands that ends in a reply: its row, and the reply's path."""
        self._replies: dict[str, asyncio.Task[dict[str, Any]]] = {}
        self._ordinals: dict[int, str] = {}
        self._cold = asyncio.Condition()
        self._busy = self._taken = self._number = 0

    async def answer(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """A chat completion, drawn once for the same messages and tools. Whoever leaves before it is there finds it when they ask again."""
        try:
            said, offered = messages(asked), tools(asked)
            most = allowed(asked, self.sampling, self.stop, self.max_tokens)
            if offered and self.calls is None:
                raise Refused("tools are not read here: give the sampler a way to write calls, calls=Hermes()", "tools")
            keys = chain(said, offered)
            if keys[-1] not in self._replies:
                self._replies[keys[-1]] = asyncio.ensure_future(self._asked(said, offered, keys, most))
            task = self._replies[keys[-1]]
            try:
                return await asyncio.shield(task)
            except Refused:  # who asks again is told again
                self._replies.pop(keys[-1], None)
                raise
        except (Refused, asyncio.CancelledError):
            raise
        except Exception as error:
            self.failure = self.failure or error
            raise Refused("the actor cannot draw: look at what strop says", "server_error", 500) from error

    async def over(self) -> None:
        """Wait for what is still drawn; nobody asks any more."""
        await asyncio.gather(*self._replies.values(), return_exceptions=True)

    async def cut(self) -> None:
        """Leave what is still drawn: nobody will read it."""
        for task in self._replies.values():
            task.cancel()
        await self.over()

    def row_list(self) -> tuple[Row, ...]:
        """What was drawn, a row for each line, in the order in which they were opened."""
        return once([line.end.row() for line in self.lines if line.drew])

    # ---- one reply

    async def _asked(self, said: tuple[Message, ...], offered: tuple[Tool, ...], keys: list[str], most: int) -> dict[str, Any]:
        if self._taken >= self.turns:
            self.ended = self.ended or "turns"
            raise Refused(f"the rollout has {self.turns} replies, and they are drawn. Raise the sampler's turns.", "turns")
        self._taken, self._busy, self._number = self._taken + 1, self._busy + 1, self._number + 1
        number, line, node = self._number, None, None
        keep = self._taken < self.turns
        self.at_once = max(self.at_once, self._busy)
        try:
            line, node, since = await self._stands(said, offered, keys)
            if node.length + most > self.limit:
                self.ended = self.ended or "length"
                why = f"This model's maximum context length is {self.limit} tokens: {node.length} of the messages and {most} of the reply."
                raise Refused(why, "context_length_exceeded")
            await self._warmed(line)
            node = line.end = await self.actor.generate(node, max=most, stop=self.stop, sampling=self.sampling, keep=keep)
            line.drew += 1
            answer, self.drawn[number] = self._told(line, said, since, offered, keys[-1])
            return answer
        except Refused:
            self._taken -= 1
            raise
        finally:
            self._busy -= 1
            node = None
            if line is not None:
                line.busy -= 1
            async with self._cold:
                self._cold.notify_all()

    async def _stands(self, said: tuple[Message, ...], offered: tuple[Tool, ...], keys: list[str]) -> tuple[Line, Node, int]:
        """The line of a conversation, busy from now on; the node that its reply is drawn under; how many messages stood there before."""
        handle = self._told_of(offered)
        for since in range(len(said) - 1, 0, -1):
            found = self._known.get(keys[since])
            if found is None or any(one.role == "assistant" for one in said[since:]):
                continue
            line, path = found
            reply = next(node for node in line.end.line() if node.path == path)
            tokens = self._spoken(self._turns, handle, said[since:])
            if reply is not line.end or line.busy:  # somebody went on from here: this is another way
                line = self._opened(bare(reply))
                reply = line.end
            line.busy += 1
            return line, await self.actor.engine.extend(reply, tokens, kind="observation"), since
        tokens = self._spoken(self._opening, handle, said, offered)
        root = await self.actor.engine.open(tokens, root=self.place, ordinal=self._ordinal(said, keys[-1]))
        root.children[0] = self.number  # siblings that open alike draw apart
        line = self._opened(root)
        line.busy += 1
        return line, root, 0

    def _opened(self, end: Node) -> Line:
        self.lines.append(Line(end))
        return self.lines[-1]

    def _ordinal(self, said: tuple[Message, ...], key: str) -> int:
        own = said == (Message("user", self.task.prompt),) and self._ordinals.setdefault(0, key) == key
        return 0 if own else int(key[:LETTERS], 16)

    async def _warmed(self, line: Line) -> None:
        """Room for its cache: of those that nobody draws under, the one that was opened first gives way."""
        async with self._cold:
            while not line.warm:
                others = [one for one in self.lines if one.warm]
                if len(others) < self.rows:
                    line.warm = True
                elif (idle := next((one for one in others if not one.busy), None)) is not None:
                    idle.warm, idle.end = False, bare(idle.end)
                else:
                    await self._cold.wait()

    def _told(self, line: Line, said: tuple[Message, ...], since: int, offered: tuple[Tool, ...], key: str) -> tuple[dict[str, Any], Drawn]:
        """The completion, and what is kept of it. From here on the conversation is known."""
        node, text = line.end, self.actor.text(line.end)
        read = self._read(text, offered)
        content, made = text, list[tuple[str, str]]()
        if self.calls is not None and read and not any(isinstance(one, Broken) for one in read):  # calls that are none stay what was said
            made = [(one.tool, json.dumps(dict(one.arguments), ensure_ascii=False)) for one in read if isinstance(one, Call)]
            content = besides(text, self.calls, offered)
        reply = Message("assistant", content, tuple(made))
        self._known[digest([key, reply.plain])] = (line, node.path)
        message: dict[str, Any] = {"role": "assistant", "content": content}
        if made:
            message["tool_calls"] = [
                {"id": f"call_{key[:16]}_{i}", "type": "function", "function": {"name": name, "arguments": arguments}}
                for i, (name, arguments) in enumerate(made)
            ]
        why = "tool_calls" if made else "length" if node.stop == "length" else "stop"
        wrote = len(node.written)
        answer = {
            "id": f"chatcmpl-{key[:24]}",
            "object": "chat.completion",
            "created": 0,
            "model": MODEL,
            "choices": [{"index": 0, "message": message, "finish_reason": why, "logprobs": None}],
            "usage": {"prompt_tokens": node.length - wrote, "completion_tokens": wrote, "total_tokens": node.length},
        }
        return answer, Drawn(said[since:] if since else (), text, read)

    def _read(self, text: str, offered: tuple[Tool, ...]) -> tuple[Call | Broken, ...]:
        try:
            return self.calls.read(text, offered) if self.calls is not None and offered else ()
        except Exception as error:  # schemas are somebody else's, and may refer to nowhere
            return (Broken(f"nobody can say whether it is a call: {type(error).__name__}"),)

    # ---- how it is written

    def _told_of(self, offered: tuple[Tool, ...]) -> Handle:
        through = getattr(self.calls, "through", None)
        return self._spoken(through, self.actor, offered) if through is not None and offered else self.actor

    def _spoken(self, write: Callable[..., T], *what: Any) -> T:
        """What the template refuses to write is the program's to know."""
        try:
            return write(*what)
        except ValueError as error:
            raise Refused(f"the conversation cannot be written: {error}", "conversation") from error

    def _parts(self, said: Sequence[Message]) -> list[tuple[str, str]]:
        """Roles and texts as a template gets them. Where a template is not told of tools, what they answer is said by the user, a line
        each."""
        native, parts = hasattr(self.calls, "through"), list[tuple[str, str]]()
        for before, one in zip((None, *said), said, strict=False):
            text = "\n".join((*([one.text] if one.text or not one.calls else []), *(self._raw(*call) for call in one.calls)))
            if one.role == "tool" and not native:
                if before is not None and before.role == "tool":
                    parts[-1] = ("user", f"{parts[-1][1]}\n{text}")
                else:
                    parts.append(("user", text))
            else:
                parts.append((one.role, text))
        return parts

    def _raw(self, name: str, arguments: str) -> str:
        """A call as the policy would have written it."""
        if (raw := getattr(self.calls, "raw", None)) is not None:
            return raw(name, arguments)
        try:
            given = json.loads(arguments)
        except (ValueError, RecursionError):
            given = None
        if self.calls is None or not isinstance(given, dict):
            raise Refused(f"the call of {name[:40]!r} cannot be written", "tools")
        return self.calls.written(Call(name, cast("dict[str, Any]", given)))

    def _opening(self, handle: Handle, said: tuple[Message, ...], offered: tuple[Tool, ...]) -> tuple[int, ...]:
        parts = self._parts(said)
        if self.calls is not None and offered and (told := self.calls.shown(offered)):
            parts[0] = (parts[0][0], f"{told}\n{parts[0][1]}")
        if (whole := getattr(handle.renderer, "conversation", None)) is not None:
            return whole(parts)
        roles, texts = zip(*parts, strict=True)
        if any(role != ("user", "assistant")[i % 2] for i, role in enumerate(roles)):
            raise ValueError(f"this policy's prompts are written of a user and an assistant in turn, and this is {', '.join(roles)}")
        return handle.renderer.prompt(*texts)

    def _turns(self, handle: Handle, said: tuple[Message, ...]) -> tuple[int, ...]:
        parts = self._parts(said)
        if (turns := getattr(handle.renderer, "turns", None)) is not None:
            return turns(parts)
        if [role for role, _ in parts] != ["user"]:
            raise ValueError("this policy's replies are followed by one message of a user")
        return handle.renderer.turn(parts[0][1])


def chain(said: Sequence[Message], offered: Sequence[Tool]) -> list[str]:
    """A digest of every beginning of a conversation, by the number of its messages."""
    keys = [digest([[tool.name, tool.description, dict(tool.schema)] for tool in offered])]
    for one in said:
        keys.append(digest([keys[-1], one.plain]))
    return keys


def bare(node: Node) -> Node:
    """The same text as nodes of their own, which nothing is cached for. Ordinals go on being counted together."""
    made: Node | None = None
    for one in node.line():
        made = Node(one.segment, made, one.path, one.root, one.version, one.stop, one.length, one.children)
    assert made is not None
    return made


def besides(text: str, calls: Calls, offered: Sequence[Tool]) -> str:
    """What is said before the first call: what a format's opening word stands behind, else whole lines."""
    if opens := getattr(getattr(calls, "form", calls), "opens", ""):
        return text.partition(opens)[0].strip()
    lines = text.splitlines(keepends=True)
    first = next(i for i in range(len(lines)) if i + 1 == len(lines) or calls.read("".join(lines[: i + 1]), offered))
    return "".join(lines[:first]).strip()
