"""What a run sampled, as lines of a file."""

import json
import re

import pytest

from strop.cli import main
from strop.directory import read_commit
from strop.recipe import Recipe
from strop.records import Scores
from strop.run import create


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("collected") / "run"
    sizes = {"tasks": 8, "group": 8, "max_tokens": 24, "eval_tasks": 0, "steps": 2}
    create(Recipe(method="rloo", task="chain:steps=1", **sizes), place).train()
    return place


def lines(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_every_rollout_is_a_line_with_its_scores_and_where_it_is_from(place, tmp_path, capsys):
    main(["export-data", str(place), str(tmp_path / "all.jsonl")])
    found = lines(tmp_path / "all.jsonl")
    assert len(found) == 2 * 8 * 8
    record = read_commit(place, 1)
    scores = Scores.from_json(record["scores"])
    first = next(row for row in found if row["from"]["step"] == 1)
    rollout = record["groups"][0]["rollouts"][0]
    assert first["text"] == rollout["text"]
    assert first["scores"]["outcome"] == scores.get(rollout["id"], "outcome")
    assert first["from"]["rollouts"] == [f"1/{rollout['id']}"]
    assert first["from"]["method"] == "rloo"
    assert "128 lines" in capsys.readouterr().out


def test_pairs_are_of_one_task_and_can_be_learned_from(place, tmp_path, capsys):
    main(["export-data", str(place), str(tmp_path / "pairs.jsonl"), "--as", "pairs", "--most", "3", "--json"])
    card = json.loads(capsys.readouterr().out)
    found = lines(tmp_path / "pairs.jsonl")
    assert card["pairs"] == len(found) > 0
    main(["export-data", str(place), str(tmp_path / "all.jsonl")])
    outcome = {row["from"]["rollouts"][0]: (row["prompt"], row["text"], row["scores"]["outcome"]) for row in lines(tmp_path / "all.jsonl")}
    for row in found:
        good, bad = row["from"]["rollouts"]
        assert outcome[good] == (row["prompt"], row["chosen"], 1.0)
        assert outcome[bad][:2] == (row["prompt"], row["rejected"])
        assert outcome[bad][2] < 1
    right = tmp_path / "right.jsonl"
    main(["export-data", str(place), str(right), "--as", "right"])
    assert {row["text"] for row in lines(right)} == {text for _, text, value in outcome.values() if value == 1.0}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["RUN", "taken.jsonl"], "taken.jsonl is there already"),
        (["RUN", "new.jsonl", "--most", "0"], "--most 0: at least 1"),
        (["nowhere", "new.jsonl"], "nowhere holds no run"),
        (["RUN", "new.jsonl", "--as", "triples"], "invalid choice: 'triples'"),
    ],
)
def test_what_cannot_be_written_is_refused(place, tmp_path, capsys, monkeypatch, given, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken.jsonl").write_text("mine")
    with pytest.raises(SystemExit):
        main(["export-data", *(str(place) if word == "RUN" else word for word in given)])
    assert re.search(re.escape(words), capsys.readouterr().err)
    assert (tmp_path / "taken.jsonl").read_text() == "mine"
