"""`strop lab coverage`: what a training set covers of what is asked, in words; and who is right of what a run covers."""

import json

import pytest

from strop.cli import main
from strop.lab.coverage import auroc, study
from strop.methods.sft import SFT
from strop.recipe import Recipe
from strop.run import create
from strop.tasks import source


def said(capsys, *argv):
    main(["lab", "coverage", *argv])
    return capsys.readouterr().out


def refused(capsys, *argv):
    with pytest.raises(SystemExit):
        main(["lab", "coverage", *argv])
    return capsys.readouterr().err


def pairs(task, split):
    made = source(task)
    return [((one := made.task(split, 0, i)).prompt, one.needs["answer"]) for i in range(made.sizes[split])]


def test_the_table_the_object_and_the_picture_say_one_thing(capsys, tmp_path):
    text = said(capsys, "twohop", "--picture", str(tmp_path / "a.svg"), "--json", str(tmp_path / "a.json"))
    found = json.loads((tmp_path / "a.json").read_text())
    assert "1,336 questions asked, 500 examples, 16 tokens" in text
    assert (tmp_path / "a.svg").read_text().startswith("<?xml")
    assert sum(row["questions"] for row in found["rows"]) == found["asked"] == len(found["k"]) == 1336
    for row in found["rows"][1:]:
        assert row["covered"] == sum(k >= row["k"] for k in found["k"]) / 1336
        assert f"{row['covered']:.3f}" in text
    assert found["auroc"] is None
    assert "right" not in text


def test_words_are_tokens_where_there_are_several():
    spelled = study(pairs("twohop", "train"), pairs("twohop", "test"))
    spaced = study(*([(" ".join(q), a) for q, a in pairs("twohop", split)] for split in ("train", "test")))
    assert spaced == spelled
    wordy = study(*([(" ".join(f"w{letter}" for letter in q), a) for q, a in pairs("twohop", split)] for split in ("train", "test")))
    assert wordy.k == spelled.k


def test_frequency_counts_the_examples_that_hold_a_fragment():
    found = study([("abc", "1"), ("abd", "2"), ("xbc", "3")], [("abx", "1")], kinds=[(0,), (0, 1), (2,)])
    assert found.often == (2 + 2 + 0,)


def test_a_run_is_asked_what_it_was_not_shown(capsys, tmp_path):
    recipe = Recipe(method=SFT, model="seedling:layers=2,hidden=32,heads=2", task="twohop:tokens=6,train=40", steps=3, tasks=20, lr=3e-3)
    create(recipe.but(eval_tasks=0), tmp_path / "run").train()
    found = json.loads(said(capsys, str(tmp_path / "run"), "--json"))
    assert found["examples"] == 40
    assert found["asked"] == source("twohop:tokens=6,train=40").sizes["test"] == len(found["right"])
    assert "asked" in said(capsys, str(tmp_path / "run"))


def test_what_has_no_coverage_is_refused_in_words(capsys):
    assert "it never ends" in refused(capsys, "chain").replace("chain never ends", "it never ends")
    assert "questions have " in refused(capsys, "chain", "--train", "50", "--asked", "20")
    assert "--places is numbers of places from 0" in refused(capsys, "twohop", "--places", "a")
    assert "an input has 3, numbered from 0" in refused(capsys, "twohop", "--places", "0,1,2")
    assert "--upto is at least 1" in refused(capsys, "twohop", "--upto", "0")
    assert "--picture writes .png" in refused(capsys, "twohop", "--picture", "a.gif")
    with pytest.raises(ValueError, match="'ab' is answered by '1' and by '2': only a function has a coverage"):
        study([("ab", "1"), ("ab", "2")], [])
    with pytest.raises(ValueError, match="questions have 2 to 3 tokens"):
        study([("ab", "1"), ("abc", "2")], [])
    with pytest.raises(ValueError, match="rows of 2 to 6 tokens"):
        study([("abcdefg", "1")], [])


def test_ranking_is_by_pairs():
    assert auroc([0.4, 0.1, 0.3, 0.3], [True, False, True, False]) == 0.875
    assert auroc([1, 1], [True, False]) == 0.5
    with pytest.raises(ValueError, match="0 of 2 are labelled"):
        auroc([1, 2], [False, False])
