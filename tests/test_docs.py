"""What the documents show is what the commands print."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_page_of_methods_is_what_the_command_prints(capsys):
    from strop.cli import main

    main(["methods", "--page"])
    assert (ROOT / "docs" / "methods.md").read_text() == capsys.readouterr().out, "write it anew: strop methods --page > docs/methods.md"


def test_every_file_that_the_documents_name_is_there():
    for page in (ROOT / "README.md", ROOT / "docs" / "architecture.md", ROOT / "docs" / "methods.md"):
        for name in re.findall(r"`((?:src|tests|examples|benchmarks|scripts|docs|recipes)/[\w./-]+)`", page.read_text()):
            assert (ROOT / name).exists(), f"{page.name} names {name}"


def test_the_table_of_verdicts_is_what_the_command_prints(capsys):
    from strop.cli import main

    main(["claim", "list"])
    assert f"```\n{capsys.readouterr().out.rstrip()}\n```" in (ROOT / "docs" / "claims.md").read_text()
