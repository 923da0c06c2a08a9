"""pages: a corpus that is searched and visited: titles with snippets, then a page's text. Generated from a seed, or a folder of one's own.

    >search tower of Ilmar   ->   3 Sena Tower: … stands in Ilmar …      what was found: a number, a title and a snippet each
    >visit 3                 ->   Sena Tower stands in Ilmar and was …   the page, from its beginning
    <answer>Ilmar</answer>   ->   done

The index is tantivy's, in memory, by BM25 over title and text; what scores alike stands in the order of numbers. A page is a stranger's
text: as much of it is shown as there is room for, and its characters stay characters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from strop.records import Task, digest
from strop.seams.context import Handle, keyed
from strop.seams.world import Call, Called, Reply, Said, Seat, Tool, answered

MOST = 100_000
"""Pages of a corpus."""
LARGEST = 1 << 20
"""Bytes of a page that are read."""
WORDS = 32
"""Of a query."""
KINDS = (".txt", ".md")
"""Files that are pages."""


class Page(NamedTuple):
    """What is found."""

    title: str
    text: str


@dataclass(frozen=True)
class Corpus:
    """Which pages there are: those of a folder, or `size` of a generated land."""

    folder: str = ""
    """Its .txt and .md files, also in folders below."""
    size: int = 400
    """Of a generated one."""
    seed: int = 0
    """Of a generated one."""

    def __post_init__(self) -> None:
        if not 40 <= self.size <= MOST:
            raise ValueError(f"pages: a generated corpus has from 40 to {MOST} pages, got {self.size}")


class Index:
    """The pages of a corpus, and what finds them."""

    def __init__(self, pages: tuple[Page, ...]):
        try:
            import tantivy
        except ModuleNotFoundError:
            raise ModuleNotFoundError("searching pages needs the module 'tantivy': pip install 'strop[search]'", name="tantivy") from None
        self.pages = pages
        schema = tantivy.SchemaBuilder().add_integer_field("number", stored=True)
        schema = schema.add_text_field("title", stored=True).add_text_field("text", stored=True).build()
        self.schema, self.snippets = schema, tantivy.SnippetGenerator
        index = tantivy.Index(schema)
        writer = index.writer(15_000_000, 1)
        for number, page in enumerate(pages):
            writer.add_document(tantivy.Document(number=number, title=page.title, text=page.text))
        writer.commit()
        index.reload()
        self.index, self.searcher = index, index.searcher()
        self.digest = digest([list(page) for page in pages])
        self.found = lru_cache(1 << 14)(self._found)

    def _found(self, text: str, results: int, letters: int) -> tuple[tuple[int, str], ...]:
        """Numbers and snippets of what a query finds."""
        words = re.findall(r"\w+", text)[:WORDS]
        if not words:
            return ()
        query, _ = self.index.parse_query_lenient(" ".join(words), ["title", "text"], field_boosts={"title": 2.0})
        hits = [(score, self.searcher.doc(place)) for score, place in self.searcher.search(query, 4 * results).hits]
        ranked = sorted(hits, key=lambda hit: (-hit[0], hit[1]["number"][0]))[:results]
        if not ranked:
            return ()
        snippets = self.snippets.create(self.searcher, query, self.schema, "text")
        snippets.set_max_num_chars(letters)
        return tuple((doc["number"][0], " ".join(snippets.snippet_from_doc(doc).fragment().split())) for _, doc in ranked)


@lru_cache(maxsize=8)
def index_of(corpus: Corpus) -> Index:
    """Read once in a process."""
    return Index(read(corpus.folder) if corpus.folder else generated(corpus.size, corpus.seed).pages)


def read(folder: str) -> tuple[Page, ...]:
    """The pages of a folder, in the order of their names. What a link leads to is none of them."""
    place = Path(folder)
    if not place.is_dir():
        raise ValueError(f"pages: there is no folder {folder!r}")
    files = sorted(path for path in place.rglob("*") if path.suffix in KINDS and path.is_file() and not path.is_symlink())
    if not files or len(files) > MOST:
        raise ValueError(f"pages: {folder!r} holds {len(files)} files that end in {' or '.join(KINDS)}, and a corpus has from 1 to {MOST}")
    found = list[Page]()
    for path in files:
        with path.open("rb") as file:
            text = file.read(LARGEST).decode(errors="replace").strip()
        first, _, rest = text.partition("\n")
        title = first.strip("# ").strip() if len(first) <= 120 else ""
        found.append(Page(title or path.stem, rest.strip() if title else text))
    return tuple(found)


def _takes(name: str, kind: dict[str, Any]) -> dict[str, Any]:
    return {"properties": {name: kind}, "required": [name], "additionalProperties": False}


SEARCH = Tool(
    "search",
    "Pages that hold these words: a number, a title and a snippet each.",
    _takes("query", {"type": "string", "minLength": 1, "maxLength": 200}),
)
VISIT = Tool("visit", "The text of the page with this number.", _takes("page", {"type": "integer", "minimum": 0}))


@dataclass(frozen=True)
class Pages:
    """A search shows `results`, with snippets of `snippet` characters; a visit the first `letters` characters of a page."""

    corpus: Corpus = Corpus()
    """Which pages there are."""
    results: int = 3
    """Of a search."""
    snippet: int = 80
    """Characters of each."""
    letters: int = 600
    """Characters of a page that are shown."""

    @property
    def tools(self) -> tuple[Tool, ...]:
        return (SEARCH, VISIT)

    def start(self, task: Task, seat: Seat) -> dict[str, Any]:
        """`path`, the titles that lead to the answer, of which the first `read` were visited; `seen`, the numbers that were found."""
        return {"path": list(task.needs.get("path", ())), "answer": task.needs.get("answer", ""), "read": 0, "seen": []}

    async def reply(self, state: dict[str, Any], said: Said, ask: Mapping[str, Handle]) -> tuple[dict[str, Any], Reply]:
        if "<answer>" in said.text:
            return state, Reply("", done=True)
        if not said.calls:
            return state, Reply("no call")
        return answered(state, said, self._called)

    def _called(self, state: dict[str, Any], call: Call) -> tuple[dict[str, Any], str, Called]:
        index = index_of(self.corpus)
        if call.tool == SEARCH.name:
            found = index.found(call.arguments["query"], self.results, self.snippet)
            said = "\n".join(f"{number} {index.pages[number].title}: {snippet}" for number, snippet in found)
            return {**state, "seen": [number for number, _ in found]}, said or "nothing found", Called(SEARCH.name, True)
        number = call.arguments["page"]
        if number >= len(index.pages):
            return state, f"there is no page {number}", Called(VISIT.name, False, "no such page")
        page, path, read = index.pages[number], state["path"], state["read"]
        on = read < len(path) and page.title == path[read]
        text = page.text if len(page.text) <= self.letters else page.text[: self.letters] + " …"
        return {**state, "seen": [], "read": read + on}, f"{page.title}\n{text}", Called(VISIT.name, True)

    def expert(self, state: dict[str, Any]) -> str | Call:
        """Searches for what comes next on the way to the answer, and visits it."""
        if state["read"] >= len(state["path"]):
            return f"<answer>{state['answer']}</answer>"
        title, pages = state["path"][state["read"]], index_of(self.corpus).pages
        there = next((number for number in state["seen"] if pages[number].title == title), None)
        return Call(SEARCH.name, {"query": title}) if there is None else Call(VISIT.name, {"page": there})


# ------------------------------------------------------------------------------------------- a generated land


class Land(NamedTuple):
    """Pages, and what leads from one to another: {title: {relation: title or value}}."""

    pages: tuple[Page, ...]
    facts: dict[str, dict[str, str]]


RELATIONS: dict[str, dict[str, str]] = {
    "tower": {"town": "the town where {} stands", "builder": "the builder of {}", "year": "the year in which {} was built"},
    "town": {"river": "the river that {} lies on", "mayor": "the mayor of {}", "number": "the number of houses in {}"},
    "person": {"birth": "the town where {} was born", "teacher": "the teacher of {}", "trade": "the trade of {}"},
}
"""By the kind of a page, what it tells and how a question says it."""
TRADES = ("mason", "weaver", "miller", "painter", "smith", "potter", "scribe", "baker")


@lru_cache(maxsize=8)
def generated(size: int, seed: int) -> Land:
    """Towers, towns and people, a page each."""
    rng, used = keyed("pages", size, seed), set[str]()

    def name(parts: int) -> str:
        while True:
            made = "".join(rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(parts)).capitalize() + rng.choice("nrls")
            if made not in used:
                used.add(made)
                return made

    towns, people = [name(2) for _ in range(size // 4)], [f"{name(2)} {name(2)}" for _ in range(size // 2)]
    towers = [f"{name(2)} Tower" for _ in range(size - len(towns) - len(people))]
    rivers = [name(1) for _ in range(max(2, size // 20))]
    facts, pages = dict[str, dict[str, str]](), list[Page]()
    for one in towns:
        known = {"river": rng.choice(rivers), "mayor": rng.choice(people), "number": str(rng.randrange(100, 1000))}
        facts[one] = known
        pages.append(Page(one, f"{one} is a town of {known['number']} houses on the {known['river']}. Its mayor is {known['mayor']}."))
    for one in people:
        teacher = rng.choice([other for other in people if other != one])
        known = {"birth": rng.choice(towns), "teacher": teacher, "trade": rng.choice(TRADES)}
        facts[one] = known
        pages.append(Page(one, f"{one}, a {known['trade']}, was born in {known['birth']} and learned from {teacher}."))
    for one in towers:
        known = {"town": rng.choice(towns), "builder": rng.choice(people), "year": str(rng.randrange(1100, 1900))}
        facts[one] = known
        pages.append(Page(one, f"{one} stands in {known['town']}. It was built by {known['builder']} in {known['year']}."))
    order = [*range(len(pages))]
    rng.shuffle(order)
    return Land(tuple(pages[number] for number in order), facts)


def kind_of(land: Land, title: str) -> str:
    """What a page is about; empty where there is none with this title."""
    return next((kind for kind, told in RELATIONS.items() if land.facts.get(title, {}).keys() == told.keys()), "")
