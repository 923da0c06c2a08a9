"""Search through both languages at once: NFKC, without case, Hangul with and without spaces.

A query is words; a paper's score is what its words earn, each in the best of the paper's fields. The script of the site's index
(`strop/report/papers.js`) is this again, and a test holds them to each other.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from strop.papers import HANGUL, TOPICS, Paper

WEIGHTS = {"title": 8.0, "name": 6.0, "topics": 4.0, "summary": 2.0, "rest": 1.0}
WHOLE, BEGINS, INSIDE = 1.0, 0.7, 0.3
"""A word as it stands, as the beginning of a longer one, or within one (from three letters on)."""
OFTEN = 0.05
"""What another occurrence adds, up to five."""


@dataclass(frozen=True)
class Found:
    paper: Paper
    score: float
    words: int
    """How many of the query's words it holds."""


def plain(text: str) -> str:
    """One spelling for all: NFKC, no case, and no space between Hangul, since `음성 인식` and `음성인식` are one word."""
    text = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return re.sub(r"(?<=[가-힣]) (?=[가-힣])", "", text)


def words(query: str) -> list[str]:
    return list(dict.fromkeys(plain(word) for word in query.split() if plain(word)))


def fields(paper: Paper) -> dict[str, str]:
    """What is searched, in one spelling."""
    rest = [*paper.corrections, *paper.standins, *paper.missing, *(cell.asks for cell in paper.checklist)]
    return {
        "title": plain(f"{paper.title} {paper.id}"),
        "name": plain(f"{paper.name} {paper.kind}"),
        "topics": plain(" ".join(f"{topic} {TOPICS.get(topic, '')}" for topic in paper.topics)),
        "summary": plain(f"{paper.summary.en} {paper.summary.ko}"),
        "rest": plain(" ".join(f"{said.en} {said.ko}" for said in rest)),
    }


def earned(word: str, text: str) -> float:
    """What one word earns in one text."""
    if HANGUL.search(word):
        tiers = [WHOLE] * text.count(word)
    else:
        tiers = [tier for found in re.finditer(re.escape(word), text) if (tier := _tier(word, text, found.start()))]
    return max(tiers) * (1 + OFTEN * min(len(tiers) - 1, 5)) if tiers else 0.0


def _tier(word: str, text: str, at: int) -> float:
    before, after = text[at - 1 : at], text[at + len(word) : at + len(word) + 1]
    if _joins(before):
        return INSIDE if len(word) >= 3 else 0.0
    return BEGINS if _joins(after) else WHOLE


def _joins(letter: str) -> bool:
    return bool(re.fullmatch("[a-z0-9]", letter))


def score(query: str, held: Mapping[str, str]) -> tuple[float, int]:
    """(score, words found). A query that stands somewhere as a whole counts once more."""
    wanted = words(query)
    each = [max(WEIGHTS[name] * earned(word, text) for name, text in held.items()) for word in wanted]
    whole = max(WEIGHTS[name] * earned(plain(query), text) for name, text in held.items()) if len(wanted) > 1 else 0.0
    return sum(each) + whole, sum(value > 0 for value in each)


def search(query: str, papers: Iterable[Paper]) -> list[Found]:
    """Papers that hold all words, best first; where none does, those that hold the most of them."""
    made = [Found(paper, *score(query, fields(paper))) for paper in papers]
    most = max((one.words for one in made), default=0)
    return sorted((one for one in made if one.words == most > 0), key=lambda one: -one.score)


def excerpt(query: str, text: str) -> str:
    """The sentence that holds most of the words; the first one where none does."""
    sentences = re.split(r"(?<=[.!?])\s+", text)
    return max(sentences, key=lambda sentence: sum(earned(word, plain(sentence)) for word in words(query)))
