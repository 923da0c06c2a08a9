"""docs/papers.md and docs/papers/*.md: made from the catalogue and the code. `python tests/paper_pages.py` writes them anew.

Of docs/papers.md the list at the end is made; the rest is written by hand.
"""

from __future__ import annotations

import re
from pathlib import Path

from method_pages import said

from strop.papers import catalogue
from strop.report.papers import edition_page, paper_page

DOCS = Path(__file__).parent.parent / "docs"
PAGES = DOCS / "papers"


def files() -> dict[Path, str]:
    """Every page as it should be."""
    found = catalogue()
    pages = {PAGES / f"{paper.id}.md": paper_page(paper, found) for paper in found.papers.values()}
    pages |= {PAGES / f"{edition.name}.md": edition_page(edition, found) for edition in found.editions.values()}
    listed = f"```\n$ strop papers\n{said('papers')}\n```"
    front = re.sub(r"```\n\$ strop papers\n.*?\n```", lambda _: listed, (DOCS / "papers.md").read_text(), flags=re.S)
    return pages | {DOCS / "papers.md": front}


if __name__ == "__main__":
    PAGES.mkdir(exist_ok=True)
    for path, text in files().items():
        path.write_text(text)
        print(path)
