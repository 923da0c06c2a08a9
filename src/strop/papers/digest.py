"""The papers that a text names: a digest, a bibliography, notes, a page's source. Its arXiv ids, in its order, each once."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

LARGEST = 20_000_000
"""Bytes. A digest of ten papers has 17,000, the bibliography of a thesis some 500,000."""

NUMBER = re.compile(r"(?<!\d)\d{4}\.\d{4,5}(?!\d)|/\d{7}(?!\d)")
"""What may be one; what it is, the text before it says. (A pattern with every prefix in it would take seconds for a megabyte.)"""
MONTH = r"(?:0[1-9]|1[0-2])"
NOW = re.compile(rf"(?:1[5-9]|[2-9]\d){MONTH}\.\d{{5}}")
"""Since 2015: unmistakable, so it may stand alone."""
THEN = re.compile(rf"(?:0[7-9]|1[0-4]){MONTH}\.\d{{4}}")
"""From 2007 to 2014: like many a number, so it needs its prefix."""
FIRST = re.compile(rf"/\d{{2}}{MONTH}\d{{3}}")
"""Before 2007: a number within an archive."""
PREFIX = re.compile(r"(?:arxiv[:.]\s?|/(?:abs|pdf|html|papers)/)$", re.I)
ARCHIVE = re.compile(
    r"(?<![\w-])(acc-phys|adap-org|alg-geom|ao-sci|astro-ph|atom-ph|bayes-an|chao-dyn|chem-ph|cmp-lg|comp-gas|cond-mat|cs|dg-ga|funct-an|"
    r"gr-qc|hep-ex|hep-lat|hep-ph|hep-th|math|math-ph|mtrl-th|nlin|nucl-ex|nucl-th|patt-sol|physics|plasm-ph|q-alg|q-bio|q-fin|quant-ph|"
    r"solv-int|stat|supr-con)(?:\.[A-Z]{2})?$",
    re.I,
)


def ids(text: str) -> list[str]:
    """
    >>> ids("https://arxiv.org/pdf/2505.17652v3, arXiv:2508.17445; again 2505.17652. Not 1234.56789 or 3.2505.17652.")
    ['2505.17652', '2508.17445']
    """
    found = (_id(hit[0], text[max(0, hit.start() - 16) : hit.start()]) for hit in NUMBER.finditer(text))
    return list(dict.fromkeys(one for one in found if one))


def _id(number: str, before: str) -> str:
    if number.startswith("/"):
        archive = ARCHIVE.search(before) if FIRST.fullmatch(number) else None
        return f"{archive[1].lower()}{number}" if archive else ""
    if PREFIX.search(before):
        return number if NOW.fullmatch(number) or THEN.fullmatch(number) else ""
    return number if NOW.fullmatch(number) and not before.endswith(".") else ""


def read(path: Path) -> str:
    """A text file, whatever its encoding (ids are ASCII in all of them); refused in a line where it is none."""
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is no file. --from takes a text with arXiv ids: a digest, a bibliography")
    with path.open("rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise ValueError(f"{path} has more than {LARGEST // 1_000_000} MB, and no digest has. Name the part of it with the arXiv ids")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", errors="replace")
    if any(byte in data for byte in (b"\x00", b"\x01", b"\x02", b"\x03")):
        raise ValueError(f"{path} is no text but binary. --from reads text; from a PDF take it first, as with `pdftotext FILE.pdf`")
    return data.decode("utf-8", errors="replace")


def named(path: Path) -> list[str]:
    found = ids(read(path))
    if not found:
        raise ValueError(f"{path} names no paper: no arXiv id like 2505.17652 or arXiv:2505.17652v2 in it")
    return found
