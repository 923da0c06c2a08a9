"""examples/add_a_world.py and docs/add-a-world.md: a world in a file of one's own, walked from the first command to the last."""

import asyncio
import json
import re
import sys
from pathlib import Path

import pytest

from strop.cli import main
from strop.directory import read_metrics
from strop.seams.world import Broken, Call, Called, Said, Seat, verdict

ROOT = Path(__file__).parent.parent
FILE, PAGE = ROOT / "examples" / "add_a_world.py", ROOT / "docs" / "add-a-world.md"


def of_page(language):
    return [text for word, text in re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text(), re.S | re.M) if word == language]


def commands():
    """What the page tells to type, with the file where it is."""
    lines = [line for block in of_page("") for line in block.splitlines() if line.startswith("strop ")]
    return [line.replace("examples/add_a_world.py", str(FILE)).split("  ")[0].split()[1:] for line in lines]


def run(capsys, argv):
    capsys.readouterr()
    try:
        main(argv)
        code = 0
    except SystemExit as ended:
        code = ended.code
    return code, *capsys.readouterr()


def test_every_line_of_code_on_the_page_stands_in_the_file():
    blocks = of_page("python")
    assert len(blocks) == 5
    for block in blocks:
        assert block.strip("\n") in FILE.read_text(), f"the page shows code that is nowhere:\n{block}"


def test_every_command_of_the_page_does_what_the_page_says(capsys):
    said = [argv for argv in commands() if argv[0] not in ("train", "eval")]
    assert [argv[0] for argv in said] == ["tasks", "world", "world", "check"]
    for argv in said:
        code, out, err = run(capsys, argv)
        assert code == 0, err
        if argv[:2] == ["world", "play"]:
            assert f"```\n{err}{out}```" in PAGE.read_text(), "the page shows another episode"


@pytest.mark.slow  # three short trainings and an evaluation
def test_its_methods_train_and_a_run_is_asked_in_it(capsys, tmp_path):
    (train,) = [argv for argv in commands() if argv[0] == "train"]
    for name in ("TAUGHT", "TRIED"):
        few = ["--steps", "1", "--tasks", "2", "--eval-tasks", "2", "--eval-samples", "2", "--out", str(tmp_path / name)]
        argv = [one.replace(":AGENT", f":{name}") for one in train if one not in ("--steps", "130")]
        code, _, err = run(capsys, [*argv, *few])
        assert code == 0, err
    (line,) = read_metrics(tmp_path / "TRIED")
    assert line["watch"]["kept"] > 0
    code, out, err = run(capsys, ["eval", str(tmp_path / "TAUGHT"), "--tasks", "3", "--samples", "2", "--show", "1", "--json"])
    assert code == 0, err
    assert "Lamps(" in json.loads(out)["world"]


def test_lamps_turn_and_the_verdict_is_their_state():
    sys.path.insert(0, str(FILE.parent))
    from add_a_world import Lamps, Rows, flipped

    assert flipped("1000", "13") == "1101"
    source, world = Rows(), Lamps()
    task = source.task("test", 0, 0)
    flips = [Said("", (Call("flip", {"switch": name}),)) for name in task.needs["solution"]]
    seat = Seat("g", "g/0", 4)
    assert asyncio.run(verdict(world, task, seat, [*flips, Said("on")])) == {"outcome": 1.0}
    assert asyncio.run(verdict(world, task, seat, [Said("on")])) == {"outcome": 0.0}
    _, reply = asyncio.run(world.reply(world.start(task, seat), Said("", (Broken("no JSON"), Call("flip", {"switch": "?"}))), None))
    assert reply.calls == (Called("", False, "no JSON"), Called("flip", False, "no such switch"))
    assert {source.task("test", 0, i).id for i in range(50)}.isdisjoint(source.task("train", 0, i).id for i in range(50))
