"""What the documents show is what the commands print."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_table_of_methods_is_what_the_command_prints(capsys):
    from strop.cli import main

    try:
        main(["methods"])
    except SystemExit as stop:
        assert not stop.code  # noqa: PT017 (a clean exit is fine)
    shown = re.search(r"```\n(.*?)```", (ROOT / "docs" / "methods.md").read_text(), re.S)
    assert shown is not None
    assert shown[1].strip() == capsys.readouterr().out.strip()


def test_every_file_that_the_documents_name_is_there():
    for page in (ROOT / "README.md", ROOT / "docs" / "architecture.md"):
        for name in re.findall(r"`((?:src|tests|examples|benchmarks|scripts|docs|recipes)/[\w./-]+)`", page.read_text()):
            assert (ROOT / name).exists(), f"{page.name} names {name}"
