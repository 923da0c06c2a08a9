"""Scenes in two ways of showing, judgements of them in several forms, and a judge tuned on words that any slot may ask about codes."""

import asyncio
import json
import random
from collections import Counter

import pytest
from letters import Letters

from strop.directory import read_commit
from strop.evaluate import evaluate
from strop.experiments.flex_judge import Looks, answer_first, of_others
from strop.methods.flex_judge import FLEX_JUDGE, FLEX_JUDGE_SCENES, SCENES, TRACE
from strop.policies.causal import load
from strop.program import Program, Stage, rest, steps
from strop.recipe import Recipe
from strop.records import Group, Rollout, Row, Sampling, Scores, Segment
from strop.seams.judge import Form
from strop.seams.recorded import Earlier
from strop.seams.traces import Written, agreeing, longest, reworded, said
from strop.staged import create
from strop.tasks import source
from strop.tasks.scenes import CODES, PAIR, Scenes, favours, grid, words

SCORED, GRIDS, BASE = source("scenes:ask=scores"), source("scenes:shown=grid"), source("scenes:ask=taught")


def test_a_scene_is_shown_in_two_ways_that_have_no_letter_in_common_and_say_the_same():
    things = ["gs", "bs", "rc", "ct"]
    rng = random.Random(0)
    for _ in range(200):
        things = [rng.choice("rgby") + rng.choice("cstd") for _ in range(4)]
        told, code = words(things, rng), grid(things)
        assert not set(told) & set(code)
        assert [one[1:] for one in sorted(told.split())] == things
        assert len(code) == 4
    assert len({grid([one]) for one in (a + b for a in "rgby" for b in "cstd")}) == len(CODES)


def test_two_captions_differ_in_one_attribute_and_without_the_scene_neither_is_likelier():
    places, kinds, firsts, ways = Counter(), Counter(), Counter(), Counter()
    for index in range(1200):
        needs = GRIDS.task("train", 0, index).needs
        first, second = needs["replies"]
        assert first[0] == second[0]
        assert sum(a != b for a, b in zip(first, second, strict=True)) == 1
        place = int(first[0]) - 1
        assert needs["replies"][int(needs["answer"]) - 1] == needs["seen"] == f"{place + 1}{needs['things'][place]}"
        assert sorted(needs["scores"]) == ([7, 10] if first[1] == second[1] else [4, 10])
        places[place] += 1
        kinds[min(needs["scores"])] += 1
        firsts[needs["answer"]] += 1
        ways[first < second, needs["answer"]] += 1
    for counts in (places, kinds, firsts, ways):
        assert min(counts.values()) / max(counts.values()) > 0.8, counts


def test_one_scene_is_of_one_split_however_it_is_shown_and_whatever_is_asked():
    seen = {
        split: {tuple(s.task(split, 0, n).needs["things"]) for s in (SCORED, GRIDS, BASE) for n in range(150)}
        for split in ("train", "test")
    }
    assert not seen["train"] & seen["test"]


def test_who_teaches_a_base_asks_both_ways_alike_and_never_which_caption_is_right_of_a_scene():
    drawn, first = Counter(), Counter()
    for index in range(1600):
        task = BASE.task("train", 0, index)
        needs, gold = task.needs, BASE.gold(task)
        shown = [way for way in ("words", "grid") if needs[way] in task.prompt]
        drawn[needs["asked"], *shown] += 1
        if needs["asked"] in ("place", "find"):
            assert all(reply in task.prompt for reply in needs["replies"])
        if needs["asked"] == "find":
            assert gold == f"<answer>{1 + needs['replies'].index(needs['seen'])}</answer>"
            assert task.prompt.endswith(f"? {needs['seen']}")
            first[needs["answer"]] += 1
        elif needs["asked"] == "place":
            assert gold == f"<answer>{needs['seen']}</answer>"
        assert "think" not in gold
        assert BASE.grade(task, gold)["outcome"] == 1
    assert set(drawn) == {(asked, way) for asked in ("scene", "thing", "place") for way in ("words", "grid")} | {("find",)}
    assert min(drawn[one] for one in drawn if len(one) == 2) > 90
    assert 700 < drawn["find",] < 900
    assert min(first.values()) > 330


def test_scores_count_where_both_are_exact_and_their_order_leniently():
    task = next(t for t in (SCORED.task("train", 0, n) for n in range(99)) if t.needs["scores"] == [10, 7])
    for text, outcome, lenient in (
        ("<think>1rc</think><answer>10</answer><answer>7</answer>", 1, 1),
        ("<answer>10</answer><answer>4</answer>", 0, 1),
        ("<answer>7</answer><answer>10</answer>", 0, 0),
        ("<answer>10</answer>", 0, 0),
        ("<answer>10</answer><answer>7</answer> I think", 0, 0),
        ("", 0, 0),
    ):
        assert SCORED.grade(task, text) == {"outcome": outcome, "lenient": lenient}


def test_who_writes_judgements_slips_now_and_then_and_what_agrees_is_right():
    kept, rng, clean = 0, random.Random(0), Scenes(ask="scores", slips=0.0)
    for index in range(300):
        task = SCORED.task("train", 0, index)
        text = SCORED.written(task, rng)
        right = said(text) == task.needs["scores"]
        assert SCORED.grade(task, text)["outcome"] == right
        assert not right or task.needs["seen"] in text
        assert clean.written(task, rng) == SCORED.gold(task)
        kept += right
    assert 0.6 < kept / 300 < 0.8


@pytest.mark.parametrize(
    ("knobs", "says"), [({"ask": "rank"}, "ask is pair, scores, taught"), ({"shown": "image"}, "shown is words, grid")]
)
def test_a_word_that_is_no_knob_is_refused(knobs, says):
    with pytest.raises(ValueError, match=says):
        Scenes(**knobs)


def written_by_the_script(count):
    """Groups as the stage commits them, in letters."""
    groups = []
    for index in range(count):
        task = SCORED.task("train", 0, index)
        texts = [SCORED.written(task, random.Random(f"{index} {n}")) for n in range(2)]
        rows = [Row.of(Segment("prompt", (1,), "0"), Segment("teacher", Letters().reply(text), "0.0")) for text in texts]
        groups.append(Group(task, tuple(Rollout((row,), f"{index}/{n}", text=texts[n]) for n, row in enumerate(rows)), id=str(index)))
    return groups


def shown(group):
    prompt, reply = (Letters().text(s.tokens).rstrip("\0") for s in group.rollouts[0].rows[0].segments)
    return prompt, reply


def chain(groups, *makers):
    have = {"groups": groups, "scores": Scores(), "rng": random.Random(0), "renderer": Letters()}
    for maker in makers:
        have["groups"] = maker.on(have)
    return have["groups"]


def test_judgements_of_scenes_are_right_in_every_form_that_a_small_model_reads():
    made = chain(written_by_the_script(200), agreeing(), longest(n=100), reworded(forms=SCENES))
    assert len(made) == 100
    forms = Counter()
    for group in made:
        prompt, reply = shown(group)
        assert f"<think>{group.task.needs['seen']}</think>" in reply
        if prompt.endswith(("1-10", "1-5")):
            which = next(i for i, text in enumerate(group.task.needs["replies"]) if prompt.split(": ")[1].startswith(text))
            high = int(prompt.rpartition("-")[2])
            form = Form("point", low=1, high=high, tag="answer")
            assert form.read(reply)[0] == pytest.approx((group.task.needs["scores"][which] - 1) / 9, abs=0.5 / (high - 1))
            forms[high] += 1
        else:
            assert favours(reply) == group.task.needs["answer"]
            forms["pair"] += 1
    assert min(forms.values()) > 20


def test_the_control_has_the_same_questions_and_judgements_of_others_and_answer_first_the_same_tokens():
    groups = chain(written_by_the_script(300), agreeing(), longest(n=200))
    right, others = (chain(groups, *makers) for makers in ((reworded(forms=(PAIR,)),), (of_others(), reworded(forms=(PAIR,)))))
    turned = chain(right, answer_first())
    assert [shown(a)[0] for a in right] == [shown(b)[0] for b in others] == [shown(c)[0] for c in turned]
    assert Counter(shown(a)[1] for a in right) == Counter(shown(b)[1] for b in others)
    agree = sum(favours(shown(g)[1]) == g.task.needs["answer"] for g in others) / 200
    assert 0.38 < agree < 0.62
    for a, c in zip(right, turned, strict=True):
        assert sorted(shown(a)[1]) == sorted(shown(c)[1])
        assert shown(c)[1].startswith("<answer>")
        assert favours(shown(c)[1]) == favours(shown(a)[1])


def test_the_program_tunes_on_words_alone_what_a_script_wrote_and_a_look_asks_about_codes(tmp_path):
    tune = FLEX_JUDGE.but(feed=Earlier("trace", (agreeing(), longest(n=8), reworded(forms=SCENES))), tasks=4)
    small = Program(
        "small", (Stage("trace", TRACE.but(tasks=8), steps(1), task="scenes:ask=scores"), Stage("tune", tune, rest(), task="scenes"))
    )
    run = create(Recipe(method=small, steps=3, eval_tasks=0, slots=32, lr=1e-3), tmp_path / "run")
    run.train()
    renderer = load("pico").renderer
    traced = [Group.from_json(g) for g in read_commit(tmp_path / "run" / "1-trace", 0)["groups"]]
    assert {(r.provenance, r.rows[0].segments[1].kind) for g in traced for r in g.rollouts} == {("script", "teacher")}
    taught = [Group.from_json(g) for step in range(2) for g in read_commit(tmp_path / "run" / "2-tune", step)["groups"]]
    known = {f"0/{r.id}": r for g in traced for r in g.rollouts}
    for group in taught:
        (rollout,) = group.rollouts
        prompt = renderer.text(rollout.rows[0].segments[0].tokens)
        assert group.task.needs["words"] in prompt
        assert group.task.needs["grid"] not in prompt
        assert said(known[rollout.provenance].text) == group.task.needs["scores"]
    asked = []
    drawn = {
        "samples": 3,
        "sampling": Sampling(0),
        "max_tokens": 8,
        "sampler": Looks(),
        "look": lambda groups, scores: asked.extend(groups),
    }
    asyncio.run(evaluate(run.handle, run.source, 2, **drawn))
    for group in asked:
        told, code, read = (renderer.text(r.rows[0].segments[0].tokens) for r in group.rollouts)
        needs = group.task.needs
        assert needs["words"] in told
        assert told.replace(needs["words"], needs["grid"]) == code
        assert f"{needs['grid']}?" in read


def test_the_papers_constants_and_the_programs_stages():
    assert FLEX_JUDGE.feed.makers == (agreeing(), longest(n=1000), reworded())
    assert (FLEX_JUDGE.update.betas, FLEX_JUDGE.update.weight_decay, FLEX_JUDGE.update.lr) == ((0.9, 0.95), 1e-4, 1e-5)
    look, trace, tune = FLEX_JUDGE_SCENES.plan
    assert (look.task, trace.task, tune.task) == ("scenes:ask=taught", "scenes:ask=scores", "scenes")
    assert trace.method.sampler == Written()
    assert tune.method.feed.makers[-1] == reworded(forms=SCENES)


def file_of(tmp_path, *rows):
    path = tmp_path / "judged.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return f"jsonl:{path}"


def test_judgements_of_others_come_as_a_file_and_those_that_agree_are_taken(tmp_path):
    texts = ["<think>one</think><answer>8</answer><answer>3</answer>", "<think>longer</think><answer>3</answer><answer>8</answer>"]
    rows = [{"prompt": f"q{i}", "replies": [f"a{i}", f"b{i}"], "scores": [8, 3], "texts": texts} for i in range(20)]
    there = source(file_of(tmp_path, *rows))
    task = there.task("train", 0, 0)
    assert there.grade(task, there.gold(task)) == {"outcome": 1.0, "lenient": 1.0}
    assert there.grade(task, texts[1])["outcome"] == 0
    assert all(reply in task.prompt for reply in (task.needs["question"], *task.needs["replies"]))
    said_of = {there.written(task, random.Random(n)) for n in range(9)}
    assert said_of == set(texts)
    rows = tuple(
        Rollout((Row.of(Segment("prompt", (1,), "0"), Segment("teacher", Letters().reply(t), "0.0")),), f"{n}", text=t)
        for n, t in enumerate(texts)
    )
    (made,) = chain([Group(task, rows, id="g")], agreeing(), longest(), reworded(forms=(Form("pair"),)))
    assert shown(made)[1] == "<think>one</think><verdict>1</verdict>"
    assert task.needs["replies"][0] in shown(made)[0]
    silent = source(file_of(tmp_path, *[{"prompt": f"q{i}", "replies": ["a", "b"], "scores": [8, 3]} for i in range(20)]))
    with pytest.raises(ValueError, match="has no 'texts': name the policy that writes"):
        silent.written(silent.task("train", 0, 0), random.Random(0))


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"scores": [8]}, "a whole number, 0 or more, for each"),
        ({"scores": [8, True]}, "a whole number"),
        ({"scores": [8, 3.5]}, "a whole number"),
        ({"scores": [8, -1]}, "a whole number"),
        ({"replies": ["a"], "scores": [8]}, "two texts or more"),
        ({"replies": ["a", ""]}, "a reply must be a text"),
        ({"texts": [3]}, "a judgement of 'texts' must be a text"),
        ({"prompt": ""}, "field 'prompt' must be a text"),
    ],
)
def test_a_row_without_a_reference_for_each_reply_is_refused_in_words(tmp_path, row, says):
    with pytest.raises(ValueError, match=says):
        source(file_of(tmp_path, {"prompt": "q", "replies": ["a", "b"], "scores": [8, 3], **row}))
