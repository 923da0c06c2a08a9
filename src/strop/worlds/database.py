"""database: tools that read and write a small database; every domain has tables and tools of its own, made from a seed.

    >set_mu fo ka          >set_mu m q   ->   m          >set_mu z q   ->   error: no fo z          a turn without a call   ->   done

A tool reads (get, list, find) or writes (new, set, move, drop). What one answers another may ask for, so a walk over tools is a task: it is
carried out for real, and where the database ends is what another must reach. How is its own matter: reads and writes that change nothing
more are free, errors too. Where the walk only reads, every database is the right one, so what is asked is asked for call by call.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import product
from random import Random
from string import ascii_lowercase
from typing import Any, NamedTuple

from strop.records import Task, canonical, digest
from strop.seams.context import Handle
from strop.seams.source import Split, split_of
from strop.seams.world import Call, Called, Reply, Said, Seat, Tool, answered

READS, WRITES = ("get", "list", "find"), ("new", "set", "move", "drop")
KINDS: dict[str, dict[str, Any]] = {
    "text": {"type": "string", "pattern": r"^[a-z0-9]{1,8}(?!\n)$"},
    "number": {"type": "integer", "minimum": 0, "maximum": 999},
    "key": {"type": "string", "pattern": r"^[a-z](?!\n)$"},
}
"""What a column holds, and a call may give for it."""

Data = Mapping[str, Any]
"""A database: `rows`, {table: {key: {column: value}}}, and `fresh`, the keys that rows to come will get, in order."""


class Operation(NamedTuple):
    """A tool of a domain."""

    name: str
    """As it is called."""
    verb: str
    """Of READS or WRITES."""
    table: str
    """Whose rows."""
    columns: tuple[str, ...]
    """Which of them, beside the key, it asks for."""
    says: str
    """In wishes: the verb, and the table where no argument names it."""


class Domain(NamedTuple):
    """Tables and tools. A column of the kind `key` bears the name of the table that it leads to, which stands before its own; a table has
    one such column at most, so that a database is a forest."""

    tables: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    """(name, ((column, kind), …)), in order."""
    operations: tuple[Operation, ...]
    """In order."""

    @staticmethod
    def of(data: Any) -> Domain:
        """Back from JSON."""
        tables, operations = data
        return Domain(
            tuple((name, tuple((column, kind) for column, kind in columns)) for name, columns in tables),
            tuple(Operation(name, verb, table, tuple(columns), says) for name, verb, table, columns, says in operations),
        )

    def said(self, verb: str) -> tuple[Operation, ...]:
        """The tools of a verb, as wishes say it."""
        return tuple(tool for tool in self.operations if tool.says.partition(" ")[0] == verb)

    def plain(self) -> list[Any]:
        """As JSON."""
        tables = [[name, [list(column) for column in columns]] for name, columns in self.tables]
        return [tables, [[*tool[:3], list(tool.columns), tool.says] for tool in self.operations]]

    def columns(self, table: str) -> dict[str, str]:
        """Its columns with their kinds."""
        return dict(dict(self.tables)[table])

    def asks(self, tool: Operation) -> dict[str, str]:
        """The arguments of a tool with their kinds: of its table the key, then columns."""
        kinds = self.columns(tool.table)
        own = {tool.table: "key"} if tool.verb in ("get", "set", "move", "drop") else {}
        return {**own, **{column: kinds[column] for column in tool.columns}}

    def given(self, tool: Operation, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments in their order; 1.0 is 1."""
        return {name: int(arguments[name]) if kind == "number" else arguments[name] for name, kind in self.asks(tool).items()}

    def answers(self, tool: Operation) -> tuple[str, ...]:
        """The fields that its answer fills."""
        return () if tool.verb == "drop" else tuple(self.columns(tool.table)) if tool.verb == "get" else (tool.table,)

    def depends(self) -> dict[str, tuple[str, ...]]:
        """Of each tool those that ask for a field which it answers."""
        return {
            one.name: tuple(other.name for other in self.operations if other != one and {*self.answers(one)} & {*self.asks(other)})
            for one in self.operations
        }

    def tool(self, name: str) -> Operation:
        """By its name."""
        return next(tool for tool in self.operations if tool.name == name)

    def tools(self) -> tuple[Tool, ...]:
        """As they are called."""
        return tuple(Tool(tool.name, self._told(tool), _schema(tuple(self.asks(tool).items()))) for tool in self.operations)

    def _told(self, tool: Operation) -> str:
        columns = " and ".join(tool.columns)
        return {
            "get": f"The columns of a {tool.table}.",
            "list": f"The keys of every {tool.table}.",
            "find": f"The keys of every {tool.table} with this {columns}.",
            "new": f"Makes a {tool.table} and gives its key.",
            "set": f"Changes the {columns} of a {tool.table}.",
            "move": f"Puts a {tool.table} under another {columns}.",
            "drop": f"Drops a {tool.table} that nothing leads to.",
        }[tool.verb]

    def template(self) -> Any:
        """What it is without its names."""
        place = {name: number for number, (name, _) in enumerate(self.tables)}
        kinds = [[kind if kind != "key" else place[column] for column, kind in columns] for _, columns in self.tables]
        order = {name: [column for column, _ in columns] for name, columns in self.tables}
        return [kinds, sorted([t.verb, place[t.table], [order[t.table].index(c) for c in t.columns]] for t in self.operations)]


def _schema(asked: Sequence[tuple[str, str]]) -> dict[str, Any]:
    return {
        "properties": {name: KINDS[kind] for name, kind in asked},
        "required": [name for name, _ in asked],
        "additionalProperties": False,
    }


# ------------------------------------------------------------------------------------------------ domains and tasks from a seed


@lru_cache(8)
def words(letters: int, side: Split) -> tuple[str, ...]:
    """The names of so many letters that are for training, or for testing; from three on they can be spoken."""
    letter = [ascii_lowercase] * letters if letters < 3 else (["bcdfghjklmnpqrstvwxz", "aeiou"] * letters)[:letters]
    return tuple(word for word in map("".join, product(*letter)) if split_of(digest(word)) == side)


def made(rng: Random, side: Split, tables: int = 3, tools: int = 8, letters: int = 3) -> Domain:
    """A domain of so many tables and tools. Names and template are those of a side, so none of training meets one of testing. There is
    something to read and to write in it, and a path over three tools, each of which answers what the next one asks for. A tool's name
    begins with its verb, as such names do, or with the verb's initial where names have fewer than three letters. A verb is there twice
    where there are more tools than verbs."""
    for _ in range(ATTEMPTS):
        domain = _drawn(rng, side, tables, tools, letters)
        verbs = {tool.verb for tool in domain.operations}
        if verbs & {*READS} and verbs & {*WRITES} and paths(domain.depends(), 3) and split_of(digest(domain.template())) == side:
            return domain
    raise ValueError(f"no domain of {tables} tables has {tools} tools of which three follow one another: ask for more of them")


def _drawn(rng: Random, side: Split, tables: int, tools: int, letters: int) -> Domain:
    names = iter(rng.sample(words(letters, side), 4 * tables + tools))
    held: dict[str, dict[str, str]] = {}
    for _ in range(tables):
        leads = {rng.choice([*held]): "key"} if held and (len(held) == 1 or rng.random() < 0.7) else {}
        held[next(names)] = {next(names): rng.choice(("text", "number")) for _ in range(rng.randint(1, 2))} | leads
    can: list[tuple[str, str, tuple[str, ...]]] = []
    for table, columns in held.items():
        can += [("get", table, ()), ("list", table, ()), ("drop", table, ()), ("new", table, tuple(columns))]
        can += [(verb, table, (c,)) for c, kind in columns.items() for verb in (("move",) if kind == "key" else ("find", "set"))]
    rng.shuffle(can)
    once = {verb: place for place, (verb, *_) in enumerate(can)}  # of each verb the last one; the others where more are asked for
    first = sorted(range(len(can)), key=lambda place: once[can[place][0]] != place)
    said = {verb: verb[0].upper() if letters < 3 else verb for verb in (*READS, *WRITES)}
    between = "" if letters < 3 else "_"
    operations = (
        Operation(f"{said[verb]}{between}{next(names)}", verb, table, columns, said[verb] + f" {table}" * (verb == "list" and letters > 2))
        for verb, table, columns in (can[place] for place in first[:tools])
    )
    return Domain(tuple((name, tuple(columns.items())) for name, columns in held.items()), tuple(operations))


def renamed(rng: Random, domain: Domain, side: Split) -> Domain:
    """The same template under other names: as long ones, behind the same verbs."""
    letters = len(domain.tables[0][0])
    names = iter(rng.sample(words(letters, side), 4 * len(domain.tables) + len(domain.operations)))
    new = {name: next(names) for table, columns in domain.tables for name in (table, *(c for c, kind in columns if kind != "key"))}
    tables = tuple((new[table], tuple((new[column], kind) for column, kind in columns)) for table, columns in domain.tables)
    operations = (
        Operation(tool.name[:-letters] + next(names), tool.verb, new[tool.table], tuple(map(new.__getitem__, tool.columns)), tool.says)
        for tool in domain.operations
    )
    return Domain(tables, tuple(operations))


def paths(edges: Mapping[str, Sequence[str]], length: int) -> list[tuple[str, ...]]:
    """All ways over so many different tools."""
    ways = [(name,) for name in edges]
    for _ in range(length - 1):
        ways = [(*way, name) for way in ways for name in edges[way[-1]] if name not in way]
    return ways


ATTEMPTS, TRIES = 10_000, 100


def filled(rng: Random, domain: Domain) -> Data:
    """Two to four rows in each table, and the keys of those to come."""
    keys, rows = rng.sample(ascii_lowercase, 26), dict[str, dict[str, dict[str, Any]]]()
    for table, columns in domain.tables:
        own = [keys.pop() for _ in range(rng.randint(2, 4))]
        rows[table] = {key: {column: _value(rng, kind, rows.get(column, {})) for column, kind in columns} for key in own}
    return {"rows": rows, "fresh": keys}


def _value(rng: Random, kind: str, rows: Mapping[str, Any]) -> Any:
    return rng.choice([*rows]) if kind == "key" else rng.randrange(10) if kind == "number" else rng.choice(ascii_lowercase)


class Walk(NamedTuple):
    """Calls that follow one another, and what a user says who wants them."""

    calls: tuple[tuple[str, dict[str, Any]], ...]
    """Tool and arguments."""
    says: tuple[str, ...]
    """Of each call: verb and arguments, by their names or their places; `*` stands for what the call before answered, `*2`
    for the second of several values."""


def walked(rng: Random, domain: Domain, data: Data, length: int, named: bool = True) -> Walk:
    """A walk along `depends` until it is so long or can go no further, a shorter one where none of many tries came so far. Every call is
    carried out, is good, and changes the database if it writes. Neither nothing at all nor dropping whatever can be dropped leads where it
    does."""
    for attempt in range(TRIES * length):
        walk, now, known = Walk((), ()), data, dict[str, Any]()
        after = [tool.name for tool in domain.operations]
        while after and len(walk.calls) < length and (step := _step(rng, domain, now, domain.tool(rng.choice(after)), known, named)):
            now, known, call, says = step
            walk = Walk((*walk.calls, call), (*walk.says, says))
            after = domain.depends()[call[0]] if known else ()
        most = length - attempt // TRIES  # so far some data lets nobody walk
        over = len(walk.calls) >= most or (walk.calls and not after)
        if over and (now is data or not _in_vain(domain, data, now)):
            return walk
    raise ValueError("no walk over these tools can be carried out")


def _in_vain(domain: Domain, data: Data, now: Data) -> bool:
    ends = (data, dropped(domain, data), dropped(domain, data, first=True))
    return form(domain, now, data["fresh"]) in [form(domain, end, data["fresh"]) for end in ends]


def dropped(domain: Domain, data: Data, first: bool = False) -> Data:
    """What is left when all is dropped that can be, from the last table to the first, or the other way."""
    drops = (tool for name, _ in domain.tables for tool in domain.operations if tool.table == name and tool.verb == "drop")
    for tool in drops if first else [*drops][::-1]:
        for key in data["rows"][tool.table]:
            with suppress(Refused):
                data, _ = applied(domain, data, tool.name, {tool.table: key})
    return data


def _step(
    rng: Random, domain: Domain, data: Data, tool: Operation, known: Mapping[str, Any], named: bool
) -> tuple[Data, dict[str, Any], tuple[str, dict[str, Any]], str] | None:
    """One call more: what is known from the one before is asked for by a star, everything else by name. None where it comes to nothing."""
    rows, asked = data["rows"], domain.asks(tool)
    if any(kind == "key" and not rows[name] for name, kind in asked.items()):
        return None
    arguments = {name: known[name] if name in known else _value(rng, kind, rows.get(name, {})) for name, kind in asked.items()}
    if tool.verb == "find" and tool.columns[0] not in known and rows[tool.table]:  # what is looked for is there
        arguments = {column: rng.choice([*rows[tool.table].values()])[column] for column in tool.columns}
    try:
        then, answer = applied(domain, data, tool.name, arguments)
    except Refused:
        return None
    if (tool.verb in WRITES and then == data) or (tool.verb == "find" and len(answer) != 1):
        return None
    stars = {name: f"*{number}" if len(known) > 1 else "*" for number, name in enumerate(known, start=1)}
    said = ((name, stars.get(name, str(arguments[name]))) for name in asked)
    says = " ".join((tool.says, *(f"{name} {value}" if named else value for name, value in said)))
    fills = {} if tool.verb == "list" else dict(zip(domain.answers(tool), answer, strict=True))
    return then, fills, (tool.name, arguments), says


# ------------------------------------------------------------------------------------------------ what calls do


class Refused(ValueError):
    """Why a call comes to nothing."""


def applied(domain: Domain, data: Data, name: str, arguments: Mapping[str, Any]) -> tuple[Data, list[Any]]:
    """The database behind a call, and what it answers; `data` stays as it is. A row that another leads to is not dropped."""
    tool = domain.tool(name)
    rows, table, given = data["rows"], tool.table, domain.given(tool, arguments)
    if missing := next((field for field, kind in domain.asks(tool).items() if kind == "key" and given[field] not in rows[field]), None):
        raise Refused(f"no {missing} {given[missing]}")
    key, values = given.get(table, ""), {column: given[column] for column in tool.columns}

    def changed(those: Mapping[str, Any], fresh: Sequence[str]) -> Data:
        return {"rows": {**rows, table: those}, "fresh": list(fresh)}

    if tool.verb == "get":
        return data, [rows[table][key][column] for column in domain.columns(table)]
    if tool.verb == "list":
        return data, sorted(rows[table])
    if tool.verb == "find":
        return data, sorted(one for one, row in rows[table].items() if values.items() <= row.items())
    if tool.verb == "new":
        if not data["fresh"]:
            raise Refused("no room")
        made, *left = data["fresh"]
        return changed({**rows[table], made: values}, left), [made]
    if tool.verb == "drop":
        if any(row.get(table) == key for other, columns in domain.tables if (table, "key") in columns for row in rows[other].values()):
            raise Refused(f"{table} {key} is in use")
        return changed({one: row for one, row in rows[table].items() if one != key}, data["fresh"]), []
    return changed({**rows[table], key: {**rows[table][key], **values}}, data["fresh"]), [key]


def replayed(domain: Domain, data: Data, calls: Sequence[Sequence[Any]]) -> Data:
    """The database behind calls that are all good."""
    for name, arguments in calls:
        data, _ = applied(domain, data, name, arguments)
    return data


def form(domain: Domain, data: Data, made: Collection[str]) -> list[Any]:
    """What a database says: each row with those that lead to it, in an order of their own, and without the keys that were `made`. Two
    databases are one, but for the names of new rows, where their forms are equal."""
    rows = data["rows"]

    def row(table: str, key: str) -> list[Any]:
        kinds = domain.columns(table)
        held = [rows[table][key][column] for column, kind in kinds.items() if kind != "key"]
        below = [
            row(other, one) for other, columns in domain.tables if (table, "key") in columns for one in _leading(rows[other], table, key)
        ]
        return [table, "" if key in made else key, held, sorted(below, key=repr)]

    roots = (table for table, columns in domain.tables if all(kind != "key" for _, kind in columns))
    return sorted((row(table, key) for table in roots for key in rows[table]), key=repr)


def _leading(rows: Mapping[str, Mapping[str, Any]], table: str, key: str) -> Iterator[str]:
    return (one for one, row in rows.items() if row[table] == key)


def right(needs: Mapping[str, Any], data: Data, called: Sequence[Sequence[Any]]) -> bool:
    """Whether a task is done: the database is as its own calls leave it; where these only read, they are those that were made, in order.
    `called` holds the good ones."""
    domain, start, gold = Domain.of(needs["domain"]), needs["data"], needs["gold"]
    if all(domain.tool(name).verb in READS for name, _ in gold):
        return canonical(list(called)) == canonical(gold)
    made = start["fresh"]
    return form(domain, data, made) == form(domain, replayed(domain, start, gold), made)


@dataclass(frozen=True)
class Database:
    """A task brings its domain, its data, the calls that do it, and what the user says turn by turn."""

    def tools(self, task: Task) -> tuple[Tool, ...]:
        domain = Domain.of(task.needs["domain"])
        return (_help(domain), *domain.tools()) if task.needs.get("helps") else domain.tools()

    def documents(self, task: Task) -> tuple[Tool, ...]:
        """Its tools, or another domain's, which teach nothing; where they are asked for one by one, the tool that does."""
        domain = Domain.of(task.needs.get("documents", task.needs["domain"]))
        return (_help(domain),) if task.needs.get("helps") else domain.tools()

    def start(self, task: Task, seat: Seat) -> dict[str, Any]:
        """`at` of the task's own calls were made, in order, and so many of the user's messages were `told`."""
        return {"needs": task.needs, "data": task.needs["data"], "called": [], "at": 0, "told": 1, "read": []}

    async def reply(self, state: dict[str, Any], said: Said, ask: Mapping[str, Handle]) -> tuple[dict[str, Any], Reply]:
        needs = state["needs"]
        if not said.calls:
            told = state["told"]
            over = told > len(needs["says"])
            after = state if over else {**state, "told": told + 1}
            return after, Reply("" if over else needs["says"][told - 1], done=over, scores=self._scores(state, over))
        state, reply = answered(state, said, partial(_called, Domain.of(needs["domain"])))
        return state, replace(reply, scores=self._scores(state, False))

    @staticmethod
    def _scores(state: dict[str, Any], over: bool) -> dict[str, float]:
        """As things stand: whoever is not done by then has not done it."""
        needs, fine = state["needs"], float(right(state["needs"], state["data"], state["called"]))
        return {name: value for name, value in (("outcome", fine * over), ("lenient", fine), (needs.get("where"), fine * over)) if name}

    def expert(self, state: dict[str, Any]) -> str | Call:
        """The task's own calls, as far as the user has told of them."""
        gold, until = state["needs"]["gold"], state["needs"]["until"][state["told"] - 1]
        if state["at"] < until:
            name, arguments = gold[state["at"]]
            verb = Domain.of(state["needs"]["domain"]).tool(name).says.partition(" ")[0]
            return Call(name, arguments) if not state["needs"].get("helps") or verb in state["read"] else Call(HELP, {"verb": verb})
        return "."


def _called(domain: Domain, state: dict[str, Any], call: Call) -> tuple[dict[str, Any], str, Called]:
    needs = state["needs"]
    if needs.get("helps") and call.tool == HELP:
        verb = call.arguments["verb"]
        read = Domain.of(needs.get("documents", needs["domain"]))
        told = "\n".join(" ".join((tool.name, *read.asks(tool))) for tool in read.said(verb))
        return {**state, "read": [*state["read"], verb]}, told, Called(HELP, True)
    try:
        data, answer = applied(domain, state["data"], call.tool, call.arguments)
    except Refused as why:
        return state, f"error: {why}", Called(call.tool, False, str(why))
    tool = domain.tool(call.tool)
    made, gold = [tool.name, domain.given(tool, call.arguments)], needs["gold"]
    due = state["at"] < len(gold) and canonical(made) == canonical(gold[state["at"]])
    after = {**state, "data": data, "called": [*state["called"], made], "at": state["at"] + due}
    return after, shown(answer, tool.verb), Called(call.tool, True)


HELP = "help"


def _help(domain: Domain) -> Tool:
    """The tool that shows the others."""
    verbs = sorted({tool.says.partition(" ")[0] for tool in domain.operations})
    schema = {"properties": {"verb": {"enum": verbs, "type": "string"}}, "required": ["verb"], "additionalProperties": False}
    return Tool(HELP, "How a tool is called, by its verb.", schema)


def shown(answer: Sequence[Any], verb: str) -> str:
    """An answer as it is read."""
    return " ".join(map(str, answer)) or ("ok" if verb == "drop" else "none")
