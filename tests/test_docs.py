"""What the documents show is what the commands print."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_page_of_methods_is_what_the_command_prints(capsys):
    from strop.cli import main

    main(["methods", "--page"])
    assert (ROOT / "docs" / "methods.md").read_text() == capsys.readouterr().out, "write it anew: strop methods --page > docs/methods.md"


def test_the_page_of_surveys_is_what_the_command_prints_and_names_what_is_there(capsys):
    from strop import survey
    from strop.cli import main

    assert survey.missing() == []
    assert all(bool(cell.fills) or cell.note for paper in survey.SURVEYS for _, cell in survey.cells(paper)), "an empty cell says why"
    main(["methods", "--survey"])
    assert (ROOT / "docs" / "survey.md").read_text() == capsys.readouterr().out, "write it anew: strop methods --survey > docs/survey.md"


def test_every_file_that_the_documents_name_is_there():
    for page in (ROOT / "README.md", ROOT / "docs" / "architecture.md", ROOT / "docs" / "methods.md"):
        for name in re.findall(r"`((?:src|tests|examples|benchmarks|scripts|docs|recipes)/[\w./-]+)`", page.read_text()):
            assert (ROOT / name).exists(), f"{page.name} names {name}"


def test_the_table_of_verdicts_is_what_the_command_prints(capsys):
    from strop.cli import main

    main(["claim", "list"])
    assert f"```\n{capsys.readouterr().out.rstrip()}\n```" in (ROOT / "docs" / "claims.md").read_text()


def test_the_pages_of_methods_hold_what_the_commands_print_and_the_records_say():
    import method_pages

    for path, text in method_pages.files().items():
        assert path.exists(), f"{path.name} is missing: python tests/method_pages.py"
        assert path.read_text() == text, f"{path.name} is out of date: python tests/method_pages.py"


def test_every_method_with_a_claim_has_a_page_that_shows_its_records():
    from strop.claims import CLAIMS, claims_of, named

    for method in {named(name).method for name in CLAIMS}:
        page = (ROOT / "docs" / "methods" / f"{method.replace('-', '_')}.md").read_text()
        for name in claims_of(method):
            assert f"<!-- record {name} -->" in page, f"docs/methods/{method}.md does not show {name}"


def test_the_pages_of_papers_hold_what_the_catalogue_and_the_code_say():
    import paper_pages

    files = paper_pages.files()
    there = set(paper_pages.PAGES.glob("*.md"))
    assert there == {path for path in files if path.parent == paper_pages.PAGES}, "a page too many or too few: python tests/paper_pages.py"
    for path, text in files.items():
        assert path.read_text() == text, f"{path.name} is out of date: python tests/paper_pages.py"


def test_the_readme_shows_as_many_tripwires_as_there_are():
    from strop.tripwires import TRIPWIRES

    assert f"\ntripwires: {len(TRIPWIRES)} on\n" in (ROOT / "README.md").read_text()
