"""The catalogue: what each paper is, in English and Korean, and what digests got wrong. `ID.toml` is one paper, `editions/` holds digests.

An entry holds prose alone. Rank and edition stand in `editions/`; whether strop has a paper, its claims, verdicts and formulas come
from the code (`held.py`).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

HERE = Path(__file__).parent
LANGUAGES = ("en", "ko")
KINDS = ("method", "system", "study", "benchmark", "data", "survey", "position")
CHECKED = ("survey", "position")
"""Kinds that ask something of a system instead of proposing one: their entries hold a checklist, and a name where strop tries a point."""
TOPICS = {
    "agents": "에이전트",
    "audio": "오디오",
    "code": "코드",
    "compression": "압축",
    "credit": "기여 배분",
    "curriculum": "커리큘럼",
    "data": "데이터",
    "efficiency": "효율",
    "evaluation": "평가",
    "exploration": "탐험",
    "gui": "화면 조작",
    "image-generation": "이미지 생성",
    "interpretability": "해석 가능성",
    "mathematics": "수학",
    "medicine": "의료",
    "memory": "기억",
    "multimodal": "멀티모달",
    "preference": "선호",
    "quantisation": "양자화",
    "reasoning": "추론",
    "rewards": "보상",
    "robotics": "로봇",
    "safety": "안전",
    "science": "과학",
    "search": "탐색",
    "speech": "음성",
    "survey-of-field": "분야 정리",
    "theory": "이론",
    "tools": "도구",
    "video": "비디오",
    "vision": "시각",
    "web": "웹",
}
"""What papers are about, in one short vocabulary: {English: Korean}."""
WORD = re.compile("[a-z0-9]+(?:-[a-z0-9]+)*")
HANGUL = re.compile("[가-힣]")


@dataclass(frozen=True, slots=True)
class Said:
    """One text in both languages."""

    en: str
    ko: str

    def __getitem__(self, language: str) -> str:
        return self.ko if language == "ko" else self.en


@dataclass(frozen=True, slots=True)
class Cell:
    """One thing that a survey asks of a system, and the command that covers it here."""

    asks: Said
    command: str = ""


@dataclass(frozen=True, slots=True)
class Paper:
    id: str
    title: str
    kind: str
    topics: tuple[str, ...]
    summary: Said
    name: str = ""
    """In strop: of its method's file, its experiments and its page, now or once they are there."""
    run: str = ""
    corrections: tuple[Said, ...] = ()
    standins: tuple[Said, ...] = ()
    missing: tuple[Said, ...] = ()
    checklist: tuple[Cell, ...] = ()

    @property
    def url(self) -> str:
        return f"https://arxiv.org/abs/{self.id}"


@dataclass(frozen=True, slots=True)
class Edition:
    """A digest: which papers, in which order."""

    name: str
    title: Said
    date: date
    source: str
    papers: tuple[str, ...]


@dataclass(frozen=True)
class Catalogue:
    papers: Mapping[str, Paper]
    """In the order of the editions, the newest first."""
    editions: Mapping[str, Edition]

    def ranks(self, paper: str) -> list[tuple[Edition, int]]:
        """Where digests have it, counted from 1."""
        return [(edition, edition.papers.index(paper) + 1) for edition in self.editions.values() if paper in edition.papers]

    def paper(self, name: str) -> Paper:
        """By its id, however it is written, or by its name in strop."""
        wanted = re.sub(r"^(https?://\S+/|arxiv:)|(v\d+|\.pdf)$", "", name.strip(), flags=re.I)
        by_name = {paper.name: paper for paper in self.papers.values() if paper.name}
        found = self.papers.get(wanted) or by_name.get(wanted.replace("_", "-").lower())
        if found is None:
            from strop.seams.part import nearest

            said = nearest(wanted, {*self.papers, *by_name})
            close = said if said.startswith("Did") else "`strop papers` lists all, `strop papers search WORDS` finds some."
            raise ValueError(f"the catalogue has no paper {name!r}. {close}")
        return found


@cache
def catalogue(place: Path = HERE) -> Catalogue:
    """Every entry and every edition, read and checked."""
    papers = {path.stem: read(path) for path in sorted(place.glob("*.toml"))}
    editions = sorted((read_edition(path) for path in (place / "editions").glob("*.toml")), key=lambda e: (e.date, e.name), reverse=True)
    for edition in editions:
        unknown = [one for one in edition.papers if one not in papers]
        if unknown:
            raise ValueError(f"editions/{edition.name}.toml names {unknown[0]}, and there is no {unknown[0]}.toml beside it")
    order = dict.fromkeys([one for edition in editions for one in edition.papers] + list(papers))
    return Catalogue({one: papers[one] for one in order}, {edition.name: edition for edition in editions})


def read(path: Path) -> Paper:
    """One entry; what is wrong with it is said in a line."""
    given = _toml(path)
    known = ("title", "name", "kind", "topics", "summary", "run", "corrections", "standins", "missing", "checklist")
    _only(given, known, ("title", "kind", "topics", "summary"), path)
    if not re.fullmatch(r"\d{4}\.\d{5}", path.stem):
        _refuse(path, "an entry's file is named by its arXiv id, like 2505.17652.toml")
    kind, topics = given["kind"], given["topics"]
    if kind not in KINDS:
        _refuse(path, f"kind is one of {', '.join(KINDS)}, got {kind!r}")
    if not isinstance(topics, list) or not 1 <= len(topics) <= 4 or not all(isinstance(t, str) for t in topics):
        _refuse(path, f"topics are one to four words, got {topics!r}")
    if unknown := [topic for topic in topics if topic not in TOPICS]:
        _refuse(path, f"there is no topic {unknown[0]!r}. Known: {', '.join(TOPICS)}")
    if kind not in CHECKED and "name" not in given:
        _refuse(path, f"a {kind} needs `name`, what strop calls it")
    if "name" in given and not (isinstance(given["name"], str) and WORD.fullmatch(given["name"])):
        _refuse(path, f"a name is lower-case words joined by dashes, got {given['name']!r}")
    if (kind in CHECKED) != ("checklist" in given):
        _refuse(path, f"a {kind} {'needs a `checklist`' if kind in CHECKED else 'has no `checklist`: that is for surveys and positions'}")
    cells = [_only(c, ("en", "ko", "command"), (), path) for c in _list(given, "checklist", path)]
    return Paper(
        id=path.stem,
        title=_text(given["title"], "title", path),
        kind=kind,
        topics=tuple(topics),
        summary=_said(given["summary"], "summary", path),
        name=given.get("name", ""),
        run=_text(given["run"], "run", path) if "run" in given else "",
        corrections=_several(given, "corrections", path),
        standins=_several(given, "standins", path),
        missing=_several(given, "missing", path),
        checklist=tuple(
            Cell(
                _said({key: cell[key] for key in LANGUAGES if key in cell}, f"checklist {at}", path),
                _text(cell["command"], f"checklist {at}: command", path) if "command" in cell else "",
            )
            for at, cell in enumerate(cells, 1)
        ),
    )


def read_edition(path: Path) -> Edition:
    given = _toml(path)
    _only(given, ("title", "date", "source", "papers"), ("title", "date", "source", "papers"), path)
    papers = given["papers"]
    if not isinstance(papers, list) or not papers or len(set(papers)) < len(papers):
        _refuse(path, "papers are the arXiv ids of the digest, each once, in its order")
    if type(given["date"]) is not date:
        _refuse(path, f"date is a day, like 2025-05-27, got {given['date']!r}")
    title = _said(given["title"], "title", path)
    return Edition(path.stem, title, given["date"], _text(given["source"], "source", path), tuple(papers))


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # broken TOML, or not UTF-8
        _refuse(path, f"cannot be read as TOML: {error}")


def _only(given: Any, known: Iterable[str], needed: Iterable[str], path: Path) -> dict[str, Any]:
    if not isinstance(given, dict):
        _refuse(path, f"expected a table with {', '.join(known)}, got {given!r}")
    for key in given:
        if key not in known:
            _refuse(path, f"does not know {key!r}. Known: {', '.join(known)}")
    for key in needed:
        if key not in given:
            _refuse(path, f"has no {key!r}")
    return given


def _list(given: Mapping[str, Any], key: str, path: Path) -> list[Any]:
    found = given.get(key, [])
    if not isinstance(found, list):
        _refuse(path, f"{key} is a list of tables: write [[{key}]]")
    return found


def _several(given: Mapping[str, Any], key: str, path: Path) -> tuple[Said, ...]:
    return tuple(_said(one, f"{key} {at}", path) for at, one in enumerate(_list(given, key, path), 1))


def _said(given: Any, where: str, path: Path) -> Said:
    """A text in both languages, and in those: an entry in one of them is half an entry."""
    _only(given, LANGUAGES, (), path)
    words = {"en": "English", "ko": "Korean"}
    for key, language in words.items():
        if not str(given.get(key, "")).strip():
            _refuse(path, f"{where} has no {language} text (`{key}`). Every text of the catalogue is in English and in Korean")
    made = Said(*(_text(given[key], f"{where}.{key}", path) for key in LANGUAGES))
    if not HANGUL.search(made.ko):
        _refuse(path, f"{where}: the Korean text holds no Hangul. Every text of the catalogue is in English and in Korean")
    if len(HANGUL.findall(made.en)) * 2 > len(made.en):
        _refuse(path, f"{where}: the English text is Korean. Every text of the catalogue is in English and in Korean")
    return made


def _text(given: Any, where: str, path: Path) -> str:
    """Paragraphs without their line breaks."""
    if not isinstance(given, str) or not given.strip():
        _refuse(path, f"{where} is a text, got {given!r}")
    return "\n\n".join(" ".join(part.split()) for part in re.split(r"\n\s*\n", given.strip()))


def _refuse(path: Path, why: str) -> NoReturn:
    raise ValueError(f"papers/{path.relative_to(path.parents[1] if path.parent.name == 'editions' else path.parent)}: {why}.")
