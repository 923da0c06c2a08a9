"""`strop eval` on a task that states confidence targets: a line a target, the oracle beside it, a picture."""

import json

import pytest

from strop.cli import main

SMALL = ["--tasks", "10", "--samples", "2", "--max-tokens", "6", "--slots", "16"]


def test_each_target_has_a_line_an_oracle_and_a_place_in_the_picture(tmp_path, capsys):
    picture, file = tmp_path / "pictures" / "coverage.svg", tmp_path / "found.json"
    main(["eval", "pico", "--task", "facts:people=40", *SMALL, "--picture", str(picture), "--json", str(file)])
    found, text = json.loads(file.read_text()), capsys.readouterr().out
    assert [line["target"] for line in found["targets"]] == [line["target"] for line in found["oracle"]] == [0.0, 0.5, 2 / 3, 0.75, 0.9]
    assert all(line["tasks"] == 2 for line in (*found["targets"], *found["oracle"])), "two people, under every target"
    assert found["targets"][0]["score"] == pytest.approx(found["targets"][0]["coverage"] - found["targets"][0]["error"])
    assert sum(each["share"] for each in found["reliability"]) == pytest.approx(1.0)
    assert "oracle: score" in text
    assert str(picture) in text
    assert "confidence target" in picture.read_text()


@pytest.mark.parametrize(("argv", "says"), [(["--picture", "x.gif"], ".png, .svg or .pdf"), (["--picture", "x.png"], "--task facts")])
def test_a_picture_of_nothing_is_refused_before_anything_is_evaluated(argv, says, capsys):
    with pytest.raises(SystemExit) as exit:
        main(["eval", "pico", "--task", "chain", *argv])
    assert exit.value.code == 2
    assert says in capsys.readouterr().err
