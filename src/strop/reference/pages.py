"""The pages of the reference: blocks, made once, written as Markdown or for a terminal."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from strop.reference.seams import SEAMS, Seam, parts, reads, records, shared
from strop.reference.source import Member, first, functions, members, prose, values

EXAMPLES = "examples/own"


@dataclass(frozen=True)
class Heading:
    text: str


@dataclass(frozen=True)
class Table:
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Code:
    text: str
    language: str = ""


@dataclass(frozen=True)
class Picture:
    file: str
    says: str


Block = str | Heading | Table | Code | Picture


@dataclass(frozen=True)
class Page:
    name: str
    title: str
    blocks: tuple[Block, ...]


LANGUAGE = "[a language of twenty words](../methods.md#the-language-of-the-formulas)"
MADE = "<!-- made by `strop parts --page DIR` -->"


def names() -> tuple[str, ...]:
    return (*SEAMS, *MORE)


def page(name: str) -> Page:
    """By its name: a seam's, or one of those beside them."""
    if name in MORE:
        return MORE[name]()
    seam = SEAMS[name]
    return Page(name, name, tuple(_seam(seam)))


def files(examples: Path) -> dict[str, str]:
    """Every file of the reference by its name; `examples` is where the files of one's own stand that pages quote."""
    from strop.reference.ragged import picture

    made = {f"{'README' if name == 'overview' else name}.md": markdown(page(name), examples) for name in names()}
    return {**made, "ragged.svg": picture()}


# ------------------------------------------------------------------------------------------------ what stands on them


def _seam(seam: Seam) -> Iterator[Block]:
    yield prose(seam.about)
    yield f"In use: {seam.stands}."
    if seam.seat:
        found = reads(seam)
        some = any(read.when for read in found)
        yield Heading("What it may read, by position")
        yield _table(
            ("name", "kind", "what it is", "where"), [(f"`{r.name}`", r.kind, r.says, r.when) for r in found], () if some else (3,)
        )
        yield Heading("What it says of itself")
        yield Table(("`@part(…)`", ""), tuple(_declared(seam)))
    for place in seam.classes:
        name = place.rpartition(":")[2]
        yield Heading(name)
        yield _from(place)
        if (said := prose(place)) and place != seam.about:
            yield said
        yield _members(members(place))
    if seam.helpers and (found := (*values(seam.helpers, *seam.values), *functions(seam.helpers))):
        yield Heading("Functions and values to use")
        yield f"`from {seam.helpers} import …`"
        yield _members(found)
    yield from _shared(seam)
    if seam.own:
        yield Heading("One of one's own")
        yield Code(f"{EXAMPLES}/{seam.own}.py", "file")
    if seam.kept:
        planted = "What is planted in tests and what is then said: [a file of your own](../your-own.md)."
        yield f"`strop check FILE.py` holds it to this: {_kept(seam)}. {planted}"
    yield _see(seam)


def _declared(seam: Seam) -> Iterator[tuple[str, str]]:
    from strop.seams.part import NEEDS

    used = {need for thing in parts(shared()[seam.name]) for need in thing.needs}
    yield "gives", seam.gives if seam.seat != "signals" else f"nothing here: a loss has a grain. {seam.gives}"
    if seam.seat == "signals":
        yield "grain", "token (the default), row, rollout or group: the last level of its signal's reduction"
    yield from ((f"needs `{need}`", says) for need, says in NEEDS.items() if need in used)
    if seam.seat in ("signals", "credit", "correction", "reward", "schedule"):
        yield (
            "formula",
            f"lines `name = expression` in {LANGUAGE}, `{{constant}}` for its constants; or a function of them",
        )
    yield "keyword-only parameters", "its constants: numbers, words, None, tuples of them"


def _members(found: Sequence[Member]) -> Table:
    return Table(("member", "what it is"), tuple((f"`{m.written}`", m.says or "as its name says") for m in found if m.name != "from_json"))


def _shared(seam: Seam) -> Iterator[Block]:
    if found := parts(shared()[seam.name]):
        from strop.seams.part import written

        yield Heading("strop's own")
        yield f"{_own_import(seam)} `strop parts {seam.name} NAME`, or `help(NAME)` in Python, shows formula and constants."
        rows = [
            (
                f"`{written(part)}`{_elsewhere(seam, part)}",
                ", ".join(f"`{name}`" for name in part.reads),
                _gives(part),
                ", ".join(part.needs),
                first(inspect.cleandoc(part.fn.__doc__ or "")),
            )
            for part in found
        ]
        bare = () if any(row[3] for row in rows) else (3,)
        yield _table(("part", "reads", "gives", "needs", "what it does"), rows, bare)
    if found := records(seam):
        yield Heading("strop's own records" if parts(shared()[seam.name]) else "strop's own")
        yield _own_import(seam)
        rows = [(f"`{_record(thing)}`{_elsewhere(seam, thing)}", first(inspect.cleandoc(thing.__doc__ or ""))) for thing in found]
        yield Table(("record", "what it does"), tuple(rows))


def _from(place: str) -> str:
    return "`from {0} import {2}`".format(*place.partition(":"))


def _home(seam: Seam) -> str:
    """The module of its own parts; what stands in another one is said beside it."""
    return {"claim": "strop.claims.trace"}.get(seam.name, f"strop.seams.{seam.name}")


def _own_import(seam: Seam) -> str:
    others = any(_elsewhere(seam, thing) for thing in shared()[seam.name])
    return f"`from {_home(seam)} import …`{', but for those with another module beside them' if others else ''}."


def _elsewhere(seam: Seam, thing: Any) -> str:
    return "" if thing.__module__ == _home(seam) else f" in `{thing.__module__}`"


def _gives(part: Any) -> str:
    return f"`{part.gives}`" if part.gives else f"a loss per {part.grain}"


def _record(thing: type) -> str:
    said = [m.written.replace(": ", ": ", 1) for m in members(f"{thing.__module__}:{thing.__name__}") if m.name in _fields(thing)]
    return f"{thing.__name__}({', '.join(said)})"


def _fields(thing: type) -> set[str]:
    return {f.name for f in fields(thing)} if is_dataclass(thing) else set()


def _kept(seam: Seam) -> str:
    module, _, key = seam.kept.partition(":")
    kept = import_module(module).KEPT
    return kept if isinstance(kept, str) else kept[key]


def _see(seam: Seam) -> str:
    return f"See also: {', '.join(f'[{name}]({name}.md)' for name in ('overview', *seam.see))}."


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], without: tuple[int, ...] = ()) -> Table:
    kept = [i for i in range(len(head)) if i not in without]
    return Table(tuple(head[i] for i in kept), tuple(tuple(row[i] for i in kept) for row in rows))


COMMANDS = """strop parts                          the seams
strop parts credit                   one of them
strop parts credit group_centered    a part: constants, formula"""


SEATS = {
    "signals": ("signal", "objective", "reduction"),
    "environment": ("world",),
    "marks": ("mark",),
    "graders": ("grader",),
    "heads": ("head",),
    "compute": ("engine",),
}
"""Pages of a method's fields, where they have other names."""


def _overview() -> Page:
    fields_of = {m.name: m for m in members("strop.method:Method")}
    rows = [
        (f"`{m.written}`", m.says, ", ".join(f"[{page}]({page}.md)" for page in SEATS.get(name, (name,)) if page in SEAMS))
        for name, m in fields_of.items()
        if not m.called and ":" in m.written and name not in ("refills", "lineage", "fingerprint")
    ]
    others = [(f"[{name}]({name}.md)", first(prose(seam.about))) for name, seam in SEAMS.items()]
    others += [(f"[{name}]({name}.md)", says) for name, says in BESIDE.items()]
    return Page(
        "overview",
        "Reference",
        (
            "A page per seam: what a part there may read and give, its protocol, strop's own, and one of one's own that the tests check "
            "and train. All of it is read from the code; `strop parts --page docs/reference` writes it, and a test holds it to that.",
            Code(COMMANDS),
            Heading("A method, seam by seam"),
            prose("strop.method:Method"),
            Table(("field", "what it is", "page"), tuple(rows)),
            Heading("Pages"),
            Table(("page", ""), tuple(others)),
            "A part with state or behaviour is a frozen dataclass with the methods of its protocol; a pure one is a function under "
            "`@part(…)` ([part](part.md)). What `strop check` looks at, and how a file of one's own goes into every command: "
            "[a file of your own](../your-own.md). From a paper to a method with its claim: [in an hour](../add-a-method.md).",
        ),
    )


def _part() -> Page:
    from strop.seams.index import LEVELS
    from strop.seams.part import NEEDS

    return Page(
        "part",
        "A part",
        (
            prose("strop.seams.part"),
            f"Levels, from the finest out: {', '.join(LEVELS)}. All numbers are tensors without padding: [a ragged batch](batch.md).",
            Heading("`@part(…)`, and what a part then has"),
            _members([m for m in members("strop.seams.part:Part") if m.name != "describe"]),
            Heading("What it may need"),
            Table(("`needs`", "what it asks of the method"), tuple((f"`{word}`", says) for word, says in NEEDS.items())),
            f"Any other word is refused. A formula is written in {LANGUAGE}; `strop check` holds it to the code.",
        ),
    )


def _batch() -> Page:
    from strop.reference.ragged import SIZES, shown

    uses = shown()
    rows = [(f"`{m.written}`", m.says, *(f"`{said}`" if said else "" for said in uses[m.name])) for m in members("strop.seams.index:Index")]
    return Page(
        "batch",
        "Index: a ragged batch",
        (
            prose("strop.seams.index"),
            Picture("ragged.svg", "a ragged batch: groups, rollouts, rows and decisions, each with its number"),
            f"This one is `Index.of({SIZES})`. `x_R` is `1 0 1 1 0` and `x_G` is `0.5 0.25` below.",
            Heading("Index"),
            Table(("member", "what it is", "on this batch", "gives"), tuple(rows)),
            Heading("Batch"),
            prose("strop.batch"),
            _members([m for m in members("strop.batch:Batch") if m.name in BATCH]),
            Heading("Tracks and facts"),
            'What a part may read by name stands on its seam\'s page. A grader asks for tracks: `ctx.evaluate(groups, "online", '
            'frozenset({"logp_T"}))` gives a Batch with `logp_T`; `entropy_T`, a head\'s and `certainty_T` are asked for alike '
            "([policy](policy.md)).",
        ),
    )


BATCH = ("rows", "index", "units", "kind_T", "trains_T", "weight_R", "tracks", "facts", "labels", "trained_T", "of_kinds", "have", "with_")
"""What a grader or a reader of batches may use; the rest is the learner's."""

RECORDS = (
    *(
        f"strop.records:{name}"
        for name in ("Task", "Group", "Rollout", "Row", "Segment", "Span", "Author", "Sampling", "Scores", "Incident", "Fate")
    ),
    "strop.seams.source:Graded",
    "strop.seams.world:Reply",
    "strop.seams.engine:Footprint",
    "strop.seams.engine:Counters",
    "strop.seams.context:Progress",
    "strop.seams.context:Ledger",
)


def _records() -> Page:
    blocks: list[Block] = [prose("strop.records"), Heading("Words"), _members(values("strop.records", "Kind", "Stop", "ENDED", "KEEP"))]
    for place in RECORDS:
        name = place.rpartition(":")[2]
        blocks += [Heading(name), _from(place), prose(place)]
        if found := [m for m in members(place) if m.name not in ("to_json", "from_json")]:
            blocks.append(_members(found))
    return Page("records", "Records", tuple(blocks))


def _metrics() -> Page:
    from strop.metrics import LINE

    rows = tuple((f"`{path}`", figure.unit, figure.says, figure.when) for path, figure in LINE.items())
    about = (
        "One JSON object a step in `RUN/metrics.jsonl`. A path's dot is a level of it; what stands in brackets is a name of the run's own. "
        "Outside `t` a line is the same whenever and however often its step is computed. Trackers get every number by its path, with "
        "`/` for a dot."
    )
    return Page("metrics", "The metrics line", (about, Table(("field", "unit", "what it is", "where"), rows)))


def _recipe() -> Page:
    found = [m for m in members("strop.recipe:Recipe") if not m.called and m.name in _names("strop.recipe:Recipe")]
    said = "A field is a flag of `strop train` too, with dashes: `--max-tokens 64`, and a key of a recipe in TOML."
    return Page("recipe", "Recipe", (prose("strop.recipe"), prose("strop.recipe:Recipe"), said, _members(found)))


def _names(place: str) -> set[str]:
    module, _, name = place.partition(":")
    return _fields(getattr(import_module(module), name))


MORE = {"overview": _overview, "part": _part, "batch": _batch, "records": _records, "recipe": _recipe, "metrics": _metrics}
BESIDE = {
    "part": "What every pure part is: `@part(…)`, axes, constants, needs.",
    "batch": "`Index` in one table, with a picture of a ragged batch; Batch.",
    "records": "Tasks, groups, rollouts, segments, scores, fates: every field.",
    "recipe": "What to run: every field.",
    "metrics": "Every field of a metrics line.",
}


# ------------------------------------------------------------------------------------------------ written


def markdown(one: Page, examples: Path) -> str:
    said = [MADE, f"# {one.title}"]
    for block in one.blocks:
        if isinstance(block, Heading):
            said.append(f"## {block.text}")
        elif isinstance(block, Table):
            lines = [block.head, tuple("---" for _ in block.head), *block.rows]
            said.append("\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines))
        elif isinstance(block, Code) and block.language == "file":
            text = (examples / Path(block.text).name).read_text(encoding="utf-8").strip()
            said += [f"`{block.text}`:", f"```python\n{text}\n```"]
        elif isinstance(block, Code):
            said.append(f"```{block.language}\n{block.text}\n```")
        elif isinstance(block, Picture):
            said.append(f"![{block.says}]({block.file})")
        else:
            said.append(_fenced(block).replace("(overview.md)", "(README.md)"))
    return "\n\n".join(said) + "\n"


def _fenced(text: str) -> str:
    """Prose of a docstring: paragraphs that are indented are code."""
    pieces = text.split("\n\n")
    return "\n\n".join(f"```\n{inspect.cleandoc(p)}\n```" if p.startswith("    ") else p for p in pieces)


def plain(one: Page) -> str:
    """For a terminal: tables as names with what they are beneath, files by their place."""
    said = [one.title.upper() if one.title == one.name else one.title]
    for block in one.blocks:
        if isinstance(block, Heading):
            said.append(f"-- {block.text}")
        elif isinstance(block, Table):
            said.append("\n".join(line for row in block.rows for line in _entry(row)))
        elif isinstance(block, Code):
            said.append(block.text if block.language != "file" else f"{block.text} (docs/reference/{one.name}.md shows it)")
        elif isinstance(block, Picture):
            said.append(f"(docs/reference/{block.file}: {block.says})")
        else:
            said.append(re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", block))
    return "\n\n".join(said).replace("`", "")


def _entry(row: tuple[str, ...]) -> Iterator[str]:
    yield f"  {row[0]}"
    if rest := "; ".join(re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", cell) for cell in row[1:] if cell):
        yield f"      {rest}"


def plain_data(one: Page) -> dict[str, Any]:
    """For JSON: tables with their heads."""
    tables: list[Any] = []
    heading = ""
    for block in one.blocks:
        heading = block.text if isinstance(block, Heading) else heading
        if isinstance(block, Table):
            tables.append({"heading": heading, "head": block.head, "rows": block.rows})
    return {"name": one.name, "about": next((b for b in one.blocks if isinstance(b, str)), ""), "tables": tables}
