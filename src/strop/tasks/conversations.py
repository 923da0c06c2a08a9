"""Rows with `messages`: conversations and episodes of other people, or of a run's own, to be imitated.

    {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}, …]}

Roles are `system`, `user`, `assistant` and `tool`; an assistant's message may have `tool_calls`, and a row `tools`, both as OpenAI's chat
completions write them. What stands before the first reply is the task, what stands between two replies is what the world answered, so a row
is an episode: `Demos(text="episode")` teaches it through any window and any way to write calls, and every reply is learned.

A system message stands above the first message of the user, and which side a row is on is decided by the user's question alone. What comes
behind the last reply was answered by nobody and is left out; a row of more tokens than the model takes is left out too, and counted, where
its window forgets nothing.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from strop.records import Task, canonical
from strop.seams.context import Handle
from strop.seams.source import Graded
from strop.seams.world import Broken, Call, Called, Reply, Said, Seat, Tool
from strop.tasks.table import Table, alike
from strop.worlds.calls import Unread, plain, unsound

ROLES = ("system", "developer", "user", "assistant", "tool")
UNREAD = ("weight", "reasoning_content", "thinking", "function_call", "audio", "refusal")
"""Fields of a reply that would change what is learned of it."""


@dataclass(frozen=True)
class Transcript:
    """A world that answers what was answered then, whatever is said now. It is over where the conversation was."""

    def tools(self, task: Task) -> Sequence[Tool]:
        return [Tool(one["name"], one["description"], one["schema"]) for one in task.needs["tools"]]

    def start(self, task: Task, seat: Seat) -> Any:
        return {"heard": task.needs["heard"], "turn": 0}

    async def reply(self, state: Any, said: Said, ask: Mapping[str, Handle]) -> tuple[Any, Reply]:
        turn, heard = state["turn"], state["heard"]
        calls = tuple(Called("", False, one.why) if isinstance(one, Broken) else Called(one.tool, True) for one in said.calls)
        over = turn >= len(heard)
        return {**state, "turn": turn + 1}, Reply("" if over else heard[turn], done=over, calls=calls)


class Conversations(Table):
    """Rows of a file as episodes. Nobody grades them."""

    world = Transcript()
    ungraded = True

    def _tasks(self, rows: Iterable[Any], label: str) -> tuple[int, list[Task]]:
        found: dict[str, Task] = {}
        given = [*alike(rows, label, holds_messages, "field 'messages'")]
        for number, where, values in given:
            question, prompt, needs = read(values, where)
            task = self._made(question, prompt, needs, number, label)
            found.setdefault(task.id, task)
        if not given:
            raise ValueError(f"{label} has no rows")
        return len(given), [*found.values()]

    def whole(self, length: Callable[[str], int], most: int) -> Conversations:
        """Without the rows of more than `most` tokens with all that is said and heard in them: for a window that forgets nothing."""
        fits = copy.copy(self)
        fits.left_out, fits.splits = dict(self.left_out), {}
        for split, tasks in self.splits.items():
            kept = [task for task in tasks if length("\n".join(_all_of(task))) <= most]
            fits.splits[split] = kept
            fits._leave_out(f"have more than {most} tokens with all their replies", len(tasks) - len(kept))
        fits._count()
        if self.size and not fits.size:
            raise ValueError(f"{self.label}: every training row has more than {most} tokens with all its replies: --window recent")
        return fits

    def episode(self, task: Task) -> list[tuple[str | Call, ...]]:
        """What the assistant said and called, turn by turn."""
        return [
            tuple(part if isinstance(part, str) else Call(part["tool"], part["arguments"]) for part in turn) for turn in task.needs["said"]
        ]

    def gold(self, task: Task) -> str | None:
        """The reply, where there is one and it calls nothing."""
        (turn, *more) = task.needs["said"]
        return turn[0] if not more and len(turn) == 1 and isinstance(turn[0], str) else None

    def example(self, task: Task) -> str:
        if (text := self.gold(task)) is None:
            raise ValueError(
                f"row {task.meta['row']} of {task.meta['file']} has several replies, or calls: it is learned as an episode. "
                "strop train --method sft-messages"
            )
        return text

    def grade_many(self, pairs: Sequence[tuple[Task, str]]) -> list[Graded]:
        return [Graded({"outcome": None}) for _ in pairs]


def holds_messages(row: Any) -> bool:
    """Does a row hold a conversation?"""
    return isinstance(row, Mapping) and "messages" in row


def _all_of(task: Task) -> Iterator[str]:
    """All texts that a row shows or says."""
    yield task.prompt
    yield from (canonical(tool) for tool in task.needs["tools"])
    yield from task.needs["heard"]
    yield from (part if isinstance(part, str) else canonical(part) for turn in task.needs["said"] for part in turn)


def read(row: Mapping[str, Any], where: str) -> tuple[str, str, dict[str, Any]]:
    """(question, prompt, needs) of a row: what the user asked, alone and with what the system says; what is said and called turn by turn,
    what is heard between, and the tools there were."""
    messages = row["messages"]
    if not isinstance(messages, list) or not messages:
        raise ValueError(f"{where}: 'messages' is a list of messages, got {messages!r:.60}")
    before, asked, said, heard = list[str](), list[str](), list[list[Any]](), list[list[str]]()
    for place, message in enumerate(cast("list[Any]", messages), start=1):
        role, parts = _message(message, f"{where}: message {place}")
        if role == "assistant":
            if not any(before):
                raise ValueError(f"{where}: message {place} is a reply, and nothing was asked before it")
            if len(said) > len(heard):
                raise ValueError(f"{where}: message {place} is a second reply in a row. Write both as one, or what was said between them.")
            said.append(parts)
        elif not said:
            before += parts
            asked += parts if role not in ("system", "developer") else []
        elif role in ("system", "developer"):
            raise ValueError(f"{where}: message {place} is the system's; it stands before the first reply")
        elif len(heard) < len(said):
            heard.append(parts)
        else:
            heard[-1] += parts
    if not said:
        raise ValueError(f"{where} holds no reply of the assistant, so there is nothing to learn")
    answers = ["\n".join(parts) for parts in heard[: len(said) - 1]]
    return "\n".join(asked or before), "\n".join(before), {"said": said, "heard": answers, "tools": _tools(row.get("tools"), where)}


def _message(message: Any, where: str) -> tuple[str, list[Any]]:
    """Whose it is, and what it holds: a text and calls."""
    if not isinstance(message, Mapping) or message.get("role") not in ROLES:
        raise ValueError(f"{where} has a role, one of {', '.join(ROLES)}, and a content; got {message!r:.60}")
    held = cast("Mapping[str, Any]", message)
    parts: list[Any] = [text] if (text := _text(held.get("content"), where)) else []
    if held["role"] != "assistant":
        return held["role"], parts
    if other := next((name for name in UNREAD if held.get(name) not in (None, "", 1)), None):
        raise ValueError(f"{where} has {other!r}, which is not read. Leave it out, or write it into the content.")
    parts += [_call(call, where) for call in _listed(held.get("tool_calls"), f"{where}: 'tool_calls'")]
    if not parts:
        raise ValueError(f"{where} says nothing")
    return held["role"], parts


def _listed(value: Any, what: str) -> list[Any]:
    if value is not None and not isinstance(value, list):
        raise ValueError(f"{what} is a list, got {value!r:.60}")
    return cast("list[Any]", value or [])


def _text(content: Any, where: str) -> str:
    """A text, or pieces of text as chat completions have them."""
    if isinstance(content, list):
        pieces = cast("list[Any]", content)
        if any(not isinstance(one, Mapping) or not isinstance(one.get("text"), str) for one in pieces):
            raise ValueError(f"{where} holds what is no text (a picture, a sound): texts alone are learned from")
        content = "".join(one["text"] for one in pieces)
    if content is None:
        return ""
    if not isinstance(content, str):
        raise ValueError(f"{where}: its content is a text, got {content!r:.60}")
    try:
        content.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{where} holds {error.object[error.start]!r}, half a character, which no tokenizer reads") from None
    return content


def _call(call: Any, where: str) -> dict[str, Any]:
    """One of `tool_calls`."""
    function = cast("Any", call).get("function") if isinstance(call, Mapping) else None
    name, arguments = (function.get("name"), function.get("arguments")) if isinstance(function, Mapping) else (None, None)
    try:
        arguments = plain(arguments) if isinstance(arguments, str) else plain(json.dumps(arguments))
    except (Unread, ValueError, TypeError) as why:
        raise ValueError(f"{where}: the arguments of the call {name!r:.40} are {why}") from None
    if not isinstance(name, str) or not _text(name, where) or not isinstance(arguments, dict):
        raise ValueError(f"{where}: a call is {{'function': {{'name': …, 'arguments': an object, or one as text}}}}, got {call!r:.60}")
    return {"tool": name, "arguments": arguments}


def _tools(tools: Any, where: str) -> list[dict[str, Any]]:
    """A row's `tools`."""
    made = list[dict[str, Any]]()
    if isinstance(tools, str):  # as some sets store them
        try:
            tools = plain(tools)
        except Unread as why:
            raise ValueError(f"{where}: 'tools' is {why}") from None
    for one in _listed(tools, f"{where}: 'tools'"):
        function = cast("Any", one).get("function") if isinstance(one, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise ValueError(
                f"{where}: one of 'tools' is {{'function': {{'name': …, 'description': …, 'parameters': …}}}}, got {one!r:.60}"
            )
        tool = cast("Mapping[str, Any]", function)
        schema = tool.get("parameters") or {}
        if why := "it is no object" if not isinstance(schema, Mapping) else unsound(schema):
            raise ValueError(f"{where}: nothing can be checked by the parameters of the tool {tool['name']!r}: {why}")
        name, says = (_text(tool.get(field) or "", f"{where}: 'tools'") for field in ("name", "description"))
        made.append({"name": name, "description": says, "schema": dict(schema)})
    return made
