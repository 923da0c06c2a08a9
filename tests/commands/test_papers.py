"""strop papers: what it prints, what it refuses, and how soon."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from strop.cli import main
from strop.papers import catalogue
from strop.papers.held import held


@pytest.fixture
def said(capsys):
    def run(*argv):
        main(["papers", *map(str, argv)])
        return capsys.readouterr().out

    return run


@pytest.fixture
def told(said):
    return lambda *argv: json.loads(said(*argv, "--json"))


def test_the_list_holds_every_paper_with_its_place_state_and_verdicts(said):
    lines = said().splitlines()
    assert len([line for line in lines if line[:4].isdigit() and line[4] == "."]) == 64
    row = next(line for line in lines if line.startswith("2508.17445"))
    assert "treepo" in row
    assert "2025-W35 #9" in row
    assert "in strop" in row
    counted = held()["2508.17445"].counted
    assert ", ".join(f"{count} {verdict}" for verdict, count in counted.items()) in row
    assert lines[-1].startswith("64 of 64 papers")
    assert said("list") == said()


def test_filters_choose_and_add_up(told):
    kinds = [paper["kind"] for paper in told("--kind", "survey")["papers"]]
    assert kinds
    assert set(kinds) == {"survey"}
    states = {state: len(told("--status", state)["papers"]) for state in ("here", "not-yet", "checklist")}
    assert sum(states.values()) == 64
    assert all(states.values())
    refuted = told("--verdict", "refuted")["papers"]
    assert refuted
    assert all("refuted" in paper["verdicts"].values() for paper in refuted)
    assert told("--kind", "survey", "--verdict", "refuted")["papers"] == []


def test_a_paper_is_shown_with_its_four_places_claims_and_formula(said):
    from strop.identity import explain
    from strop.methods import method

    text = said("show", "cdas")
    for path in ("src/strop/methods/cdas.py", "src/strop/experiments/cdas.py", "docs/methods/cdas.md"):
        assert path in text
    for name, verdict in held()["2505.17652"].verdicts.items():
        assert next(line for line in text.splitlines() if line.strip().startswith(f"{name} ")).split()[1] == verdict
    assert explain(method("cdas")).splitlines()[-1] in text
    assert catalogue().paper("cdas").run in text


def test_a_paper_is_shown_in_korean(said):
    text = said("show", "2505.17652", "--lang", "ko")
    assert "strop에 있는 것" in text
    assert catalogue().paper("cdas").summary.ko[:20] in text
    assert catalogue().paper("cdas").summary.en[:40] not in text


def test_a_paper_that_strop_does_not_have_says_so(said):
    some = next(paper.id for paper in catalogue().papers.values() if paper.kind == "method" and paper.id not in held())
    assert "strop does not have this paper yet." in said("show", some)


def test_a_survey_shows_its_checklist_with_the_commands(said):
    survey = next(paper for paper in catalogue().papers.values() if paper.kind == "survey")
    text = said("show", survey.id)
    covered = [cell.command for cell in survey.checklist if cell.command]
    assert covered
    assert text.count("  [x] ") == len(covered)
    assert all(f"$ {command}" in text for command in covered)
    assert text.count("  [ ] ") == len(survey.checklist) - len(covered)


def test_a_search_in_korean_answers_in_korean(said, told):
    spaced, joined = told("search", "음성", "인식"), told("search", "음성인식")
    assert spaced["papers"][0]["id"] == "2505.16972"
    assert {p["id"] for p in spaced["papers"]} == {p["id"] for p in joined["papers"]}
    assert "편 중" in said("search", "음성", "인식")
    assert said("search", "zzzz").strip() == "no paper holds 'zzzz'"


DIGEST = """Read this week: arXiv:2508.17445v2, https://arxiv.org/abs/2401.00001 and
https://huggingface.co/papers/2505.17652 (again 2508.17445).
"""


@pytest.fixture
def digest(tmp_path) -> Path:
    file = tmp_path / "week.txt"
    file.write_text(DIGEST)
    return file


def test_a_text_is_answered_in_its_order_and_what_is_not_here_is_marked(said, told, digest):
    rows = [line for line in said("--from", digest).splitlines() if line[:2].isdigit()]
    assert [row[:10] for row in rows[:3]] == ["2508.17445", "2401.00001", "2505.17652"]
    assert "not in the catalogue" in rows[1]
    value = told("--from", digest)
    assert [paper["id"] for paper in value["papers"]] == ["2508.17445", "2505.17652"]
    assert value["absent"] == ["2401.00001"]
    assert [p["id"] for p in told("--from", digest, "--verdict", "refuted")["papers"]] == ["2505.17652"]


@pytest.mark.parametrize("ending", [".md", ".html"])
def test_a_finished_digest_holds_both_languages_corrections_and_what_strop_has(said, digest, tmp_path, ending):
    out = tmp_path / "new" / f"page{ending}"
    assert "2 of 3 papers in both languages; not in the catalogue: 2401.00001" in said("--from", digest, "--page", out)
    page = out.read_text()
    at = [page.index(paper) for paper in ("2508.17445", "2401.00001", "2505.17652")]
    assert at == sorted(at)
    one = catalogue().papers["2505.17652"]
    for text in (one.summary.en[:30], one.summary.ko[:15], one.corrections[0].ko[:12], "목록에 없음", "strop에 있다", one.run):
        assert text in page


@pytest.mark.parametrize("edition", [pytest.param(edition, id=name) for name, edition in catalogue().editions.items()])
def test_a_whole_edition_is_finished_in_its_order_under_its_own_title(said, tmp_path, edition):
    text = tmp_path / "digest.txt"
    text.write_text("\n".join(f"Link: https://huggingface.co/papers/{one}\n번역 중 오류 발생" for one in edition.papers))
    said("--from", text, "--page", tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert page.startswith(f"# {edition.title.en} · {edition.title.ko}\n")
    at = [page.index(f"## {rank}. ") for rank in range(1, len(edition.papers) + 1)]
    assert at == sorted(at)
    assert page.count("### English\n") == page.count("### 한국어\n") == len(edition.papers)


def test_what_cannot_be_read_is_refused_in_a_line(refused, tmp_path):
    (tmp_path / "none.txt").write_text("no paper is named here, only 3.14159 and 1412.6980")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "binary").write_bytes(bytes(range(256)) * 40)
    with (tmp_path / "large.txt").open("wb") as file:
        file.truncate(100_000_000)
    for name, why in {
        "none.txt": "no arXiv id",
        "empty.txt": "no arXiv id",
        "binary": "no text but binary",
        "large.txt": "more than 20 MB",
        "absent.txt": "No such file",
        ".": "is no file",
    }.items():
        for more in ((), ("--page", tmp_path / "out.md")):
            message = refused("papers", "--from", tmp_path / name, *more)
            assert why in message
            assert len(message.strip().splitlines()) == 1
    assert not (tmp_path / "out.md").exists()


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("lst",), "Did you mean 'list'"),
        (("list", "cdas"), "takes no words"),
        (("show",), "takes one paper"),
        (("show", "a", "b"), "takes one paper"),
        (("show", "cdass"), "Did you mean 'cdas'"),
        (("show", "cdas", "--lang", "fr"), "--lang"),
        (("show", "cdas", "--kind", "method"), "--kind chooses among papers"),
        (("search",), "takes words"),
        (("search", " "), "takes words"),
        (("site",), "takes one directory"),
        (("site", "x", "--lang", "ko"), "both languages"),
        (("--page", "x.md"), "--from FILE --page"),
        (("--kind", "novel"), "--kind"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_way_out(argv, says, refused):
    assert says in refused("papers", *argv)


def test_a_page_is_no_other_format_and_never_written_over_its_text(refused, digest):
    assert "neither .md nor .html" in refused("papers", "--from", digest, "--page", "out.pdf")
    assert "goes with --from alone" in refused("papers", "--from", digest, "--page", "out.md", "--kind", "method")
    own = digest.rename(digest.with_suffix(".md"))
    assert "would write over" in refused("papers", "--from", own, "--page", own)
    assert own.read_text() == DIGEST


def test_the_list_is_quick_and_imports_no_torch(tmp_path):
    """Under 0.3 s of processor time, once compiled; where others keep the machine busy, under a dozen times what Python needs to start."""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"} | {"PYTHONPYCACHEPREFIX": str(tmp_path)}

    def spent(code: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, env=env)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode == 0, done.stderr
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    code = "import sys\nfrom strop.cli import main\nmain(['papers', 'list'])\nassert not {'torch', 'numpy'} & set(sys.modules)"
    assert min(spent(code) for _ in range(3)) < max(0.3, 12 * min(spent("pass") for _ in range(3)))
