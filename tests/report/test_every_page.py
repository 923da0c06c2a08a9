"""Every kind of page strop makes: valid HTML in one file with its figures; and, in a real browser, something to see."""

import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import html5lib
import pytest

from strop.cli import main

OUTSIDE = re.compile(
    r"""(?:src|href|srcset|data|action)\s*=\s*["']?(?!#|data:)[^"'\s>]+|@import|url\((?!["']?data:)|fetch\(|XMLHttpRequest"""
)
KINDS = ("run", "tree", pytest.param("claim", marks=pytest.mark.full), "microscope")  # a claim is eight trainings
BROWSER = os.environ.get("STROP_BROWSER", "chromium")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of two steps by a method, made once."""

    @cache
    def by(method: str) -> Path:
        place = tmp_path_factory.mktemp(method) / "run"
        main(["train", "--method", method, "--steps", "2", "--tasks", "4", "--eval-tasks", "0", "--out", str(place)])
        return place

    return by


@pytest.fixture(scope="module", params=KINDS)
def page(request, trained, tmp_path_factory) -> Path:
    """A page of this kind, by the command that a reader would use."""
    place = tmp_path_factory.mktemp(request.param)
    if request.param == "claim":
        example = Path(__file__).parent.parent.parent / "examples" / "add_a_method.py"
        main(["claim", "run", str(example), "--seeds", "2", "--out", str(place)])
        return place / "w-reinforce-entropy-quick" / "page.html"
    run = trained("treepo" if request.param == "tree" else "grpo")
    if request.param == "microscope":
        main(["microscope", str(run), "--step", "1", "--methods", "grpo,dr-grpo", "--out", str(place / "page.html")])
        return place / "page.html"
    main(["report", str(run)])
    return run / "report.html"


def test_it_is_valid_html_in_one_file_with_figures(page):
    text = page.read_text()
    tree = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(text)
    assert tree.find(".//title").text.strip()
    figures = [node for node in tree.iter() if str(node.tag).endswith("svg") or "tokens" in node.get("class", "").split()]
    assert figures, "no figure: neither a drawing nor tokens in colour"
    assert all(len(figure) for figure in figures), "an empty figure"
    assert all(len(table) for table in tree.iter("table")), "a heading over nothing"
    assert not OUTSIDE.findall(re.sub(r"<pre>.*?</pre>", "", text, flags=re.S)), "refers to something outside itself"


@pytest.mark.full
def test_a_browser_shows_it_without_complaint_and_it_is_not_blank(page, tmp_path):
    from matplotlib.image import imread

    assert shutil.which(BROWSER), f"no {BROWSER}: apt-get install chromium, or name one in STROP_BROWSER"
    picture = tmp_path / "page.png"
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--window-size=1000,1600"]
    done = subprocess.run([*command, f"--screenshot={picture}", page.as_uri()], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "CONSOLE" not in done.stderr, done.stderr
    seen = imread(picture)[..., :3]
    ink = (abs(seen - seen[0, 0]) > 0.1).any(-1)
    rows, columns = ink.any(1).mean(), ink.any(0).mean()
    assert rows > 0.3, f"ink on {rows:.0%} of the lines only"
    assert columns > 0.5, f"ink on {columns:.0%} of the columns only"
