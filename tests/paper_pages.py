"""docs/papers/*.md: a page a paper and a digest, made from the catalogue and the code. `python tests/paper_pages.py` writes them anew."""

from __future__ import annotations

from pathlib import Path

from strop.papers import catalogue
from strop.report.papers import edition_page, paper_page

PAGES = Path(__file__).parent.parent / "docs" / "papers"


def files() -> dict[Path, str]:
    """Every page as it should be."""
    found = catalogue()
    papers = {PAGES / f"{paper.id}.md": paper_page(paper, found) for paper in found.papers.values()}
    return papers | {PAGES / f"{edition.name}.md": edition_page(edition, found) for edition in found.editions.values()}


if __name__ == "__main__":
    PAGES.mkdir(exist_ok=True)
    for path, text in files().items():
        path.write_text(text)
        print(path)
