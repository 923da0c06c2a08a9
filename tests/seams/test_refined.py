"""The score never rises, a planted best is found, what cannot be searched is left, chance edits as much, and a kill changes nothing."""

import asyncio
import random
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from letters import Letters

from strop import run
from strop.directory import read_commit, read_metrics
from strop.methods.reer import LINES, SEARCH
from strop.recipe import Recipe
from strop.records import Task
from strop.seams.context import Ctx, Handle, Progress
from strop.seams.search import Cut, Refined, Scripted, Writer, refined
from strop.tasks.stories import Stories

ANSWER = "in the end:\nall was well with everybody"
TASK = Task("how?", {"answer": ANSWER}, "s")


class Engine:
    """Finds an answer the likelier the more `y` its thinking holds; tokens are letters."""

    name, version, limit = "actor", 0, 10_000

    def __init__(self):
        self.asked = []

    async def given(self, texts):
        self.asked += texts
        return [tuple(-max(3.0 - Letters().text(text[:start]).count("y") / 10, 0.1) for _ in text[start:]) for text, start in texts]


@dataclass(frozen=True)
class Says:
    """Proposes what it was given, in turn."""

    first: str = "x\nx\nx"
    edits: dict = field(default_factory=dict)

    async def begin(self, task, answer, number, ctx):
        return self.first

    async def edit(self, task, answer, pieces, at, count, ctx):
        return list(self.edits.get(at, [""] * count))


def searched(proposer, task=TASK, **changes):
    engine = Engine()
    ctx = Ctx(0, Progress(), SimpleNamespace(name="s"), {"actor": Handle(engine, Letters())}, None, place="p")
    (group,) = asyncio.run(Refined(proposer, cut=Cut(("\n",), 1), **changes)(task, None, ctx))
    (rollout,) = group.rollouts
    return rollout, rollout.keys["facts"][0], engine


@settings(derandomize=True, database=None, max_examples=200, deadline=None)
@given(st.text(alphabet="ab\n ", max_size=60), st.integers(0, 12))
def test_pieces_make_the_text_again_and_are_as_long_as_asked(text, least):
    pieces = Cut(("\n\n", "\n"), least)(text)
    assert "".join(pieces) == text
    assert len(pieces) < 2 or all(len(piece.strip()) >= least for piece in pieces)


def test_it_cuts_as_the_release_does():
    long = "l" * 100
    assert Cut()(f"{long}\n\nshort\n\n{long}\n\nend") == [f"{long}\n\n", f"short\n\n{long}\n\nend"]
    assert Cut()(f"{long}\n{long}") == [f"{long}\n", long], "single newlines, where no empty line cuts"
    assert Cut()("short\n\nshort") == ["short\n\nshort"]
    how = Refined()
    assert (how.candidates, how.most, how.enough, how.floor, how.cut.least) == (2, 10, 0.25, 2.0, 100)


def test_a_planted_best_is_found_and_the_first_piece_of_the_answer_is_given():
    edits = {n: ["y\n" if n < 2 else "y", "z\n" if n < 2 else "z"] for n in range(3)}
    rollout, facts, engine = searched(Says(edits=edits), enough=0.0, floor=None)
    assert rollout.text == f"<think>y\ny\ny</think><answer>{ANSWER}</answer>"
    assert (facts["edits"], facts["left"], facts["refused"]) == (3, "", 0)
    assert (facts["before"], facts["after"]) == (pytest.approx(3.0), pytest.approx(2.7))
    for text, start in engine.asked:
        whole = Letters().text(text)
        assert whole[start:] == "all was well with everybody"
        assert whole[:start].endswith("</think><answer>in the end:\n")


def test_without_a_floor_the_score_is_the_mean():
    assert searched(Says(), floor=None)[1]["before"] == pytest.approx(3.0)
    assert searched(Says())[1]["clipped"] == 1.0


def test_the_score_never_rises_and_equals_an_edit_more_of_the_best():
    state = random.Random(0)
    for _ in range(30):
        edits = {n: ["".join(state.choice("xyz") for _ in range(4)) + "\n" for _ in range(2)] for n in range(4)}
        first = "\n".join("".join(state.choice("xyz") for _ in range(4)) for _ in range(5))
        rollout, facts, _ = searched(Says(first, edits), enough=0.0, floor=None)
        assert facts["after"] <= facts["before"]
        pieces = Cut(("\n",), 1)(first)
        for at, tried in edits.items():
            best = max([pieces[at], *tried], key=lambda piece: piece.count("y"))
            pieces[at] = best if best.count("y") > pieces[at].count("y") else pieces[at]
        assert rollout.text.partition("</think>")[0] == "<think>" + "".join(pieces)


def test_one_sweep_of_the_first_pieces_that_stops_when_it_is_enough():
    edits = {n: ["y\n", ""] for n in range(2)} | {2: ["z", "x"]}
    assert searched(Says(edits=edits), floor=None)[1]["edits"] == 2, "of the last piece's proposals none is the likelier"
    assert searched(Says(edits=edits), floor=None, most=1)[1]["edits"] == 1
    assert searched(Says(edits=edits), floor=None, enough=2.95)[1]["edits"] == 1, "after it the score is below"
    assert searched(Says(edits=edits), floor=None, enough=5)[1]["edits"] == 0
    assert searched(Says(edits=edits))[1]["edits"] == 0, "tokens beyond the floor do not feel an edit"


def test_chance_makes_as_many_edits():
    edits = {n: ["yy\n" if n < 3 else "yy", "z\n" if n < 3 else "z"] for n in range(4)}
    texts = set()
    for place in range(40):
        engine = Engine()
        ctx = Ctx(place, Progress(), SimpleNamespace(name="s"), {"actor": Handle(engine, Letters())}, None, place="p")
        how = Refined(Says("y\nyyy\ny\nyyy", edits), cut=Cut(("\n",), 1), accept="random", enough=0.0, floor=None)
        (group,) = asyncio.run(how(TASK, None, ctx))
        facts = group.rollouts[0].keys["facts"][0]
        thought = group.rollouts[0].text.partition("</think>")[0].removeprefix("<think>")
        assert facts["edits"] == 2, "pieces 0 and 2 are bettered"
        assert sum(a != b for a, b in zip(thought.split("\n"), ["y", "yyy", "y", "yyy"], strict=True)) == 2
        texts.add(thought)
    assert len(texts) > 8, "of any pieces, by any proposals"
    assert any("z" in text for text in texts)


@pytest.mark.parametrize(
    ("proposer", "task", "why"),
    [
        (Says(), Task("how?", {"answer": "one piece"}, "s"), "the answer is one piece"),
        (Says(), Task("how?", {}, "s"), "the answer is one piece"),
        (Says(""), TASK, "no thinking was proposed"),
        (Says(ANSWER), TASK, "no thinking was proposed"),
        (Says("so</think><answer>\nx"), TASK, "no thinking was proposed"),
        (Says("one piece"), TASK, "the thinking is one piece"),
    ],
)
def test_what_cannot_be_searched_is_left_without_an_answer(proposer, task, why):
    rollout, facts, _ = searched(proposer, task)
    assert facts["left"].startswith(why)
    assert "<answer>" not in rollout.text.removeprefix("<think>so</think>")
    assert facts["edits"] == 0


@pytest.mark.parametrize("odd", [["", ""], ["x\n", "x\n"], [ANSWER, "</think>y\n"], []], ids=["silent", "unchanged", "quoting", "none"])
def test_a_proposal_that_is_none_changes_nothing(odd):
    rollout, facts, _ = searched(Says(edits=dict.fromkeys(range(3), odd)))
    assert facts["edits"] == 0
    assert rollout.text.startswith("<think>x\nx\nx</think>")


def test_a_policy_is_asked_and_its_last_block_is_read():
    assert refined("it lacks <refine>a</refine>, so\n<refine>\n b\n</refine>") == "b"
    assert [refined(text) for text in ("b", "<refine>b", "b</refine>", "<refine></refine>")] == [""] * 4

    class Policy:
        asked = ()

        async def open(self, text, root):
            self.asked = (*self.asked, text)
            return text

        async def generate(self, node, **how):
            return "<refine>{y}y</refine>"

        def text(self, node):
            return node

    writer = Policy()
    ctx = Ctx(0, Progress(), SimpleNamespace(name="s"), {"writer": writer, "actor": Handle(Engine(), Letters())}, None, place="p")  # pyright: ignore
    assert asyncio.run(Writer().edit(TASK, ANSWER, ["a {b}\n", "c\n"], 1, 2, ctx)) == ["{y}y\n"] * 2
    assert "a {b}\n\n<step>\nc\n</step>" in writer.asked[0]
    assert asyncio.run(Writer().begin(TASK, ANSWER, 0, ctx)) == "{y}y"


def test_wrong_numbers_are_refused():
    for wrong, said in {"accept": ("best", "better or random"), "begins": (0, "at least 1"), "floor": (0.0, "above 0")}.items():
        with pytest.raises(ValueError, match=said[1]):
            Refined(**{wrong: said[0]})
    ctx = Ctx(0, Progress(), SimpleNamespace(name="sums"), {}, None, place="p")
    with pytest.raises(ValueError, match="source 'sums' writes no thinking"):
        asyncio.run(Scripted().begin(TASK, ANSWER, 0, ctx))


def test_a_search_that_is_killed_inside_an_item_goes_on_to_the_same_texts(tmp_path, monkeypatch):
    recipe = Recipe(method=SEARCH.but("lines", sampler=Refined(cut=LINES)), task="stories", steps=2, tasks=4, eval_tasks=0)

    def texts(directory):
        return [g["rollouts"][0]["text"] for step in range(2) for g in read_commit(directory, step)["groups"]]

    run.create(recipe, tmp_path / "whole").train()
    piece, calls = Stories.piece, []

    def killed(self, *args):
        calls.append(args)
        if len(calls) == 30:
            raise KeyboardInterrupt
        return piece(self, *args)

    monkeypatch.setattr(Stories, "piece", killed)
    with pytest.raises(KeyboardInterrupt):
        run.create(recipe, tmp_path / "cut").train()
    run.resume(tmp_path / "cut", say=lambda _: None, method=recipe.resolved()).train()
    assert texts(tmp_path / "cut") == texts(tmp_path / "whole")
    assert all(line["bill"]["scored"] > 0 for line in read_metrics(tmp_path / "whole"))


def test_a_story_is_told_and_read():
    stories = Stories()
    task = stories.task("train", 0, 3)
    assert stories.grade(task, stories.gold(task)) == {"outcome": 1.0, "lenient": 1.0, "values": 1.0}
    numbers = task.needs["answer"].split()
    one_off = stories.gold(task).replace(f"{numbers[1]} ", f"{numbers[1]}9 ")
    assert stories.grade(task, one_off)["values"] == pytest.approx(2 / 3)
    assert stories.grade(task, "nonsense")["values"] == 0
    reading = replace(stories, reading=1.0)
    shown = reading.task("train", 0, 3)
    lines = reading.gold(shown).partition("<think>")[2].partition("</think>")[0].split("\n")
    assert [line.partition("=")[2] for line in lines] == [value[1:] for value in shown.needs["answer"].split()[1:]]
    rng = random.Random(0)
    thoughts = [stories.thought(task, rng).split("\n") for _ in range(600)]
    right = stories._lines(task)
    assert 0.45 < sum(a == b for thought in thoughts for a, b in zip(thought, right, strict=True)) / 1800 < 0.55
    with pytest.raises(ValueError, match="step is a whole number from 1 to 29"):
        Stories(step=30)
