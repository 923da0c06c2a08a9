"""The catalogue: both languages, the digests in their order, names that the code knows, lines that the command line takes."""

import re
import shlex
from pathlib import Path

import pytest

from strop import papers
from strop.papers import CHECKED, LANGUAGES, TOPICS, catalogue, read
from strop.papers.held import PACKAGE, first_lines, held, state

ENTRY = """
title = "A title"
name = "some-name"
kind = "method"
topics = ["reasoning"]

[summary]
en = "In English."
ko = "한국어로."
"""


@pytest.fixture
def refusal(tmp_path):
    """The message with which an entry of this text is refused."""

    def of(text, file="2501.00001.toml"):
        path = tmp_path / file
        path.write_text(text)
        with pytest.raises(ValueError, match=re.escape(file)) as said:
            read(path)
        assert "\n" not in str(said.value)
        return str(said.value)

    return of


def entries():
    return catalogue().papers.values()


def lines():
    """Every line that a reader is told to type."""
    return [(paper, line) for paper in entries() for line in [paper.run, *(cell.command for cell in paper.checklist)] if line]


def test_all_five_digests_are_there_and_every_paper_stands_in_one():
    found = catalogue()
    assert {name: len(edition.papers) for name, edition in found.editions.items()} == {
        "2025-W38": 10,
        "2025-W37": 10,
        "2025-W35": 10,
        "2025-05-27": 26,
        "2025-05-06": 8,
    }
    assert len(found.papers) == 64
    assert all(found.ranks(one) for one in found.papers)
    assert [edition.date for edition in found.editions.values()] == sorted((e.date for e in found.editions.values()), reverse=True)


@pytest.mark.parametrize("paper", [pytest.param(paper, id=paper.id) for paper in entries()])
def test_an_entry_says_enough_in_both_languages_and_no_more(paper):
    assert 80 <= len(paper.summary.en.split()) <= 150
    assert 50 <= len(paper.summary.ko.split()) <= 150
    texts = [paper.summary, *paper.corrections, *paper.standins, *paper.missing, *(cell.asks for cell in paper.checklist)]
    for text in (said[language] for said in texts for language in LANGUAGES):
        assert not re.search(r"</?[a-z][^>]*>|&[a-z]+;", text, re.I), f"HTML: {text}"
        assert text.count("`") % 2 == 0, f"an open backtick: {text}"
    if paper.kind in CHECKED:
        assert 4 <= len(paper.checklist) <= 10


@pytest.mark.parametrize("paper", [pytest.param(paper, id=paper.id) for paper in entries()])
def test_what_an_entry_says_of_strop_fits_the_code(paper):
    here = state(paper) == "here"
    assert bool(paper.run) == here, "a line to run stands where strop has the paper, and nowhere else"
    assert here or not paper.missing, "what is missing is said where strop has the paper, and nowhere else"
    if here:
        assert paper.name == held()[paper.id].name


WRONG_SAYINGS = {
    "2505.20259": ("RR", "LAT"),  # defended models, not data sets
    "2505.19949": ("Infra",),  # and not Intra
    "2505.18545": ("train",),  # B-score trains nothing
    "2505.19147": ("experiment",),  # it holds some
    "2505.18536": ("experiment",),  # it holds none
}


@pytest.mark.parametrize(("one", "words"), WRONG_SAYINGS.items())
def test_what_digests_got_wrong_for_certain_is_corrected(one, words):
    said = " ".join(correction.en for correction in catalogue().papers[one].corrections)
    assert all(word in said for word in words)


def test_every_topic_is_in_use():
    assert {topic for paper in entries() for topic in paper.topics} == set(TOPICS)


def test_names_belong_to_one_paper_each():
    names = [paper.name for paper in entries() if paper.name]
    assert len(set(names)) == len(names)


def test_four_places_of_a_paper_name_each_other():
    root = PACKAGE.parent.parent
    ours = {one: here.stem for one, here in held().items() if one in catalogue().papers}
    assert {"2505.02835", "2509.13305", "2505.17652", "2505.19590", "2508.17445", "2509.15207", "2509.04664", "2509.08721"} <= set(ours)
    for one, stem in ours.items():
        assert catalogue().papers[one].name == stem.replace("_", "-")
        assert held()[one].methods, f"methods/{stem}.py is in no line of strop.methods.METHODS"
        for each in (stem, *held()[one].beside):
            assert one in (root / "docs" / "methods" / f"{each}.md").read_text(), f"docs/methods/{each}.md does not name arXiv:{one}"
    experiments = {path.stem: path.read_text().partition("\n")[0] for path in (PACKAGE / "experiments").glob("[a-z]*.py")}
    for stem, first in experiments.items():
        one, called, _ = first_lines()[stem]
        assert first.startswith(f'"""{called} ('), f"experiments/{stem}.py begins otherwise than methods/{stem}.py"
        assert f"arXiv:{one})" in first


def test_every_claim_of_a_paper_is_the_one_of_its_method():
    from strop.claims import OWN, claims_of

    for here in held().values():
        assert {*here.verdicts} == {claim for name in here.methods for claim in claims_of(name)}
    assert sum(len(here.verdicts) for here in held().values()) == len(OWN), "a claim of no paper"


ANSWERS = ("tripwires", "tasks", "methods", "explain", "diff", "papers")


@pytest.mark.parametrize(("paper", "line"), [pytest.param(paper, line, id=f"{paper.id}: {line}") for paper, line in lines()])
def test_every_line_of_an_entry_is_one_that_the_command_line_takes(paper, line, capsys):
    """Those that only print are run; a recipe is built, so that methods, tasks and options are known to be there."""
    from strop.cli import understood
    from strop.commands import recipes

    program, *argv = shlex.split(line)
    assert program == "strop"
    command, args = understood(argv)
    if argv[0] in ANSWERS or argv[:2] in (["claim", "show"], ["claim", "list"]):
        assert not command.run(args)
        assert capsys.readouterr().out.strip()
    elif argv[0] in ("train", "plan") and not (args.recipe or args.recipe_data):
        recipe, _ = recipes.build(args)
        if line == paper.run:
            assert (recipe.program or recipe.resolved()).name in held()[paper.id].methods


@pytest.mark.parametrize("key", LANGUAGES)
@pytest.mark.parametrize("where", ["summary", "corrections 1", "standins 1", "missing 1", "title"])
def test_an_entry_in_one_language_is_refused(where, key, refusal, tmp_path):
    missing = {"en": ("English", 'ko = "한국어로."'), "ko": ("Korean", 'en = "In English."')}[key]
    if where == "summary":
        said = refusal(ENTRY.partition("[summary]")[0] + f"[summary]\n{missing[1]}\n")
    elif where == "title":
        path = tmp_path / "2025-W01.toml"
        path.write_text(f'date = 2025-01-01\nsource = "x"\npapers = ["2501.00001"]\n[title]\n{missing[1]}\n')
        with pytest.raises(ValueError, match="in English and in Korean") as stop:
            papers.read_edition(path)
        said = str(stop.value)
    else:
        said = refusal(f"{ENTRY}\n[[{where.split()[0]}]]\n{missing[1]}\n")
    assert f"{where} has no {missing[0]} text (`{key}`)" in said


def test_an_english_text_twice_is_no_korean_one(refusal):
    assert "holds no Hangul" in refusal(ENTRY.replace("한국어로.", "In English again."))
    assert "the English text is Korean" in refusal(ENTRY.replace("In English.", "이것도 한국어로."))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (ENTRY + "= broken", "cannot be read as TOML"),
        (ENTRY.replace('title = "A title"', ""), "has no 'title'"),
        (ENTRY.replace('"A title"', '" "'), "title is a text"),
        (ENTRY.replace("topics", "topic"), "does not know 'topic'"),
        (ENTRY.replace('"method"', '"idea"'), "kind is one of method"),
        (ENTRY.replace('["reasoning"]', '["Reasoning"]'), "no topic 'Reasoning'"),
        (ENTRY.replace('["reasoning"]', "[]"), "one to four"),
        (ENTRY.replace('name = "some-name"', ""), "a method needs `name`"),
        (ENTRY.replace('"method"', '"survey"'), "a survey needs a `checklist`"),
        (ENTRY + '[[checklist]]\nen = "It asks."\nko = "묻는다."\n', "for surveys and positions"),
        (ENTRY + '[corrections]\nen = "Wrong."\nko = "틀렸다."\n', "[[corrections]]"),
        (ENTRY.replace('"한국어로."', "7"), "summary.ko is a text"),
        (ENTRY + 'verdict = "supported"\n', "does not know 'verdict'"),
    ],
)
def test_a_wrong_entry_is_refused_in_words(text, says, refusal):
    assert says in refusal(text)


def test_an_entry_that_is_not_named_by_its_id_is_refused(refusal):
    assert "named by its arXiv id" in refusal(ENTRY, file="cdas.toml")


def test_an_edition_of_papers_that_are_not_there_is_refused(tmp_path):
    (tmp_path / "editions").mkdir()
    (tmp_path / "2501.00001.toml").write_text(ENTRY)
    edition = tmp_path / "editions" / "2025-W01.toml"
    wrong = 'date = 2025-01-01\nsource = "x"\npapers = [{}]\n[title]\nen = "A week"\nko = "한 주"\n'
    edition.write_text(wrong.format('"2501.00001", "2501.00002"'))
    with pytest.raises(ValueError, match=r"2025-W01\.toml names 2501\.00002"):
        catalogue(tmp_path)
    edition.write_text(wrong.format('"2501.00001", "2501.00001"'))
    with pytest.raises(ValueError, match="each once"):
        catalogue(tmp_path)
    edition.write_text(wrong.format('"2501.00001"'))
    assert catalogue(tmp_path).ranks("2501.00001")[0][1] == 1


def test_a_paper_is_found_by_any_spelling_of_its_id_and_by_its_name():
    found = catalogue()
    spelled = (
        "2505.17652",
        "2505.17652v2",
        "arXiv:2505.17652",
        "https://arxiv.org/abs/2505.17652v1",
        "https://arxiv.org/pdf/2505.17652.pdf",
    )
    assert {found.paper(name).id for name in (*spelled, "cdas", "CDAS", " cdas ")} == {"2505.17652"}
    with pytest.raises(ValueError, match=r"Did you mean .*'cdas'"):
        found.paper("cdass")
    with pytest.raises(ValueError, match="strop papers search"):
        found.paper("nothing like it")


def test_entries_and_editions_are_in_the_package():
    """Whatever builds the wheel takes what stands beside the code (hatchling: everything under src/strop)."""
    assert Path(papers.__file__).parent == papers.HERE
    assert (papers.HERE / "editions").is_dir()
