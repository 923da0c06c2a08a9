"""servers: eight small servers of tools that feed each other, over one database; beside them others that look alike and hold nothing of it.

    bank_find branch m   ->   q          bank_get q   ->   m 7 d          folk_get d   ->   k 41 z         a turn without a call   ->   done

A shape of MCP-Bench (arXiv:2508.20453). What one tool answers another asks for, also on another server, so a task is a walk over tools with
a known graph: call j needs these fields of call i's answer. Tables, tools and what calls do are those of `database.py`. A distractor is the
mirror of one of the eight under another name, with the same verbs and fields and rows of its own; or, not `alike`, a domain whose every
name is new. Beside each turn stands what was called, what of it was in order, and what was answered: graders read that alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

from strop.records import Task, canonical
from strop.seams.context import Handle, keyed
from strop.seams.world import Broken, Call, Called, Reply, Said, Seat, Tool
from strop.worlds.database import Domain, Operation, Refused, applied, filled, form, made, replayed, shown


class Kind(NamedTuple):
    """What a server keeps."""

    table: str
    """Its one table."""
    text: str
    """A column of text, by which rows are found."""
    number: str
    """A column of a number, which is set."""
    under: str = ""
    """The table that a row leads to, another server's."""


SERVERS: dict[str, Kind] = {
    "maps": Kind("town", "label", "size"),
    "folk": Kind("person", "name", "age", "town"),
    "shelf": Kind("book", "title", "pages", "person"),
    "post": Kind("parcel", "stamp", "weight", "person"),
    "bank": Kind("account", "branch", "balance", "person"),
    "rail": Kind("train", "line", "hour", "town"),
    "inns": Kind("room", "view", "price", "town"),
    "shop": Kind("order", "ware", "amount", "parcel"),
}
"""In the order in which tables lead to each other."""
MIRRORS = {
    "atlas": "maps",
    "people": "folk",
    "library": "shelf",
    "mail": "post",
    "money": "bank",
    "coach": "rail",
    "hotel": "inns",
    "store": "shop",
    "globe": "maps",
    "staff": "folk",
}
"""Distractors that look alike, and of which server each is the mirror."""
OTHERS = tuple(f"other{number}" for number in range(10))
"""Distractors that share no name with a server."""


def tables(servers: Sequence[str]) -> tuple[tuple[str, tuple[tuple[str, str], ...]], ...]:
    """The tables of these servers, with all that they lead to."""
    kinds = {kind.table: kind for kind in SERVERS.values()}
    wanted = [SERVERS[name].table for name in servers]
    for table in wanted:
        if (under := kinds[table].under) and under not in wanted:
            wanted.append(under)
    return tuple((table, _columns(kind)) for table, kind in kinds.items() if table in wanted)


def _columns(kind: Kind) -> tuple[tuple[str, str], ...]:
    own = ((kind.text, "text"), (kind.number, "number"))
    return (*own, (kind.under, "key")) if kind.under else own


def operations(server: str, called: str = "") -> tuple[Operation, ...]:
    """The tools of a server, which is `called` so."""
    kind, name = SERVERS[server], called or server

    def tool(word: str, verb: str, *columns: str) -> Operation:
        return Operation(f"{name}_{word}", verb, kind.table, columns, f"{name}_{word}")

    held = [column for column, _ in _columns(kind)]
    of = [tool("of", "find", kind.under)] if kind.under else []
    return (tool("find", "find", kind.text), tool("get", "get"), *of, tool("set", "set", kind.number), tool("new", "new", *held))


@lru_cache(maxsize=1 << 10)
def domain_of(servers: tuple[str, ...], among: tuple[str, ...] = ()) -> Domain:
    """These servers as one domain; the tables of those that are `among` stand there too."""
    return Domain(tables(among or servers), tuple(tool for server in servers for tool in operations(server)))


@lru_cache(maxsize=64)
def distractor(name: str) -> Domain:
    """A server that no task needs."""
    if name in MIRRORS:
        return Domain(tables((MIRRORS[name],)), operations(MIRRORS[name], name))
    return made(keyed("servers", name), "train", tables=2, tools=5, letters=4)


@dataclass(frozen=True)
class Servers:
    """A task brings its servers, its distractors, its database, and the calls that do it."""

    def tools(self, task: Task) -> tuple[Tool, ...]:
        """Those of its servers and distractors, in an order of the task's own."""
        found = [tool for domain in domains(task.needs).values() for tool in domain.tools()]
        keyed("servers", "order", canonical(task.needs["gold"])).shuffle(found)
        return tuple(found)

    def start(self, task: Task, seat: Seat) -> dict[str, Any]:
        """`data` of each domain; `done` says of each of the task's own calls whether it was made, and `read` is what was answered."""
        rows = {name: filled(keyed("servers", "rows", name, canonical(task.needs["gold"])), domain) for name, domain in _beside(task.needs)}
        return {"needs": task.needs, "data": {"": task.needs["data"], **rows}, "done": [False] * len(task.needs["gold"]), "read": []}

    async def reply(self, state: dict[str, Any], said: Said, ask: Mapping[str, Handle]) -> tuple[dict[str, Any], Reply]:
        told, became, noted = list[str](), list[Called](), list[dict[str, Any]]()
        for one in said.calls:
            state, line, called, note = _broken(state, one) if isinstance(one, Broken) else _called(state, one)
            told.append(line)
            became.append(called)
            noted.append(note)
        facts = {"made": noted} if noted else {}
        over = not said.calls
        return state, Reply("\n".join(told), done=over, calls=tuple(became), facts=facts, scores=_scores(state, over))

    def expert(self, state: dict[str, Any]) -> str | Call:
        """The task's own calls, one after the other."""
        for (name, arguments), done in zip(state["needs"]["gold"], state["done"], strict=True):
            if not done:
                return Call(name, arguments)
        return "."


def domains(needs: Mapping[str, Any]) -> dict[str, Domain]:
    """The servers of a task as one domain, and each of its distractors."""
    return {"": domain_of(tuple(needs["servers"])), **dict(_beside(needs))}


def _beside(needs: Mapping[str, Any]) -> Iterator[tuple[str, Domain]]:
    return ((name, distractor(name)) for name in needs["distractors"])


def _scores(state: dict[str, Any], over: bool) -> dict[str, float]:
    """As things stand: all its own calls were made, and the database is as they leave it."""
    needs = state["needs"]
    domain, fresh = domain_of(tuple(needs["servers"])), needs["data"]["fresh"]
    ends = replayed(domain, needs["data"], needs["gold"]) if all(state["done"]) else None
    fine = float(ends is not None and form(domain, state["data"][""], fresh) == form(domain, ends, fresh))
    return {name: value for name, value in (("outcome", fine * over), ("lenient", fine), (needs.get("where"), fine * over)) if name}


def _broken(state: dict[str, Any], one: Broken) -> tuple[dict[str, Any], str, Called, dict[str, Any]]:
    note = {"tool": one.tool, "known": bool(one.tool), "fits": False, "ok": False, "given": {}, "told": {}}
    return state, f"error: {one.why}", Called("", False, one.why), note


def _called(state: dict[str, Any], call: Call) -> tuple[dict[str, Any], str, Called, dict[str, Any]]:
    """One call, in the domain whose tool it is. Of the task's own calls it is the first that is alike and was not made."""
    needs = state["needs"]
    held = (name for name, one in domains(needs).items() if call.tool in {tool.name for tool in one.operations})
    if (where := next(held, None)) is None:
        return _broken(state, Broken(f"there is no tool {call.tool[:40]!r}"))
    domain = domains(needs)[where]
    tool = domain.tool(call.tool)
    given = domain.given(tool, call.arguments)
    note = {"tool": call.tool, "known": True, "fits": True, "ok": False, "given": given, "told": {}}
    try:
        data, answer = applied(domain, state["data"][where], call.tool, call.arguments)
    except Refused as why:
        return state, f"error: {why}", Called(call.tool, False, str(why)), note
    own = (i for i, (name, arguments) in enumerate(needs["gold"]) if not state["done"][i] and [name, arguments] == [call.tool, given])
    done = next(own, None) if not where else None
    after = {
        **state,
        "data": {**state["data"], where: data},
        "done": [was or i == done for i, was in enumerate(state["done"])],
        "read": [*state["read"], *answer],
    }
    note |= {"ok": True, "told": told(domain, tool, answer)}
    return after, shown(answer, tool.verb), Called(call.tool, True), note


def told(domain: Domain, tool: Operation, answer: Sequence[Any]) -> dict[str, list[Any]]:
    """What an answer says, by the fields that it fills: of one that tells keys all of them."""
    fields = domain.answers(tool)
    return {fields[0]: list(answer)} if len(fields) == 1 and tool.verb != "get" else {f: [a] for f, a in zip(fields, answer, strict=True)}


def needed(domain: Domain, gold: Sequence[Sequence[Any]], leg: Sequence[int]) -> list[list[Any]]:
    """Which fields of a call's answer the next one asks for: [i, j, fields] of the calls of a leg, a walk in which each follows the one
    before."""
    found = list[list[Any]]()
    for i, j in pairwise(leg):
        fields = {*domain.answers(domain.tool(gold[i][0]))} & {*domain.asks(domain.tool(gold[j][0]))}
        found.append([i, j, sorted(fields)])
    return found
