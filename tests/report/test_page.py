"""The page holds everything in one file and treats what a model wrote as text."""

import json
import re
from html.parser import HTMLParser

import pytest
from hostile import HOSTILE

from strop.directory import RunError
from strop.report import curve, page


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen, self.attributes, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_data(self, data):
        self.text.append(data)


def test_what_a_model_or_a_grader_wrote_is_text_and_never_markup(run):
    tags = Tags()
    tags.feed(page.render(run))
    assert "script" not in tags.seen
    assert "img" not in tags.seen
    assert not [name for name in tags.attributes if name.startswith("on")]
    assert HOSTILE in "".join(tags.text), "it is there to read"


def test_the_page_refers_to_nothing_outside_itself(run):
    html = page.render(run)
    assert not re.findall(r"(?:src|href)\s*=|url\(|@import|https?://", html.replace("src=x", ""))


def test_the_page_shows_best_and_worst_of_the_first_the_middle_and_the_last_step(run):
    html = page.render(run)
    assert [int(n) for n in re.findall(r"<h3>Step (\d+)", html)] == [1, 3, 5]
    assert html.count("best: reward 1, 3 tokens") == 3
    assert html.count("worst: reward 0, 4 tokens") == 3


def test_the_page_shows_before_and_after_with_intervals_and_the_bill(run):
    html = page.render(run)
    assert "0.25 [0.2, 0.3]" in html
    assert "decoded" in html
    assert "5 in all" in html


def test_the_page_shows_what_was_too_old_and_what_became_of_others_groups(run):
    book = {"drawn": 3, "rejected": {"wrong key": 2}, "quota": 20}
    more = {"age": {"mean": 0.5, "most": 1.0}, "sampler": {"kl": 0.25}, "mismatch": 0.0, "taken": [[9.0, 0.5], [30.0, 1.0]]}
    more |= {"stale": [{"place": "a", "age": 2, "length": 40.0, "rate": 0.0}]}
    more |= {"swarm": {"name": HOSTILE, "published": 4, "peers": {"b": book}}}
    lines = [json.loads(line) | more for line in (run / "metrics.jsonl").read_text().splitlines()]
    (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    html = page.render(run)
    assert "5 of 15 groups were too old and discarded" in html
    assert ["never right", "5", "0"] in [re.findall(r"<td class=n>([^<]*)", row)[1:] for row in html.split("<tr>")]
    assert "trained on 3 of their groups" in html
    assert "rejected wrong key 2" in html
    assert HOSTILE not in html
    drawn = re.findall(r"<figcaption>(\S+)", html)
    assert {"age.mean", "sampler.kl"} <= set(drawn)
    assert "mismatch" not in drawn, "where the learner measured everything again, its gap to itself says nothing"


def test_a_run_without_a_step_still_has_a_page(run):
    (run / "metrics.jsonl").unlink()
    (run / "result.json").unlink()
    html = page.render(run)
    assert "no steps yet" in html
    assert "not evaluated" in html


def test_a_torn_record_is_said_where_it_would_be_shown(run):
    (run / "groups" / "000002.json.gz").write_bytes(b"torn")
    html = page.render(run)
    assert [int(n) for n in re.findall(r"<h3>Step (\d+)", html)] == [1, 3, 5]
    assert "000002.json.gz is damaged" in html


def test_a_directory_without_a_run_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"holds no run"):
        page.render(tmp_path)


def test_a_flat_curve_has_finite_coordinates():
    assert "nan" not in page.svg([(1, 0.5), (2, 0.5)])
    assert "nan" not in page.svg([(1, 0.5)], [(0, 0.25)])


def test_the_picture_is_a_png(run):
    assert curve.write(run, run / "curve.png").read_bytes().startswith(b"\x89PNG")


def letters(tokens):
    return "".join(map(chr, tokens))


def told(kind, text, number):
    return {"id": str(number), "kind": kind, "tokens": [*map(ord, text)]}


def lived(rows, calls=()):
    segments = [[told(kind, text, f"{r}.{s}") for s, (kind, text) in enumerate(row)] for r, row in enumerate(rows)]
    trains = [[s["id"] for s in row if s["kind"] == "action"] for row in segments]
    return {"rows": [{"segments": s, "trains": t} for s, t in zip(segments, trains, strict=True)], "keys": {"calls": calls}, "text": "all"}


def test_an_episode_is_shown_as_its_rows_stood_and_with_the_calls_that_were_no_good():
    first = (("prompt", "c?"), ("action", ">get <c>"), ("observation", HOSTILE), ("action", "go\x1b[2J"))
    rollout = lived([first, (("prompt", "c? so far"), ("action", "7"))], [[["get", True, ""]], [["", False, f"no JSON {HOSTILE}"]], []])
    html = page.episode(rollout, letters)
    tags = Tags()
    tags.feed(html)
    assert not {"script", "img"} & {*tags.seen}
    assert "\x1b" not in html
    assert re.findall(r"<p class=dim>row (\d of \d)</p>", html) == ["1 of 2", "2 of 2"]
    assert html.count("<span class='t action trained'>") == 3
    assert html.count("<span class='t observation'>") == 1
    assert "calls that were no good: turn 2, no tool: no JSON" in "".join(tags.text)


def test_a_reply_and_an_episode_that_nobody_can_decode_are_their_text():
    assert page.episode(lived([(("prompt", "1+1"), ("action", "2"))]), letters) == ""
    answered = lived([(("prompt", "1"), ("action", "2"), ("observation", "3"))])
    assert page.episode(answered, lambda tokens: f"{len(tokens)} tokens") == ""


def test_of_many_rows_the_first_and_the_last_are_shown():
    html = page.episode(lived([(("prompt", "a"), ("action", "b"))] * 40), letters)
    assert len(re.findall("<pre>", html)) == page.ROWS
    assert "… 28 rows between" in html
    assert "row 40 of 40" in html
    assert "… 4000 more characters" in page.episode(lived([(("prompt", "a" * 9999), ("action", "b"), ("observation", ""))]), letters)
