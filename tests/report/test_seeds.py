"""A table over seeds: what it says of three runs, and which runs it does not put together."""

import json
import shutil

import pytest

from strop.cli import main


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    place = tmp_path_factory.mktemp("seeds")
    flags = [
        "--task",
        "chain",
        "--steps",
        "2",
        "--tasks",
        "2",
        "--group",
        "4",
        "--max-tokens",
        "16",
        "--eval-tasks",
        "6",
        "--eval-samples",
        "4",
    ]
    for seed in ("0", "1"):
        main(["train", *flags, "--seed", seed, "--out", str(place / seed)])
    return place


def test_it_holds_every_seeds_figures_and_no_path(runs, tmp_path, capsys):
    main(["report", str(runs / "0"), str(runs / "1"), "--out", str(tmp_path / "seeds.png"), "--json", str(tmp_path / "seeds.json")])
    said, found = capsys.readouterr().out, json.loads((tmp_path / "seeds.json").read_text())
    assert [seed["seed"] for seed in found["seeds"]] == [0, 1]
    for seed in found["seeds"]:
        result = json.loads((runs / str(seed["seed"]) / "result.json").read_text())
        assert seed["after"]["pass@1"] == result["after"]["pass@1"]
        assert f"{result['rise']['pass@1']:+.3f} [" in said
        assert len(seed["curves"]["reward"]) == 2
        assert 50e6 < seed["memory"] < 50e9
        lines = [json.loads(line) for line in (runs / str(seed["seed"]) / "metrics.jsonl").read_text().splitlines()]
        assert sum(seed["step"].values()) == pytest.approx(sum(line["t"]["seconds"] for line in lines) / 2, abs=0.05)
    assert str(runs) not in (tmp_path / "seeds.json").read_text()
    assert all(f"rise of {name}, mean of the seeds:" in said for name in ("pass@1", "greedy"))
    assert said.count("t interval") >= 2
    assert (tmp_path / "seeds.png").read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_put_together_is_refused_in_a_line(runs, tmp_path, capsys):
    for name in ("lr", "unfinished", "unmeasured"):
        shutil.copytree(runs / "1", tmp_path / name)
    about = json.loads((tmp_path / "lr" / "recipe.json").read_text())
    about["recipe"]["lr"] = 0.5
    (tmp_path / "lr" / "recipe.json").write_text(json.dumps(about))
    (tmp_path / "unfinished" / "result.json").unlink()
    result = json.loads((tmp_path / "unmeasured" / "result.json").read_text())
    del result["rise"]
    (tmp_path / "unmeasured" / "result.json").write_text(json.dumps(result))
    for other, why in (
        (tmp_path / "lr", "differ in more than the seed: lr"),
        (tmp_path / "unfinished", "is not finished"),
        (tmp_path / "unmeasured", "has no pass@1 held out"),
        (runs / "0", "have one seed"),
        (tmp_path / "none", "holds no run"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main(["report", str(runs / "0"), str(other), "--out", str(tmp_path / "x.png")])
        assert why in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["report", str(runs / "0"), str(runs / "1"), "--watch"])
    assert "name one" in capsys.readouterr().err


def test_a_run_of_an_earlier_version_has_the_defaults_of_what_it_does_not_name(runs, tmp_path):
    from strop.report import seeds

    shutil.copytree(runs / "1", tmp_path / "earlier")
    about = json.loads((tmp_path / "earlier" / "recipe.json").read_text())
    del about["recipe"]["compute"]
    (tmp_path / "earlier" / "recipe.json").write_text(json.dumps(about))
    found = seeds.facts([runs / "0", tmp_path / "earlier"])
    assert [seed["seed"] for seed in found["seeds"]] == [0, 1]
    assert list(found["seeds"][0]["after"])[:2] == ["pass@1", "greedy"], "in one order, whatever the process"
