"""The catalogue: papers of five digests in English and Korean, and what strop has of each.

    strop papers [list] [--kind K] [--status S] [--verdict V]   all, or some
    strop papers show ID [--lang ko]                            one: summary, corrections, claims with verdicts, formula
    strop papers search 음성 인식                                 by words of either language
    strop papers list --from FILE [--page OUT]                  those that a text names, in its order; OUT.md or OUT.html is a digest
    strop papers site DIR                                       all of it as pages of HTML, both languages, that need no server

ID is an arXiv id or a name in strop.
"""

from __future__ import annotations

import argparse
import shutil
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strop.cli import Usage, answer, table, width
from strop.papers import HANGUL, KINDS, LANGUAGES, Catalogue, Paper, catalogue
from strop.papers.held import NOT_RUN, STATES, covered, held, state

if TYPE_CHECKING:
    from collections.abc import Iterable

VERBS = ("list", "show", "search", "site")
VERDICTS = ("supported", "refuted", "inconclusive", "void", "not-run")
LONGEST = 76
"""Columns of a title in a table."""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("verb", nargs="?", default="list", metavar="list|show|search|site")
    parser.add_argument("words", nargs="*", metavar="ID|WORDS|DIR", help="a paper, words to search for, or the directory of a site")
    parser.add_argument("--kind", choices=KINDS, help="only papers of this kind")
    parser.add_argument("--status", choices=STATES, help="only papers that strop has, has not yet, or has as a checklist")
    parser.add_argument("--verdict", choices=VERDICTS, help="only papers with a claim that ended so")
    parser.add_argument("--from", dest="file", metavar="FILE", help="only papers whose arXiv ids stand in this text, in its order")
    parser.add_argument("--page", metavar="OUT", help="with --from: a digest of them in both languages, as .md or .html")
    parser.add_argument("--lang", choices=LANGUAGES, help="language of the answer [en; of a search, the language of its words]")


def run(args: argparse.Namespace) -> int:
    if args.verb not in VERBS:
        from strop.seams.part import nearest

        raise Usage(f"strop papers has no {args.verb!r}. {nearest(args.verb, VERBS)}")
    _fits(args)
    return {"list": _list, "show": _show, "search": _search, "site": _site}[args.verb](args)


def _fits(args: argparse.Namespace) -> None:
    """No word and no flag is left unread."""
    counted = {"list": (0, 0, "no words: `strop papers search WORDS` searches"), "show": (1, 1, "one paper: its arXiv id, or its name")}
    counted |= {"search": (1, 10_000, "words to search for"), "site": (1, 1, "one directory to write to")}
    least, most, wants = counted[args.verb]
    if not least <= len(args.words) <= most:
        raise Usage(f"strop papers {args.verb} takes {wants}")
    filters = {"--kind": args.kind, "--status": args.status, "--verdict": args.verdict, "--from": args.file}
    given = [flag for flag, value in filters.items() if value is not None]
    if given and args.verb in ("show", "site"):
        raise Usage(f"{given[0]} chooses among papers, for `strop papers list` and `search`; `strop papers {args.verb}` takes none")
    if args.lang and args.verb == "site":
        raise Usage("strop papers site writes both languages, so it takes no --lang")
    if args.page and (args.file is None or args.verb != "list"):
        raise Usage("--page writes the digest of a text: strop papers list --from FILE --page OUT.md")
    if args.page and (args.lang or len(given) > 1):
        raise Usage("--page writes every paper that the text names, in both languages: it goes with --from alone")
    if args.page and Path(args.page).suffix not in (".md", ".html"):
        raise Usage(f"--page writes Markdown or HTML, by the name's ending: {args.page!r} ends in neither .md nor .html")


def chosen(papers: Iterable[Paper], args: argparse.Namespace) -> list[Paper]:
    return [
        paper
        for paper in papers
        if args.kind in (None, paper.kind)
        and args.status in (None, state(paper))
        and (args.verdict is None or args.verdict.replace("-", " ") in verdicts(paper))
    ]


def verdicts(paper: Paper) -> dict[str, int]:
    here = held().get(paper.id)
    return here.counted if here else {}


def _list(args: argparse.Namespace) -> int:
    found, language = catalogue(), args.lang or "en"
    names, absent = list[str](), list[str]()
    papers = list(found.papers.values())
    if args.file:
        from strop.papers.digest import named

        names = named(Path(args.file))
        papers = [found.papers[one] for one in names if one in found.papers]
        absent = [one for one in names if one not in found.papers]
        if args.page:
            return _page(args, names, found, absent)
    kept = chosen(papers, args)
    rows = {paper.id: row(paper, found, language) for paper in kept}
    if absent and not (args.kind or args.status or args.verdict):
        rows = {one: rows.get(one) or [one, None, None, None, say("absent", language), None, None] for one in names}
    head = [say(key, language) for key in ("paper", "name", "kind", "digest")] + ["strop"]
    head += [say(key, language) for key in ("verdicts", "title")]
    value: dict[str, Any] = {"papers": [brief(paper, found) for paper in kept], "of": len(found.papers)}
    if args.file:
        value |= {"from": args.file, "absent": absent}
    answer(args, value, "\n".join([table(list(rows.values()), head), "", counted(kept, found, absent, language)]))
    return 0


def row(paper: Paper, found: Catalogue, language: str) -> list[str | None]:
    place = ", ".join(f"{edition.name} #{rank}" for edition, rank in found.ranks(paper.id))
    here = say(f"state {state(paper)}", language)
    if paper.checklist:
        here += f" {covered(paper)}/{len(paper.checklist)}"
    ended = ", ".join(f"{count} {say(f'verdict {verdict}', language)}" for verdict, count in verdicts(paper).items())
    title = paper.title if len(paper.title) <= LONGEST else paper.title[: LONGEST - 1].rstrip() + "…"
    return [paper.id, paper.name or None, say(f"kind {paper.kind}", language), place or None, here, ended or None, title]


def counted(kept: list[Paper], found: Catalogue, absent: list[str], language: str) -> str:
    here, lists = (sum(state(paper) == which for paper in kept) for which in ("here", "checklist"))
    if language == "ko":
        said = f"{len(found.papers)}편 중 {len(kept)}편: strop에 있는 것 {here}편, 점검표 {lists}편"
        return said + (f"; 목록에 없는 것 {len(absent)}편" if absent else "")
    said = f"{len(kept)} of {len(found.papers)} papers: {here} in strop, {lists} with a checklist, {len(kept) - here - lists} not yet"
    return said + (f"; {len(absent)} named there and not in the catalogue" if absent else "")


def _page(args: argparse.Namespace, names: list[str], found: Catalogue, absent: list[str]) -> int:
    from strop.report.papers import digest_title

    out = Path(args.page)
    if out.exists() and out.resolve() == Path(args.file).resolve():
        raise Usage(f"--page would write over {args.file}, the text it reads: name another file")
    if out.suffix == ".html":
        from strop.report.site import digest_page
    else:
        from strop.report.papers import digest_page
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(digest_page(digest_title(names, found, Path(args.file).stem), names, found), encoding="utf-8")
    said = f"{out}\n{len(names) - len(absent)} of {len(names)} papers in both languages"
    value = {"from": args.file, "page": str(out), "papers": [one for one in names if one not in absent], "absent": absent}
    answer(args, value, said + (f"; not in the catalogue: {', '.join(absent)}" if absent else ""))
    return 0


def _show(args: argparse.Namespace) -> int:
    found = catalogue()
    paper = found.paper(args.words[0])
    answer(args, whole(paper, found), text(paper, found, args.lang or "en"))
    return 0


def brief(paper: Paper, found: Catalogue) -> dict[str, Any]:
    """A row as JSON."""
    here = held().get(paper.id)
    return {
        "id": paper.id,
        "title": paper.title,
        "name": paper.name or None,
        "kind": paper.kind,
        "topics": list(paper.topics),
        "editions": [{"name": e.name, "rank": rank, "of": len(e.papers)} for e, rank in found.ranks(paper.id)],
        "status": state(paper),
        "verdicts": dict(here.verdicts) if here else {},
        "covered": [covered(paper), len(paper.checklist)] if paper.checklist else None,
    }


def whole(paper: Paper, found: Catalogue) -> dict[str, Any]:
    """Everything about a paper as JSON."""
    from strop.papers.held import formula

    here = held().get(paper.id)

    def both(said: Any) -> dict[str, str]:
        return {language: said[language] for language in LANGUAGES}

    shown = ("says", "effect", "interval", "threshold", "tie", "seeds", "profile", "fingerprint")
    return brief(paper, found) | {
        "url": paper.url,
        "summary": both(paper.summary),
        "corrections": [both(one) for one in paper.corrections],
        "standins": [both(one) for one in paper.standins],
        "missing": [both(one) for one in paper.missing],
        "checklist": [{**both(cell.asks), "command": cell.command or None} for cell in paper.checklist],
        "run": paper.run or None,
        "about": here.about if here else None,
        "methods": list(here.methods) if here else [],
        "places": here.places if here else {},
        "claims": {
            name: {"verdict": NOT_RUN} if made is None else {"verdict": made["verdict"], **{key: made[key] for key in shown}}
            for name, made in (here.records if here else {}).items()
        },
        "formula": formula(paper) or None,
    }


def text(paper: Paper, found: Catalogue, language: str) -> str:
    """A paper for a terminal."""
    from strop.papers.held import formula
    from strop.report.papers import claims, ranked, standing, topics

    across = max(60, min(100, shutil.get_terminal_size((100, 24)).columns))

    def heading(key: str) -> str:
        return f"\n{say(key, language)}"

    def lines(said: str, indent: str = "  ", first: str = "") -> list[str]:
        return wrapped(said.replace("`", ""), across, indent, first or indent)

    about = [*([paper.name] if paper.name else []), say(f"kind {paper.kind}", language), topics(paper, language)]
    out = [*wrapped(paper.title, across, " " * 12, f"{paper.id}  "), " · ".join(about), paper.url, *ranked(paper, found, language), ""]
    for part in paper.summary[language].split("\n\n"):
        out += lines(part)
    if paper.corrections:
        out += [heading("corrections"), *(line for one in paper.corrections for line in lines(one[language], "    ", "  - "))]
    out += [heading("strop"), *lines(standing(paper, language))]
    if here := held().get(paper.id):
        out += [f"  {line}" for line in table([[say(k, language), path] for k, path in here.places.items()], ["", ""]).splitlines()[1:]]
        if here.verdicts:
            head = [say(key, language) for key in ("claim", "verdict", "effect", "threshold", "seeds")]
            shown = claims(here, language)
            out += [heading("claims"), *(f"  {line}" for line in table([row[:5] for row in shown], head).splitlines())]
            for name, *_, says in shown:
                out += ["", *lines(f"{name}: {says}" if says else f"strop claim run {name} --profile full")]
    if paper.checklist:
        out += [heading("checklist")]
        for cell in paper.checklist:
            out += lines(cell.asks[language], "      ", "  [x] " if cell.command else "  [ ] ")
            out += [f"      $ {cell.command}"] if cell.command else []
    for key in ("standins", "missing"):
        if said := getattr(paper, key):
            out += [heading(key), *(line for one in said for line in lines(one[language], "    ", "  - "))]
    if paper.run:
        out += [heading("run"), f"  $ {paper.run}"]
    if computed := formula(paper):
        out += [heading("formula"), textwrap.indent(computed, "  ")]
    return "\n".join(out)


def wrapped(said: str, across: int, indent: str, first: str) -> list[str]:
    """Lines of so many columns; a Hangul syllable takes two."""
    made, line = list[str](), first
    for word in said.split():
        if line.strip() and line != first and width(line) + 1 + width(word) > across:
            made, line = [*made, line], indent
        line += word if line in (first, indent) else f" {word}"
    return [*made, line]


def _search(args: argparse.Namespace) -> int:
    from strop.papers.search import excerpt, search, words

    query, found = " ".join(args.words), catalogue()
    if not words(query):
        raise Usage("strop papers search takes words to search for")
    language = args.lang or ("ko" if HANGUL.search(query) else "en")
    among = found.papers.values()
    if args.file:
        from strop.papers.digest import named

        among = [found.papers[one] for one in named(Path(args.file)) if one in found.papers]
    hits = search(query, chosen(among, args))
    lines = list[str]()
    for hit in hits:
        lines += [f"{hit.paper.id}  {hit.paper.title}", *wrapped(excerpt(query, hit.paper.summary[language]), 110, " " * 12, " " * 12), ""]
    most = len(words(query))
    some = hits[0].words if hits else 0
    if hits and some < most:
        lines.append(
            f"none holds all {most} words; these hold {some}"
            if language == "en"
            else f"{most}개 낱말을 모두 담은 논문은 없고, {some}개를 담은 것"
        )
    elif hits:
        lines.append(f"{len(hits)} of {len(found.papers)} papers" if language == "en" else f"{len(found.papers)}편 중 {len(hits)}편")
    else:
        lines.append(f"no paper holds {query!r}" if language == "en" else f"{query!r}에 맞는 논문이 없다")
    value = {
        "query": query,
        "words": most,
        "papers": [brief(h.paper, found) | {"score": round(h.score, 3), "words": h.words} for h in hits],
    }
    answer(args, value, "\n".join(lines))
    return 0


def _site(args: argparse.Namespace) -> int:
    from strop.report.site import write

    target = Path(args.words[0])
    files = write(target, catalogue())
    value = {"site": str(target), "index": str(target / "index.html"), "pages": len(files), "bytes": sum(f.stat().st_size for f in files)}
    answer(args, value, f"{target / 'index.html'}\n{len(files)} pages, {value['bytes'] / 1e6:.1f} MB")
    return 0


def say(key: str, language: str) -> str:
    from strop.report.papers import word

    return word(key, language)
