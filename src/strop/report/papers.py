"""The catalogue's pages in Markdown, both languages on one: a paper, an edition, a digest; and the words that all pages share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from strop.papers import LANGUAGES, TOPICS, Catalogue, Edition, Paper, Said
from strop.papers.held import Held, covered, formula, held, state, stem_of

WORDS = {
    "language": Said("English", "한국어"),
    "other": Said("한국어", "English"),
    "summary": Said("Summary", "요약"),
    "corrections": Said("What digests say that the paper does not", "다이제스트의 잘못"),
    "strop": Said("What strop has of it", "strop에 있는 것"),
    "claims": Said("Claims", "주장과 판정"),
    "formula": Said("What it computes", "계산식"),
    "standins": Said("What stands in for what", "대신 쓴 것"),
    "missing": Said("What strop does not offer of it", "strop이 제공하지 않는 것"),
    "checklist": Said("Checklist", "점검표"),
    "asks": Said("what it asks of a system", "시스템에 묻는 것"),
    "papers": Said("Papers", "논문"),
    "paper": Said("paper", "논문"),
    "name": Said("name", "이름"),
    "kind": Said("kind", "종류"),
    "digest": Said("digest", "다이제스트"),
    "verdicts": Said("verdicts", "판정"),
    "title": Said("title", "제목"),
    "claim": Said("claim", "주장"),
    "verdict": Said("verdict", "판정"),
    "effect": Said("effect", "효과"),
    "threshold": Said("threshold", "기준"),
    "seeds": Said("seeds", "시드"),
    "run": Said("run", "실행"),
    "method": Said("method", "방법"),
    "experiments": Said("experiments", "실험"),
    "page": Said("page", "설명"),
    "covered": Said("covered by strop", "strop이 다루는 것"),
    "open": Said("not covered", "다루지 않음"),
    "absent": Said("not in the catalogue", "목록에 없음"),
    "source": Said("source", "출처"),
    "state here": Said("in strop", "있음"),
    "state not-yet": Said("not yet", "아직 없음"),
    "state checklist": Said("checklist", "점검표"),
    "kind method": Said("method", "방법"),
    "kind system": Said("system", "시스템"),
    "kind study": Said("study", "연구"),
    "kind benchmark": Said("benchmark", "벤치마크"),
    "kind data": Said("data", "데이터"),
    "kind survey": Said("survey", "서베이"),
    "kind position": Said("position", "입장"),
    "verdict supported": Said("supported", "지지"),
    "verdict refuted": Said("refuted", "반박"),
    "verdict inconclusive": Said("inconclusive", "미결"),
    "verdict void": Said("void", "무효"),
    "verdict not run": Said("not run", "실행 전"),
    "not yet": Said("strop does not have this paper yet.", "strop에는 아직 이 논문이 없다."),
}


def word(name: str, language: str) -> str:
    return WORDS[name][language]


def topics(paper: Paper, language: str) -> str:
    return ", ".join(TOPICS.get(topic, topic) if language == "ko" else topic for topic in paper.topics)


def standing(paper: Paper, language: str) -> str:
    """One sentence: whether strop has it, and how its claims ended."""
    if state(paper) == "not-yet":
        return word("not yet", language)
    if state(paper) == "checklist":
        ours, all_of_it = covered(paper), len(paper.checklist)
        return {
            "en": f"strop covers {ours} of the {all_of_it} things it asks for.",
            "ko": f"묻는 것 {all_of_it}가지 중 {ours}가지를 strop이 다룬다.",
        }[language]
    counted = held()[paper.id].counted
    ended = ", ".join(f"{word(f'verdict {verdict}', language)} {count}" for verdict, count in counted.items())
    if language == "ko":
        return f"strop에 있다. 주장 {sum(counted.values())}개: {ended}." if counted else "strop에 있다. 아직 주장은 없다."
    return f"strop has it, with {_many(sum(counted.values()), 'claim')}: {ended}." if counted else "strop has it, without a claim so far."


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def ranked(paper: Paper, found: Catalogue, language: str) -> list[str]:
    """Where digests have it: title and rank."""
    return [
        f"{e.title.ko}, {len(e.papers)}편 중 {rank}번째" if language == "ko" else f"{e.title.en}, no. {rank} of {len(e.papers)}"
        for e, rank in found.ranks(paper.id)
    ]


def claims(found: Held, language: str) -> list[tuple[str, str, str, str, str, str]]:
    """(claim, verdict, effect with its interval, threshold, seeds, what it says) of every claim."""
    return [_claim(name, made, language) for name, made in found.records.items()]


def _claim(name: str, made: Mapping[str, Any] | None, language: str) -> tuple[str, str, str, str, str, str]:
    if made is None:
        return name, word("verdict not run", language), "", "", "", ""
    effect, interval = made["effect"], made["interval"]
    said = "" if effect is None else f"{effect:+.3g} [{interval[0]:+.3g}, {interval[1]:+.3g}]"
    threshold = ("± " if made["tie"] else "> ") + f"{made['threshold']:g}"
    return name, word(f"verdict {made['verdict']}", language), said, threshold, str(len(made["seeds"])), f"{made['says']}."


def escaped(text: str) -> str:
    """Prose as Markdown that shows it: what means something there is said literally, but for `code`."""
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(piece if at % 2 else re.sub(r"([\\*_<>\[\]|~#])", r"\\\1", piece) for at, piece in enumerate(pieces))


def bullets(said: Iterable[Said], language: str) -> str:
    return "\n".join(f"- {escaped(one[language])}" for one in said)


def grid(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def checklist(paper: Paper, language: str) -> str:
    ours = [f"`{cell.command}`".replace("|", r"\|") if cell.command else word("open", language) for cell in paper.checklist]
    asked = [escaped(cell.asks[language]) for cell in paper.checklist]
    return grid((word("asks", language), word("covered", language)), zip(asked, ours, strict=True))


def paper_page(paper: Paper, found: Catalogue) -> str:
    """`docs/papers/ID.md`."""
    parts = [
        f"# {escaped(paper.title)}",
        f"[arXiv:{paper.id}]({paper.url}) · {paper.kind} · {escaped(topics(paper, 'en'))}"
        + "".join(f" · [{escaped(e.title.en)}]({e.name}.md), no. {rank} of {len(e.papers)}" for e, rank in found.ranks(paper.id)),
        *(section for language in LANGUAGES for section in _half(paper, language)),
    ]
    if text := formula(paper):
        parts.append(f"## {WORDS['formula'].en} · {WORDS['formula'].ko}\n\n```\n{text}\n```")
    return "\n\n".join(parts) + "\n"


def _half(paper: Paper, language: str) -> list[str]:
    """Everything about a paper in one language."""
    return [f"## {word('language', language)}", *body(paper, language, "###")]


def body(paper: Paper, language: str, level: str) -> list[str]:
    parts = [escaped(paper.summary[language])]
    if paper.corrections:
        parts.append(f"{level} {word('corrections', language)}\n\n{bullets(paper.corrections, language)}")
    parts.append(f"{level} {word('strop', language)}\n\n{standing(paper, language)}")
    if here := held().get(paper.id):
        where = [f"{word(key, language)} `{path}`" for key, path in here.places.items()]
        parts[-1] += " " + "; ".join(where) + "."
        if here.verdicts:
            head = [word(key, language) for key in ("claim", "verdict", "effect", "threshold", "seeds")]
            parts.append(grid(head, [(f"[{row[0]}](../methods/{stem_of(row[0])}.md)", *row[1:5]) for row in claims(here, language)]))
    if paper.run:
        parts.append(f"```\n{paper.run}\n```")
    if paper.checklist:
        parts.append(checklist(paper, language))
    for key in ("standins", "missing"):
        if said := getattr(paper, key):
            parts.append(f"{level} {word(key, language)}\n\n{bullets(said, language)}")
    return parts


def edition_page(edition: Edition, found: Catalogue) -> str:
    """`docs/papers/NAME.md`: the papers of a digest in its order, a row each."""
    rows = [
        (str(rank), f"[{escaped(paper.title)}]({paper.id}.md)", paper.kind, escaped(standing(paper, "en")))
        for rank, paper in enumerate((found.papers[one] for one in edition.papers), 1)
    ]
    table = grid(("", "paper", "kind", "in strop"), rows)
    return f"# {escaped(edition.title.en)}\n\n{escaped(edition.title.ko)} · [{edition.source}]({edition.source})\n\n{table}\n"


def digest_title(names: Sequence[str], found: Catalogue, otherwise: str) -> str:
    """An edition's own title where these are its papers."""
    same = [e for e in found.editions.values() if e.papers == tuple(names)]
    return f"{same[0].title.en} · {same[0].title.ko}" if same else otherwise


def digest_page(title: str, names: Sequence[str], found: Catalogue) -> str:
    """A finished digest: every paper that a text names, in its order, in both languages."""
    here = [one for one in names if one in found.papers]
    parts = [
        f"# {escaped(title)}",
        f"{len(here)} of the {_many(len(names), 'paper')} are in the catalogue. · 논문 {len(names)}편 중 {len(here)}편이 목록에 있다.",
    ]
    for rank, one in enumerate(names, 1):
        paper = found.papers.get(one)
        if paper is None:
            absent = f"{WORDS['absent'].en} · {WORDS['absent'].ko}"
            parts.append(f"## {rank}. arXiv:{one}\n\n[https://arxiv.org/abs/{one}](https://arxiv.org/abs/{one}) · {absent}")
            continue
        parts.append(f"## {rank}. {escaped(paper.title)}\n\n[arXiv:{one}]({paper.url}) · {paper.kind} · {escaped(topics(paper, 'en'))}")
        for language in LANGUAGES:
            parts += [f"### {word('language', language)}", escaped(paper.summary[language])]
            if paper.corrections:
                parts.append(f"**{word('corrections', language)}**\n\n{bullets(paper.corrections, language)}")
            parts.append(f"**{word('strop', language)}** {escaped(standing(paper, language))}" + (f" `{paper.run}`" if paper.run else ""))
            if paper.checklist:
                parts.append(checklist(paper, language))
    return "\n\n".join(parts) + "\n"
