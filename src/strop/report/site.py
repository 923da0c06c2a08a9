"""The catalogue as pages of HTML that need no server: an index that searches, a page a paper and a digest, each in English and in Korean.

A page refers to nothing outside the site but by links a reader may follow. Whatever an entry, a record or a formula says is escaped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from math import isfinite
from pathlib import Path
from typing import Any

from strop.papers import KINDS, LANGUAGES, Catalogue, Edition, Paper, Said
from strop.papers import search as searching
from strop.papers.held import STATES, formula, held, state
from strop.report.papers import WORDS, claims, standing, topics, word

HERE = Path(__file__).parent
MADE = '<meta name="generator" content="strop papers site">'
"""Every page of a site says so: a directory that holds something else is not written to."""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
VERDICTS = ("supported", "refuted", "inconclusive", "void", "not run")

TEXT = {
    "brand": Said("strop · papers", "strop · 논문"),
    "skip": Said("Skip to the content", "본문으로 건너뛰기"),
    "head": Said("{} papers, read closely", "논문 {}편, 꼼꼼히 읽다"),
    "about": Said(
        "What each paper does and what to doubt, where its digest was wrong, and what strop has of it: a method to run, "
        "claims that could be refuted, and how they ended.",
        "논문마다 무엇을 했고 무엇을 의심할지, 다이제스트가 어디서 틀렸는지, 그리고 strop에 무엇이 있는지를 적었다. 실행할 수 있는 방법과 "
        "반박될 수 있는 주장, 그 판정까지 함께 본다.",
    ),
    "search": Said("Search titles, topics, summaries", "제목, 주제, 요약에서 찾기"),
    "any": Said("any", "전체"),
    "status": Said("state", "상태"),
    "card": Said("{} papers, {} in strop", "논문 {}편, strop에 {}편"),
    "some": Said("{} of {} papers", "논문 {}/{}편"),
    "none": Said("No paper fits. Fewer words, or another filter?", "맞는 논문이 없다. 낱말을 줄이거나 필터를 바꿔 보자."),
    "before": Said("Before", "이전"),
    "after": Said("Next", "다음"),
    "foot": Said(
        "Written by `strop papers site`. Summaries are strop's own; whether it has a paper, its verdicts and formulas come from the code.",
        "`strop papers site`로 만든 페이지. 요약은 strop이 쓴 것이고, 있음·판정·계산식은 코드에서 온다.",
    ),
    "plot": Said("effect {}, interval {}; threshold {}", "효과 {}, 구간 {}; 기준 {}"),
    "legend": Said(
        "Dot: effect, with its interval. Dashed: the threshold set before. Grey: seeds, and zero.",
        "점: 효과와 구간. 점선: 미리 정한 기준. 회색: 시드와 0.",
    ),
    "topics": Said("topics", "주제"),
    "files": Said("files", "파일"),
}


def write(target: Path, found: Catalogue) -> list[Path]:
    """The whole site; into a directory that is new, empty, or holds one already."""
    if target.exists() and not target.is_dir():
        raise ValueError(f"{target} is a file. Name a directory for the site")
    index = target / "index.html"
    if target.exists() and any(target.iterdir()) and not (index.exists() and MADE in index.read_text(encoding="utf-8", errors="replace")):
        raise ValueError(f"{target} holds something else. Name a new directory, an empty one, or one that holds such a site already")
    pages = dict(site(found))
    for name, text in pages.items():
        file = target / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return [target / name for name in pages]


def site(found: Catalogue) -> Iterable[tuple[str, str]]:
    """(path in the site, page) of every page."""
    computed = {one: formula(paper) for one, paper in found.papers.items()}
    for language in LANGUAGES:
        at = "" if language == "en" else f"{language}/"
        yield f"{at}index.html", index_page(found, language)
        for paper in found.papers.values():
            yield f"{at}{paper.id}.html", paper_page(paper, found, language, computed[paper.id])
        for edition in found.editions.values():
            yield f"{at}{edition.name}.html", edition_page(edition, found, language)


def text_of(name: str, language: str) -> str:
    return TEXT[name][language]


def page(title: str, body: str, language: str, file: str, script: str = "") -> str:
    """A page in one language, with its way to the same page in the other."""
    to = {"en": f"../{file}" if language == "ko" else file, "ko": file if language == "ko" else f"ko/{file}"}
    other = "ko" if language == "en" else "en"
    links = "".join(f'<link rel="alternate" hreflang="{each}" href="{to[each]}">' for each in LANGUAGES)
    switch = f'<a class="other" lang="{other}" hreflang="{other}" rel="alternate" href="{to[other]}">{word("other", language)}</a>'
    return (
        f"{top(title, language)}{links}<link rel='alternate' hreflang='x-default' href='{to['en']}'></head>\n<body>"
        f'<a class="skip" href="#content">{text_of("skip", language)}</a>'
        f'<header><div class="bar"><a class="brand" href="index.html">{text_of("brand", language)}</a>{switch}</div></header>'
        f'<hr class="rule"><main id="content">\n{body}\n</main>{foot(language)}{script}</body></html>\n'
    )


def top(title: str, language: str) -> str:
    return (
        f'<!doctype html>\n<html lang="{language}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">{MADE}'
        f'<meta name="color-scheme" content="light dark"><title>{escape(title)}</title>'
        f"<style>{(HERE / 'site.css').read_text(encoding='utf-8')}</style>"
    )


def foot(language: str) -> str:
    return f"<footer>{prose(text_of('foot', language))}</footer>"


def prose(text: str) -> str:
    """Escaped, with `code` set as such."""
    pieces = re.split(r"`([^`]*)`", text)
    return "".join(f"<code>{escape(piece)}</code>" if at % 2 else escape(piece) for at, piece in enumerate(pieces))


def paragraphs(text: str) -> str:
    return "".join(f"<p>{prose(part)}</p>" for part in text.split("\n\n"))


def tag(paper: Paper, language: str) -> str:
    return f'<span class="tag {state(paper)}">{word(f"state {state(paper)}", language)}</span>'


def verdict(name: str, language: str, count: str = "") -> str:
    return f'<span class="verdict {name.replace(" ", "-")}">{count}{word(f"verdict {name}", language)}</span>'


def ended(paper: Paper, language: str) -> str:
    """Its claims' verdicts, counted."""
    here = held().get(paper.id)
    return "".join(verdict(name, language, f"{count} ") for name, count in (here.counted if here else {}).items())


def said(texts: Sequence[Said], language: str, kind: str = "") -> str:
    return f'<ul class="said {kind}">{"".join(f"<li>{prose(one[language])}</li>" for one in texts)}</ul>'


def section(title: str, body: str, level: str = "h2") -> str:
    return f"<{level}>{escape(title)}</{level}>\n{body}\n" if body else ""


def index_page(found: Catalogue, language: str) -> str:
    rows = "\n".join(_row(paper, found, language) for paper in found.papers.values())
    body = (
        f"<h1>{escape(text_of('head', language).format(len(found.papers)))}</h1>"
        f'<div class="lead"><p>{escape(text_of("about", language))}</p></div>'
        f'<ul class="editions">{"".join(_card(e, found, language) for e in found.editions.values())}</ul>'
        f'{_form(found, language)}<p class="dim small" id="said" role="status">'
        f"{text_of('some', language).format(len(found.papers), len(found.papers))}</p>"
        f'<ol class="list" id="papers">\n{rows}\n</ol>'
    )
    fields = {
        "weights": searching.WEIGHTS,
        "tiers": {"whole": searching.WHOLE, "begins": searching.BEGINS, "inside": searching.INSIDE, "often": searching.OFTEN},
        "words": {key: text_of(key, language) for key in ("some", "none")},
        "papers": {one: searching.fields(paper) for one, paper in found.papers.items()},
    }
    data = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    script = f'<script type="application/json" id="fields">{data}</script><script>{(HERE / "site.js").read_text(encoding="utf-8")}</script>'
    return page(text_of("brand", language), body, language, "index.html", script)


def _row(paper: Paper, found: Catalogue, language: str) -> str:
    ranks = found.ranks(paper.id)
    meta = [paper.id, paper.name, word(f"kind {paper.kind}", language), topics(paper, language)]
    places = "".join(f' · <a href="{e.name}.html">{e.name}</a> #{rank}' for e, rank in ranks)
    data = {
        "kind": paper.kind,
        "status": state(paper),
        "verdict": " ".join(name.replace(" ", "-") for name in (held()[paper.id].counted if paper.id in held() else {})),
        "digest": " ".join(e.name for e, _ in ranks),
    }
    marks = " ".join(f'data-{key}="{escape(value)}"' for key, value in data.items())
    return (
        f'<li id="{paper.id}" {marks}><div><a class="title" lang="en" href="{paper.id}.html">{escape(paper.title)}</a>'
        f'<p class="meta">{escape(" · ".join(part for part in meta if part))}{places}</p></div>'
        f'<div class="right">{tag(paper, language)}{ended(paper, language)}</div></li>'
    )


def _card(edition: Edition, found: Catalogue, language: str) -> str:
    here = sum(state(found.papers[one]) == "here" for one in edition.papers)
    squares = "".join(f'<i class="{state(found.papers[one])}"></i>' for one in edition.papers)
    return (
        f'<li><a href="{edition.name}.html"><strong>{escape(edition.title[language])}</strong>'
        f'<span class="squares" aria-hidden="true">{squares}</span>'
        f'<span class="dim">{text_of("card", language).format(len(edition.papers), here)}</span></a></li>'
    )


def _form(found: Catalogue, language: str) -> str:
    """Filters that only a script can apply: shown by it."""
    choices = {
        "kind": (word("kind", language), [(kind, word(f"kind {kind}", language)) for kind in KINDS]),
        "status": (text_of("status", language), [(each, word(f"state {each}", language)) for each in STATES]),
        "verdict": (word("verdict", language), [(each.replace(" ", "-"), word(f"verdict {each}", language)) for each in VERDICTS]),
        "digest": (word("digest", language), [(name, name) for name in found.editions]),
    }
    selects = "".join(
        f'<label>{escape(label)}<select name="{key}"><option value="">{text_of("any", language)}</option>'
        + "".join(f'<option value="{value}">{escape(shown)}</option>' for value, shown in options)
        + "</select></label>"
        for key, (label, options) in choices.items()
    )
    words = (
        f'<label class="words">{text_of("search", language)}<input type="search" name="q" autocomplete="off" spellcheck="false"></label>'
    )
    return f'<form class="find" role="search" hidden>{words}{selects}</form>'


def paper_page(paper: Paper, found: Catalogue, language: str, computed: str) -> str:
    here = held().get(paper.id)
    ranks = found.ranks(paper.id)
    crumbs = "".join(f' / <a href="{e.name}.html">{escape(e.title[language])}</a>' for e, _ in ranks[:1])
    ours = f"<p>{escape(standing(paper, language))}</p>"
    if paper.run:
        ours += f'<pre class="shell"><code>{escape(paper.run)}</code></pre>'
    article = [
        f'<div class="lead">{paragraphs(paper.summary[language])}</div>',
        section(word("corrections", language), said(paper.corrections, language, "wrong") if paper.corrections else ""),
        section(word("strop", language), ours),
        section(word("claims", language), claim_table(here.records, claims(here, language), language) if here and here.verdicts else ""),
        section(word("checklist", language), checklist(paper, language) if paper.checklist else ""),
        section(word("standins", language), said(paper.standins, language) if paper.standins else ""),
        section(word("missing", language), said(paper.missing, language) if paper.missing else ""),
        section(word("formula", language), f'<pre class="formula" lang="en" tabindex="0">{coloured(computed)}</pre>' if computed else ""),
    ]
    body = (
        f'<nav class="crumbs"><a href="index.html">{word("papers", language)}</a>{crumbs}</nav>'
        f'<h1 lang="en">{escape(paper.title)}</h1>'
        f'<div class="two"><article>{"".join(article)}</article><aside class="facts">{facts(paper, found, language)}</aside></div>'
        f"{turns(paper, found, language)}"
    )
    return page(f"{paper.title} · {text_of('brand', language)}", body, language, f"{paper.id}.html")


def facts(paper: Paper, found: Catalogue, language: str) -> str:
    here = held().get(paper.id)
    digests = "<br>".join(f'<a href="{e.name}.html">{e.name}</a> #{rank}' for e, rank in found.ranks(paper.id))
    rows = [
        ("arXiv", f'<a href="{escape(paper.url)}">{paper.id}</a>'),
        (text_of("status", language), tag(paper, language)),
        (word("name", language), escape(paper.name)),
        (word("kind", language), word(f"kind {paper.kind}", language)),
        (text_of("topics", language), escape(topics(paper, language))),
        (word("digest", language), digests),
        (text_of("files", language), "<br>".join(f"<code>{escape(path)}</code>" for path in here.places.values()) if here else ""),
    ]
    return "<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{value}</dd>" for name, value in rows if value) + "</dl>"


def turns(paper: Paper, found: Catalogue, language: str) -> str:
    """To its neighbours in the digest."""
    order = list(found.papers)
    at = order.index(paper.id)
    made = ""
    for key, where in (("before", at - 1), ("after", at + 1)):
        if 0 <= where < len(order):
            one = found.papers[order[where]]
            kind = ' class="next"' if key == "after" else ""
            made += f'<a{kind} href="{one.id}.html"><span>{text_of(key, language)}</span><bdi lang="en">{escape(one.title)}</bdi></a>'
    return f'<nav class="turn">{made}</nav>'


def claim_table(made: Mapping[str, Mapping[str, Any] | None], rows: Sequence[Sequence[str]], language: str) -> str:
    head = "".join(f"<th>{word(key, language)}</th>" for key in ("claim", "verdict", "effect"))
    head += "".join(f"<th>{word(key, language)}</th>" for key in ("threshold", "seeds"))
    body = ""
    for name, _, effect, threshold, seeds, says in rows:
        record = made[name]
        ended = verdict(str(record["verdict"]) if record else "not run", language)
        drawn = plot(record, language) if record else ""
        told = f'<span class="n small">{escape(effect.replace("-", "−"))}</span>' if effect else "–"
        body += f'<tr class="first"><td><code>{escape(name)}</code></td><td>{ended}</td><td class="number">{drawn}{told}</td>'
        body += f'<td class="number">{escape(threshold) or "–"}</td><td class="number">{escape(seeds) or "–"}</td></tr>'
        told = escape(says) if says else f"<code>strop claim run {escape(name)} --profile full</code>"
        body += f'<tr class="says"><td colspan="5" lang="en">{told}</td></tr>'
    legend = f'<p class="dim small">{escape(text_of("legend", language))}</p>' if any(made.values()) else ""
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{legend}'


WIDE, TALL = 176, 27


def plot(record: Mapping[str, Any], language: str) -> str:
    """A claim's effect on one line: seeds, interval, threshold and zero, each claim on a scale of its own."""
    if record["effect"] is None:
        return ""
    inside = [v for v in record["interval"] if v is not None and isfinite(v)]
    limits = [record["threshold"], -record["threshold"]] if record["tie"] else [record["threshold"]]
    marks = [*record["differences"], record["effect"], *limits, *inside, 0.0]
    left, wide = min(marks), (max(marks) - min(marks)) or 1.0

    def x(value: float) -> str:
        return f"{6 + (value - left) / wide * (WIDE - 12):.1f}"

    lines = f'<path class="zero" d="M{x(0.0)} 3V{TALL - 3}"/>' + "".join(f'<path class="limit" d="M{x(v)} 3V{TALL - 3}"/>' for v in limits)
    dots = "".join(f'<circle class="seed" cx="{x(d)}" cy="6.5" r="2"/>' for d in record["differences"])
    bar = f'<path class="bar" d="M{x(inside[0])} 16H{x(inside[1])}"/>' if len(inside) == 2 else ""
    label = text_of("plot", language).format(
        f"{record['effect']:+.3g}", " … ".join(f"{v:+.3g}" for v in inside), f"{record['threshold']:g}"
    )
    return (
        f'<svg class="plot {escape(str(record["verdict"]))}" viewBox="0 0 {WIDE} {TALL}" role="img" aria-label="{escape(label)}">'
        f'{lines}{dots}{bar}<circle class="mean" cx="{x(record["effect"])}" cy="16" r="4"/></svg>'
    )


def checklist(paper: Paper, language: str) -> str:
    rows = ""
    for cell in paper.checklist:
        ours = f"<code>{escape(cell.command)}</code>" if cell.command else f'<span class="dim">{word("open", language)}</span>'
        mark = '<span class="supported" aria-hidden="true">✓</span>' if cell.command else '<span class="dim" aria-hidden="true">–</span>'
        rows += f"<tr><td>{mark}</td><td>{prose(cell.asks[language])}</td><td>{ours}</td></tr>"
    head = f"<tr><th></th><th>{word('asks', language)}</th><th>{word('covered', language)}</th></tr>"
    return f'<div class="scroll"><table><thead>{head}</thead><tbody>{rows}</tbody></table></div>'


def coloured(text: str) -> str:
    """A formula: its parts' heads strong, its remarks dim."""
    made = []
    for line in text.splitlines():
        kind = "part" if line and not line[0].isspace() else "note" if line.lstrip().startswith("#") else ""
        made.append(f'<span class="{kind}">{escape(line)}</span>' if kind else escape(line))
    return "\n".join(made)


def edition_page(edition: Edition, found: Catalogue, language: str) -> str:
    rows = "".join(
        f'<li><div class="rank">{rank}</div><div>{_whole(found.papers[one], language)}</div></li>'
        for rank, one in enumerate(edition.papers, 1)
    )
    body = (
        f'<nav class="crumbs"><a href="index.html">{word("papers", language)}</a></nav><h1>{escape(edition.title[language])}</h1>'
        f'<p class="dim small"><time datetime="{edition.date.isoformat()}">{edition.date.isoformat()}</time> · {word("source", language)} '
        f'<a href="{escape(edition.source)}">{escape(edition.source.removeprefix("https://"))}</a></p><ol class="ranked">{rows}</ol>'
    )
    return page(f"{edition.title[language]} · {text_of('brand', language)}", body, language, f"{edition.name}.html")


def _whole(paper: Paper, language: str) -> str:
    """A paper in a digest, told whole."""
    wrong = section(word("corrections", language), said(paper.corrections, language, "wrong"), "h3") if paper.corrections else ""
    return (
        f'<h2 lang="en"><a href="{paper.id}.html">{escape(paper.title)}</a></h2>'
        f'<p class="dim small">{paper.id} · {word(f"kind {paper.kind}", language)} · {tag(paper, language)} {ended(paper, language)}</p>'
        f'<div class="told"><div class="lead">{paragraphs(paper.summary[language])}</div><div>{wrong}</div></div>'
    )


def digest_page(title: str, names: Sequence[str], found: Catalogue) -> str:
    """A finished digest as one page, both languages side by side."""
    here = sum(one in found.papers for one in names)
    rows = "".join(f'<li><div class="rank">{rank}</div><div>{_beside(one, found)}</div></li>' for rank, one in enumerate(names, 1))
    count = f"{here} of {len(names)} in the catalogue · {len(names)}편 중 {here}편이 목록에 있다"
    return (
        f"{top(title, 'en')}</head>\n<body><main><h1>{escape(title)}</h1>"
        f'<p class="dim small">{count}</p><ol class="ranked">{rows}</ol></main></body></html>\n'
    )


def _beside(name: str, found: Catalogue) -> str:
    paper = found.papers.get(name)
    if paper is None:
        url = f"https://arxiv.org/abs/{name}"
        absent = f'{WORDS["absent"].en} · <span lang="ko">{WORDS["absent"].ko}</span>'
        return f'<h2><a href="{escape(url)}">arXiv:{escape(name)}</a></h2><p class="dim">{absent}</p>'
    halves = ""
    for language in LANGUAGES:
        wrong = section(word("corrections", language), said(paper.corrections, language, "wrong"), "h3") if paper.corrections else ""
        ours = f"<p>{escape(standing(paper, language))}</p>" + (
            f'<pre class="shell"><code>{escape(paper.run)}</code></pre>' if paper.run else ""
        )
        asked = section(word("checklist", language), checklist(paper, language), "h3") if paper.checklist else ""
        halves += f'<div lang="{language}"><div class="lead">{paragraphs(paper.summary[language])}</div>{wrong}'
        halves += f"{section(word('strop', language), ours, 'h3')}{asked}</div>"
    return (
        f'<h2><a href="{escape(paper.url)}">{escape(paper.title)}</a></h2><p class="dim small">{escape(paper.id)} · {paper.kind} · '
        f'{escape(topics(paper, "en"))}</p><div class="both">{halves}</div>'
    )
