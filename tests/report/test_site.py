"""The site of the catalogue: valid pages that need nothing else, two languages that lead to each other; a search in a real browser."""

import json
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import html5lib
import pytest

from strop.cli import main
from strop.papers import LANGUAGES, Cell, Paper, Said, catalogue
from strop.papers.search import search
from strop.report import papers as markdown
from strop.report import site as html

BROWSER = os.environ.get("STROP_BROWSER", "chromium")
HOSTILE = '<script>alert(1)</script> & "quoted" <img src=x onerror=alert(1)> `<b>code</b>` | *a* _b_ [c](d)'
LOADED = re.compile(
    r"""<(?:script|img|iframe|object|embed|source|video|audio)\b[^>]*\bsrc|<link\b[^>]*stylesheet|@import|url\(|fetch\(|XMLHttpRequest"""
)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("papers") / "site"
    main(["papers", "site", str(place)])
    return place


def pages(place: Path) -> list[Path]:
    return sorted(place.rglob("*.html"))


def test_there_is_a_page_a_paper_an_edition_and_an_index_in_each_language(made):
    names = {"index", *catalogue().papers, *catalogue().editions}
    assert {path.stem for path in made.glob("*.html")} == names
    assert {path.stem for path in (made / "ko").glob("*.html")} == names


def test_every_page_is_valid_loads_nothing_and_leads_to_the_other_language(made):
    for path in pages(made):
        text = path.read_text()
        assert not LOADED.search(re.sub(r"<pre.*?</pre>", "", text, flags=re.S)), path
        tree = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(text)
        language = "ko" if path.parent.name == "ko" else "en"
        assert tree.get("lang") == language
        assert tree.find(".//title").text.strip()
        assert len(tree.findall(".//h1")) == 1
        other = {node.get("hreflang"): node.get("href") for node in tree.iter("link") if node.get("rel") == "alternate"}
        assert set(other) == {"en", "ko", "x-default"}
        assert (path.parent / other[language]).resolve() == path.resolve()
        twin = (path.parent / other["ko" if language == "en" else "en"]).resolve()
        assert twin.exists()
        assert twin.name == path.name


def test_no_link_within_the_site_is_broken(made):
    for path in pages(made):
        for link in re.findall(r'href="([^"#]+)"', path.read_text()):
            assert link.startswith("https://") or (path.parent / link).exists(), f"{path.name}: {link}"


def test_a_paper_page_holds_its_claims_verdicts_and_formula(made):
    from strop.identity import explain
    from strop.methods import method
    from strop.papers.held import held

    text = (made / "2505.17652.html").read_text()
    for name, verdict in held()["2505.17652"].verdicts.items():
        assert re.search(rf'<code>{name}</code></td><td><span class="verdict {verdict}">', text)
    shown = re.search(r'<pre class="formula"[^>]*>(.*?)</pre>', text, re.S)
    assert shown is not None
    parsed = html5lib.parseFragment(shown[1], namespaceHTMLElements=False)
    assert "".join(parsed.itertext()) == explain(method("cdas"))


def test_whatever_an_entry_says_is_text_and_never_markup():
    said = Said(HOSTILE, f"한국어 {HOSTILE}")
    paper = Paper(
        "2501.00001",
        HOSTILE,
        "survey",
        (HOSTILE,),
        said,
        "n",
        HOSTILE.replace("`", ""),
        (said,),
        (said,),
        (said,),
        (Cell(said, HOSTILE.replace("`", "")),),
    )
    found = catalogue()
    found = type(found)({**found.papers, paper.id: paper}, found.editions)
    for language in LANGUAGES:
        for text in (
            html.paper_page(paper, found, language, HOSTILE),
            html.index_page(found, language),
            html.digest_page(HOSTILE, [paper.id], found),
        ):
            tree = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(text)
            scripts = [node for node in tree.iter("script") if "alert(1)" in "".join(node.itertext())]
            assert all(node.get("type") == "application/json" for node in scripts)
            assert not list(tree.iter("img"))
            assert not list(tree.iter("b"))
    shown = markdown.digest_page(HOSTILE, [paper.id], found)
    outside = re.sub(r"`[^`]*`", "", shown)
    assert not re.search(r"(?<!\\)<", outside), "markup"
    assert not re.search(r"(?<!\\)\[c", outside), "a link"


def test_a_site_is_written_again_but_never_over_something_else(made, tmp_path, refused, capsys):
    main(["papers", "site", str(made), "--json"])
    assert json.loads(capsys.readouterr().out)["pages"] == len(pages(made))
    (tmp_path / "notes.txt").write_text("mine")
    assert "holds something else" in refused("papers", "site", tmp_path)
    assert "is a file" in refused("papers", "site", tmp_path / "notes.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def browse(page: str, *more: str) -> subprocess.CompletedProcess[str]:
    assert shutil.which(BROWSER), f"no {BROWSER}: apt-get install chromium, or name one in STROP_BROWSER"
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--window-size=1000,1600", *more, page]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "CONSOLE" not in done.stderr, done.stderr
    return done


@pytest.mark.full
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_browser_shows_every_page_without_complaint_and_none_is_blank(made, language, tmp_path):
    from matplotlib.image import imread

    def ink(path: Path) -> tuple[str, float, float]:
        picture = tmp_path / f"{path.stem}.png"
        browse(path.as_uri(), f"--user-data-dir={tmp_path / path.stem}", f"--screenshot={picture}")
        seen = imread(picture)[..., :3]
        marks = (abs(seen - seen[0, 0]) > 0.1).any(-1)
        return path.name, marks.any(1).mean(), marks.any(0).mean()

    place = made if language == "en" else made / "ko"
    with ThreadPoolExecutor(2) as pool:
        blank = [found for found in pool.map(ink, sorted(place.glob("*.html"))) if found[1] < 0.2 or found[2] < 0.5]
    assert not blank


@pytest.mark.full
@pytest.mark.parametrize(
    "query",
    ["음성 인식", "음성인식", "GRPO", "ＧＲＰＯ", "speech recognition", "reward model", "rl", "2505.17652", "zzz", "vla", "학습 데이터"],
)
def test_the_search_in_a_browser_is_the_search_of_the_command(made, query, tmp_path):
    done = browse(f"{(made / 'index.html').as_uri()}#q={quote(query)}", f"--user-data-dir={tmp_path}", "--dump-dom")
    rows = html5lib.HTMLParser(namespaceHTMLElements=False).parse(done.stdout).find(".//ol[@id='papers']")
    shown = [row.get("id") for row in rows if row.get("hidden") is None]
    assert shown == [hit.paper.id for hit in search(query, catalogue().papers.values())]


@pytest.mark.full
def test_filters_in_a_browser_are_the_filters_of_the_command(made, tmp_path, capsys):
    main(["papers", "--verdict", "refuted", "--kind", "method", "--json"])
    expected = [paper["id"] for paper in json.loads(capsys.readouterr().out)["papers"]]
    done = browse(f"{(made / 'ko' / 'index.html').as_uri()}#verdict=refuted&kind=method", f"--user-data-dir={tmp_path}", "--dump-dom")
    tree = html5lib.HTMLParser(namespaceHTMLElements=False).parse(done.stdout)
    assert [row.get("id") for row in tree.find(".//ol[@id='papers']") if row.get("hidden") is None] == expected
    switch = next(node for node in tree.iter("a") if "other" in node.get("class", "").split())
    assert switch.get("href") == "../index.html#kind=method&verdict=refuted", "the other language would forget the filters"
