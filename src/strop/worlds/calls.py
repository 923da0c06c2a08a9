"""calls: how a policy writes that it calls a tool, shown to it and read off what it says.

    Hermes()   <tool_call>{"name": "get", "arguments": {"key": "a"}}</tool_call>
    Xml()      <function=get><parameter=key>a</parameter></function>
    Fenced()   ```tool
               {"name": "get", "arguments": {"key": "a"}}
               ```
    Code()     ```python                                       the one text that a tool takes, as it stands
               print(1)
               ```
    Line()     >get a                                          for models of a million parameters
    Native()   as Hermes() is read, and told and answered as the model's own chat template does

A call is read as it stands or not at all: nothing is repaired, closed or guessed, and what is meant to be one and is none is `Broken`,
with a reason that the policy may read. Arguments keep to the tool's schema (jsonschema), plain JSON without NaN, equal keys or halves of
characters. What stands in a thought (before `</think>`) is no call.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar, cast

from strop.records import canonical, unique
from strop.seams.context import Handle
from strop.seams.part import nearest
from strop.seams.world import Broken, Call, Tool

MOST = 16
"""Calls of one action that are read."""
LONGEST = 1 << 16
"""Characters of one call."""


class Unread(ValueError):
    """Why a text is no call, and the tool that it names nevertheless."""

    def __init__(self, why: str, tool: str = ""):
        super().__init__(why)
        self.tool = tool


def plain(text: str) -> Any:
    """A JSON value, strictly.

    >>> plain('{"a": 1, "a": 2}')
    Traceback (most recent call last):
    strop.worlds.calls.Unread: no JSON: it has two fields 'a'
    """
    if len(text) > LONGEST:
        raise Unread(f"longer than {LONGEST} characters")
    try:
        value = json.loads(text, object_pairs_hook=unique, parse_constant=_constant)
        canonical(value).encode()
    except Unread:
        raise
    except RecursionError:
        raise Unread("nested too deeply") from None
    except UnicodeEncodeError:
        raise Unread("half a character") from None
    except ValueError as error:
        raise Unread(f"no JSON: {str(error)[:80]}") from None
    return value


def _constant(name: str) -> Any:
    raise Unread(f"{name} is no number in JSON")


def _argument(text: str, tool: str) -> Any:
    """A JSON value that is given to a tool."""
    try:
        return plain(text)
    except Unread as why:
        raise Unread(str(why), tool) from None


def checked(name: Any, arguments: Any, tools: Sequence[Tool]) -> Call:
    """A call of one of these tools, with arguments as its schema asks for."""
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise Unread("a call has a name and an object of arguments")
    known = {tool.name: tool for tool in tools}
    if name not in known:
        raise Unread(f"there is no tool {name[:40]!r}. {nearest(name[:40], known)}" if known else f"there is no tool {name[:40]!r}")
    if why := _validator(canonical(dict(known[name].schema)))(cast("dict[str, Any]", arguments)):
        raise Unread(f"{name}: {why}", name)
    return Call(name, cast("dict[str, Any]", arguments))


def unsound(schema: Mapping[str, Any]) -> str:
    """Why nothing can be checked by this schema, which may be a stranger's; empty where it can.

    >>> unsound({"properties": {"a": {"$ref": "http://elsewhere/a"}}})
    "it points elsewhere: 'http://elsewhere/a'"
    """
    waiting: list[Any] = [schema]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Mapping):
            there = cast("Mapping[str, Any]", one)
            if isinstance(to := there.get("$ref"), str) and not to.startswith("#"):
                return f"it points elsewhere: {to[:80]!r}"
            waiting += there.values()
        elif isinstance(one, list):
            waiting += cast("list[Any]", one)
    from jsonschema.exceptions import SchemaError

    try:
        _validator(canonical(dict(schema)))({})
    except SchemaError as error:
        return error.message[:120]
    except Exception as error:  # whatever a checker meets in what is none: a reference into nothing, a circle
        return f"{type(error).__name__}: {error!s:.120}"
    return ""


@lru_cache(4096)
def _validator(schema: str) -> Callable[[Mapping[str, Any]], str]:
    from jsonschema import Draft202012Validator

    asked = json.loads(schema)
    Draft202012Validator.check_schema(asked)
    validator = Draft202012Validator({"type": "object", **asked})

    def why(arguments: Mapping[str, Any]) -> str:
        error = next(iter(sorted(validator.iter_errors(arguments), key=lambda e: list(map(str, e.absolute_path)))), None)
        where = "/".join(map(str, error.absolute_path)) if error is not None else ""
        return "" if error is None else (f"{where}: " if where else "") + error.message[:120]

    return why


def behind_thought(text: str) -> str:
    """What is said: behind the last closed thought, and nothing of one that was never closed.

    >>> behind_thought("<think>a</think>b"), behind_thought("<think>a"), behind_thought("b")
    ('b', '', 'b')
    """
    said = text.rpartition("</think>")[2]
    return said.partition("<think>")[0]


def each(texts: Sequence[str], read: Callable[[str], Call]) -> tuple[Call | Broken, ...]:
    """Every text as the call that it is or is not."""
    made = list[Call | Broken]()
    for text in texts[:MOST]:
        try:
            made.append(read(text))
        except Unread as why:
            made.append(Broken(str(why), why.tool))
    return (*made, Broken(f"more than {MOST} calls at once")) if len(texts) > MOST else tuple(made)


def between(text: str, opening: str, closing: str) -> list[str]:
    """What stands between each opening and the closing behind it; one that is opened and never closed, or opened again first, is empty.

    >>> between("<a>1</a> <a>2 <a>3</a>", "<a>", "</a>")
    ['1', '', '3']
    """
    _, *rest = text.split(opening)
    return [inside if closed else "" for inside, closed, _ in (piece.partition(closing) for piece in rest)]


def described(tools: Sequence[Tool]) -> str:
    """A line of JSON each, as functions are told to models."""
    return "\n".join(json.dumps(function(tool), ensure_ascii=False) for tool in tools)


def function(tool: Tool) -> dict[str, Any]:
    """A tool as chat templates and endpoints are told of it."""
    schema = {"type": "object", "properties": {}, **tool.schema}
    return {"type": "function", "function": {"name": tool.name, "description": tool.description, "parameters": schema}}


def named(text: str, tools: Sequence[Tool]) -> Call:
    """An object with `name` and `arguments`, and nothing else."""
    if not text:
        raise Unread("opened and not closed")
    value = plain(text.strip())
    if not isinstance(value, dict) or cast("dict[str, Any]", value).keys() - {"name", "arguments"}:
        raise Unread("a call is an object with name and arguments, and nothing else")
    return checked(value.get("name"), value.get("arguments", {}), tools)


@dataclass(frozen=True)
class Hermes:
    """JSON between `<tool_call>` and `</tool_call>`, as Qwen and Hermes are taught."""

    opens: ClassVar[str] = "<tool_call>"
    closes: ClassVar[str] = "</tool_call>"

    def shown(self, tools: Sequence[Tool]) -> str:
        return (
            f"You may call these functions:\n<tools>\n{described(tools)}\n</tools>\nFor each call write\n"
            f'{self.opens}\n{{"name": NAME, "arguments": OBJECT}}\n{self.closes}'
        )

    def around(self, inside: str) -> str:
        """A call with this between its marks."""
        return f"{self.opens}\n{inside}\n{self.closes}"

    def inside(self, text: str) -> list[str]:
        """What stands between its marks."""
        return between(text, self.opens, self.closes)

    def written(self, call: Call) -> str:
        """A call as this format writes it."""
        return self.around(json.dumps({"name": call.tool, "arguments": dict(call.arguments)}, ensure_ascii=False))

    def read(self, text: str, tools: Sequence[Tool]) -> tuple[Call | Broken, ...]:
        return each(self.inside(behind_thought(text)), lambda inside: named(inside, tools))


@dataclass(frozen=True)
class Fenced:
    """JSON in a fenced block."""

    word: str = "tool"
    """What stands behind the opening fence."""

    def shown(self, tools: Sequence[Tool]) -> str:
        form = '{"name": NAME, "arguments": OBJECT}'
        return f"You may call these functions:\n{described(tools)}\nFor each call write\n```{self.word}\n{form}\n```"

    def around(self, inside: str) -> str:
        """A call with this between its marks."""
        return f"```{self.word}\n{inside}\n```"

    @property
    def opens(self) -> str:
        return f"```{self.word}\n"

    def inside(self, text: str) -> list[str]:
        """What stands between its marks."""
        return between(text, self.opens, "```")

    def written(self, call: Call) -> str:
        """A call as this format writes it."""
        return self.around(json.dumps({"name": call.tool, "arguments": dict(call.arguments)}, ensure_ascii=False))

    def read(self, text: str, tools: Sequence[Tool]) -> tuple[Call | Broken, ...]:
        return each(self.inside(behind_thought(text)), lambda inside: named(inside, tools))


@dataclass(frozen=True)
class Code:
    """Code in a fenced block, as it stands: a call of the tool that takes one text and is called as the fence says."""

    word: str = "python"
    """What stands behind the opening fence, and the tool's name."""

    def shown(self, tools: Sequence[Tool]) -> str:
        said = next((tool.description for tool in tools if tool.name == self.word), "")
        return f"{said}\n```{self.word}\nCODE\n```".lstrip("\n")

    def written(self, call: Call) -> str:
        """A call as this format writes it."""
        return f"```{call.tool}\n{next(iter(call.arguments.values()), '')}\n```"

    def read(self, text: str, tools: Sequence[Tool]) -> tuple[Call | Broken, ...]:
        return each(between(behind_thought(text), f"```{self.word}\n", "\n```"), lambda inside: self._call(inside, tools))

    def _call(self, inside: str, tools: Sequence[Tool]) -> Call:
        if not inside:
            raise Unread("opened and not closed")
        key = next((next(iter(tool.schema.get("properties", {})), "") for tool in tools if tool.name == self.word), "")
        return checked(self.word, {key: inside}, tools)


FUNCTION = re.compile(r"\s*([A-Za-z_][\w.-]{0,63})>\s*")
PARAMETER = re.compile(r"<parameter=([A-Za-z_][\w.-]{0,63})>\n?(.*?)\n?</parameter>\s*", re.DOTALL)


@dataclass(frozen=True)
class Xml:
    """`<function=NAME>` with a `<parameter=KEY>` for each argument, as Qwen's coders are taught. What the schema calls a string is taken
    as it stands, everything else is JSON."""

    def shown(self, tools: Sequence[Tool]) -> str:
        return (
            f"You may call these functions:\n{described(tools)}\nFor each call write\n"
            "<function=NAME>\n<parameter=KEY>\nVALUE\n</parameter>\n</function>"
        )

    def written(self, call: Call) -> str:
        """A call as this format writes it."""
        said = (
            f"<parameter={name}>\n{value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}\n</parameter>\n"
            for name, value in call.arguments.items()
        )
        return f"<function={call.tool}>\n{''.join(said)}</function>"

    def read(self, text: str, tools: Sequence[Tool]) -> tuple[Call | Broken, ...]:
        return each(between(behind_thought(text), "<function=", "</function>"), lambda inside: self._call(inside, tools))

    def _call(self, inside: str, tools: Sequence[Tool]) -> Call:
        if not inside:
            raise Unread("opened and not closed")
        if len(inside) > LONGEST or not (head := FUNCTION.match(inside)):
            raise Unread("a call is <function=NAME>, its parameters, and </function>")
        schema = next((tool.schema for tool in tools if tool.name == head[1]), {})
        at, arguments, kinds = head.end(), dict[str, Any](), cast("dict[str, Any]", schema.get("properties", {}))
        while at < len(inside):
            found = PARAMETER.match(inside, at)
            if found is None:
                raise Unread("between its parameters stands something else")
            name, value = found[1], found[2]
            if name in arguments:
                raise Unread(f"the parameter {name!r} stands there twice")
            arguments[name] = value if kinds.get(name, {}).get("type") == "string" else _argument(value, head[1] if kinds else "")
            at = found.end()
        return checked(head[1], arguments, tools)


@dataclass(frozen=True)
class Line:
    """A line that begins with a mark: the tool's name and its arguments, with spaces between, in the order of its schema. The last one
    takes the rest of the line."""

    mark: str = ">"
    """What such a line begins with."""

    def shown(self, tools: Sequence[Tool]) -> str:
        return "\n".join(f"{self.mark}{tool.name} {' '.join(tool.schema.get('properties', {}))}".rstrip() for tool in tools)

    def written(self, call: Call) -> str:
        """A call as this format writes it."""
        return f"{self.mark}{' '.join((call.tool, *(v if isinstance(v, str) else json.dumps(v) for v in call.arguments.values())))}"

    def read(self, text: str, tools: Sequence[Tool]) -> tuple[Call | Broken, ...]:
        lines = [line[len(self.mark) :] for line in behind_thought(text).split("\n") if line.startswith(self.mark)]
        return each(lines, lambda line: self._call(line, tools))

    def _call(self, line: str, tools: Sequence[Tool]) -> Call:
        name, _, rest = line.partition(" ")
        kinds = cast("dict[str, Any]", next((tool.schema for tool in tools if tool.name == name), {}).get("properties", {}))
        given = rest.split(" ", len(kinds) - 1) if rest and kinds else [rest] if rest else []
        if len(given) > len(kinds):
            if name in {tool.name for tool in tools}:
                raise Unread(f"{name[:40]} takes no argument", name)
            raise Unread(f"there is no tool {name[:40]!r}")
        said = zip(kinds.items(), given, strict=False)
        there = name if kinds else ""
        return checked(name, {key: text if kind.get("type") == "string" else _argument(text, there) for (key, kind), text in said}, tools)


@dataclass(frozen=True)
class Native:
    """Tools are told through the model's own chat template and answers given in the tool's role, or through the fields that an endpoint has
    for both. What is called is read as `form` says."""

    form: Hermes | Fenced = Hermes()
    """How this model's template writes calls: Hermes, for all of Qwen's."""

    def shown(self, tools: Sequence[Tool]) -> str:
        return ""

    def through(self, handle: Handle, tools: Sequence[Tool]) -> Handle:
        """A policy that is told of these tools before everything else."""
        told = [function(tool) for tool in tools]
        if (telling := getattr(handle.engine, "telling", None)) is not None:  # an endpoint writes the chat itself
            return replace(handle, engine=telling(told, self))
        if (telling := getattr(handle.renderer, "telling", None)) is None:
            raise ValueError(f"{type(handle.renderer).__name__} has no way to tell of tools but in the question: --calls hermes")
        return replace(handle, renderer=telling(told))

    def raw(self, name: str, arguments: str) -> str:
        """A call as an endpoint gives it, whatever its arguments are: who reads it finds what is wrong with them."""
        return self.form.around(f'{{"name": {json.dumps(name, ensure_ascii=False)}, "arguments": {arguments}}}')

    def split(self, text: str) -> tuple[str, list[tuple[str, str]]]:
        """What is said besides, and the calls as an endpoint takes them; one that is none is said besides."""
        calls = list[tuple[str, str]]()
        for inside in self.form.inside(text):
            try:
                value = plain(inside.strip())
                name, arguments = value["name"], value["arguments"]
            except (Unread, KeyError, TypeError):
                return text, []
            if not isinstance(name, str) or not isinstance(arguments, dict):
                return text, []
            calls.append((name, json.dumps(arguments, ensure_ascii=False)))
        return (text.partition(self.form.opens)[0].strip(), calls) if calls else (text, [])

    def written(self, call: Call) -> str:
        """A call as this format writes it."""
        return self.form.written(call)

    def read(self, text: str, tools: Sequence[Tool]) -> tuple[Call | Broken, ...]:
        return self.form.read(text, tools)


FORMATS: dict[str, type[Line | Hermes | Xml | Fenced | Code | Native]] = {
    "line": Line,
    "hermes": Hermes,
    "xml": Xml,
    "fenced": Fenced,
    "code": Code,
    "native": Native,
}
"""By the names that the command line has for them."""


def format_of(name: str) -> Line | Hermes | Xml | Fenced | Code | Native:
    """One of them, by its name."""
    if name not in FORMATS:
        raise ValueError(f"no way to write calls {name!r}. {nearest(name, FORMATS)}")
    return FORMATS[name]()
