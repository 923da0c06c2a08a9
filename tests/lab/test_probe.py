"""`strop lab probe`: what it prints, draws and refuses."""

import json

import pytest

from strop.cli import main


def test_the_answer_grows_likely_along_right_replies(tmp_path, capsys):
    picture, data = tmp_path / "probe.png", tmp_path / "probe.json"
    main(["lab", "probe", "pico", "--task", "chain", "--tasks", "12", "--picture", str(picture), "--json", str(data)])
    said, found = capsys.readouterr().out, json.loads(data.read_text())
    assert "mean log-probability of a token of the right answer" in said
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert found["replies"] + found["left"] == 48
    assert found["curve"]["right"][-1] > found["curve"]["right"][0] + 1, "once the work is written the answer is known"
    assert 0 <= found["auroc"]["forecast"] <= 1
    assert found["steps"][""]["count"] > found["beginnings"] / 2


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--every", "0"], "--every is at least 1"),
        (["--temperature", "0"], "--temperature is above 0"),
        (["--engine", "remote:http://127.0.0.1:9/v1"], "tells no log-probabilities"),
        (["--picture", "probe.gif"], "--picture writes"),
        (["--opens", "<|im_end|>", "--tasks", "4"], "opens cannot be asked about"),
        (["--max-tokens", "2", "--tasks", "2"], "has thinking that could be probed"),
    ],
)
def test_what_cannot_be_probed_is_refused_in_words(capsys, flags, said):
    with pytest.raises(SystemExit, match="2"):
        main(["lab", "probe", "pico", "--task", "chain", *flags])
    assert said in capsys.readouterr().err
