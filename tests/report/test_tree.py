"""A tree on a page: every segment once, in the colour of its credit, what was stopped marked, what a model wrote as text."""

import html5lib
import pytest

from strop.methods.treepo import TREEPO
from strop.records import Scores
from strop.report import tree

HOSTILE = "</title><script>alert(1)</script>"
PATHS = {"a": ["0.0", "0.0.0"], "b": ["0.0", "0.0.1"], "c": ["0.1"], "d": ["0.2", "0.2.0"]}
STOPS = {"a": "finished", "b": "finished", "c": "repetition", "d": "length"}
REWARDS = {"a": 1.0, "b": 0.0, "c": 0.0, "d": 0.0}
LENGTH = {"0.0": 4, "0.0.0": 2, "0.0.1": 4, "0.1": 4, "0.2": 4, "0.2.0": 4}
FATES = {unit: ["keep", 1.0, ""] for unit in PATHS}


def rollout(unit):
    segments = [{"kind": "action", "id": name, "tokens": [7] * LENGTH[name], "logp": [-1.0] * LENGTH[name]} for name in PATHS[unit]]
    row = {"segments": [{"kind": "prompt", "id": "0", "tokens": [1, 2]}, *segments], "trains": PATHS[unit]}
    return {"id": unit, "stop": STOPS[unit], "keys": {"nested": PATHS[unit]}, "provenance": "", "text": "", "rows": [row]}


@pytest.fixture
def group():
    task = {"prompt": "1+1=?", "needs": {}, "source": "chain", "meta": {}, "id": "t"}
    return {"id": "t#0", "role": "solve", "task": task, "rollouts": [rollout(unit) for unit in PATHS]}


@pytest.fixture
def credit(group):
    record = {"groups": [group], "rewards": REWARDS, "fates": FATES, "version": 0, "scores": Scores().to_json()}
    return tree.credits({"method": TREEPO.to_json()}, record)


@pytest.fixture
def drawn(group, credit):
    text = tree.draw(group, REWARDS, FATES, credit, lambda tokens: f"{len(tokens)} {HOSTILE}")
    page = f"<!doctype html><html><head><title>t</title></head><body>{tree.LEGEND}{text}</body></html>"
    return html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(page)


def of_class(drawn, name):
    return [node for node in drawn.iter() if name in node.get("class", "").split()]


def inside(box, tag):
    return next(node for node in box if node.tag.endswith(tag))


def test_a_group_is_a_tree_where_two_rollouts_share_a_segment(group):
    assert tree.is_tree(group)
    group["rollouts"] = group["rollouts"][1:]
    assert not tree.is_tree(group)


def test_the_credit_is_the_methods_own(credit):
    """0.0 is shared by a and b: group mean 1/4, theirs 1/2; the others stand against the group alone. Whitening keeps the order."""
    assert credit["a", "0.0"] == credit["a", "0.0.0"] > 0
    assert credit["c", "0.1"] == credit["d", "0.2"] == credit["d", "0.2.0"]
    assert credit["b", "0.0"] < credit["c", "0.1"] < 0
    weights = {("a", 6): 1 - (1 / 4 + 1 / 2) / 2, ("b", 8): -(1 / 4 + 1 / 2) / 2, ("c", 4): -1 / 4, ("d", 8): -1 / 4}
    mean = sum(n * value for (_, n), value in weights.items()) / 26
    spread = (sum(n * (value - mean) ** 2 for (_, n), value in weights.items()) / 26) ** 0.5
    assert credit["a", "0.0"] == pytest.approx((5 / 8 - mean) / spread, abs=1e-6)


def test_every_segment_is_drawn_once_and_says_its_text_and_its_leaves(drawn):
    boxes = of_class(drawn, "seg")
    assert len(boxes) == len(LENGTH)
    titles = [inside(box, "title").text for box in boxes]
    said = [title.split("\n")[1].rpartition(", ")[0] for title in titles]
    assert said == ["4 tokens, 2 leaves", "2 tokens, 1 leaf", *["4 tokens, 1 leaf"] * 4]
    assert all(HOSTILE in title for title in titles), "the segment's text, as text"
    assert not [node for node in drawn.iter() if str(node.tag).endswith("script")]


def test_forks_branches_and_early_stops_are_seen(drawn):
    assert len(of_class(drawn, "edge")) == len(LENGTH), "every segment hangs on another, or on the prompt"
    assert len(of_class(drawn, "fork")) == 2, "the prompt and 0.0"
    assert len(of_class(drawn, "early")) == 2
    assert {node.text for node in of_class(drawn, "why")} == {"repeats itself", "cut at the limit"}
    assert [node.text for node in of_class(drawn, "right")] == ["1"]
    assert "22 positions decoded for 26 in all leaves, 15% saved" in "".join(drawn.itertext())


def test_a_segment_has_the_colour_of_the_credit_of_its_leaves(drawn, credit):
    colours = {inside(box, "title").text.split("credit ")[1]: inside(box, "rect") for box in of_class(drawn, "seg")}
    assert {float(said) > 0 for said, rect in colours.items() if rect.get("class") == "up"} == {True}
    assert {float(said) < 0 for said, rect in colours.items() if rect.get("class") == "down"} == {True}
    strongest = max(colours, key=lambda said: abs(float(said)))
    assert float(colours[strongest].get("fill-opacity")) == max(float(rect.get("fill-opacity")) for rect in colours.values())
    assert float(strongest) == pytest.approx(credit["a", "0.0.0"], rel=1e-2)


def test_what_was_not_trained_has_no_colour(group):
    text = tree.draw(group, REWARDS, {unit: ["drop", 1.0, "flat"] for unit in PATHS}, {}, lambda tokens: "x")
    assert "class=up" not in text
    assert "class=down" not in text
    assert text.count("not trained") == len(LENGTH)
    assert "repeats itself, flat" in text
