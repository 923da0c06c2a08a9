"""The judge of steps: its loss against the release's masked one, its two passes by a table, its search, and policies that are asked."""

import asyncio
import gc
import json
import math
import re
import shutil
from dataclasses import replace
from statistics import fmean, pstdev
from types import SimpleNamespace

import pytest
import torch
from letters import Letters

from strop import pico, staged, train
from strop.batch import pack
from strop.claims.trace import Trace
from strop.cli import main
from strop.directory import cut_metrics, read_metrics
from strop.experiments.pathfinder import TYPES, first_error_f1, unseen, useless, verdict_auc, way_found, ways_unfound
from strop.learning import settle
from strop.methods.grpo import GRPO
from strop.methods.pathfinder import PATHFINDER, PATHFINDER_RL, SHORT, Judged
from strop.methods.sft import SFT
from strop.policies.causal import load
from strop.program import INITIAL, Program, Stage
from strop.program import steps as count
from strop.recipe import Recipe
from strop.records import Fate, Group, Rollout, Row, Sampling, Scores, Segment, Task
from strop.run import create, resume
from strop.seams.asked import Asked
from strop.seams.context import Ctx, Progress
from strop.seams.engine import Node
from strop.seams.part import part
from strop.seams.reward import outcome
from strop.seams.sampler import Independent, as_taught
from strop.seams.steps import Judge, StepSearch, Typed, least_step, lines_of, steps
from strop.tasks.chain import OPERATIONS, STEP, Chain
from strop.tasks.judging import right
from strop.tasks.slips import KINDS, Slips
from strop.tasks.walks import Walks

SMALL = {"model": str(pico.path()), "task": "slips", "tasks": 2, "steps": 1, "eval_tasks": 0, "slots": 32}


def released(policy, tasks):
    """The release's loss, by its own layout: two sequences a step with masks fed where labels stand, a label trained where it differs
    from what is fed. Summed over them, divided by how many there are."""
    renderer, losses = policy.renderer, []
    token = {text: renderer.plain(text)[0] for text in "+-?"}
    for task in tasks:
        for step, (a, b, c) in enumerate(task.needs["labels"]):
            said = ["-+"[label] for label in (a, b, a and b and c)]
            written = "<think>" + "".join(line + "\n" for line in task.needs["steps"][: step + 1])
            before = [*renderer.prompt(task.needs["question"]), *renderer.plain(written)]
            first = (("math:", "?", said[0]), (" consistency:", "?", said[1]))
            second = (("math:", said[0], said[0]), (" consistency:", said[1], said[1]), (" right:", "?", said[2]))
            for row in (first, second):
                fed, wanted = list(before), [None] * len(before)
                for words, shown, label in row:
                    tokens = renderer.plain(words)
                    fed += [*tokens, token[shown]]
                    wanted += [None] * len(tokens) + [token[label]]
                with torch.no_grad():
                    logp = policy.model(torch.tensor([fed])).logits[0].log_softmax(-1)
                losses += [-logp[at - 1, w].item() for at, w in enumerate(wanted) if w is not None and w != fed[at]]
    return sum(losses) / len(losses), len(losses)


def test_the_loss_is_the_releases_masked_one(tmp_path):
    run = create(Recipe(method=PATHFINDER, **SMALL), tmp_path / "run")
    tasks = [run.source.task("train", 0, i) for i in range(2)]
    expected, count = released(run.policy, tasks)
    line = asyncio.run(train.step(run))
    assert line["loss"]["teacher"] == pytest.approx(expected, abs=1e-5)
    assert line["watch"]["trained"] == count == 2 * 4 * 3


def rows(typed, labels=(1, 0, 0)):
    """What each row of a step says, the trained labels in brackets."""
    renderer = load(str(pico.path())).renderer
    for row in typed.rows(renderer, "2+2=?", ["2+2=4"], labels):
        written = [renderer.text(s.tokens) for s in row.segments]
        assert written[1] == "<think>2+2=4\n"
        yield "".join(f"[{t}]" if s.id in row.trains else t for s, t in zip(row.segments[2:], written[2:], strict=True))


def test_what_each_form_trains_and_what_stands_before_it():
    assert [*rows(Typed())] == ["math:? consistency:[-]", "math:[+] consistency:- right:[-]"]
    assert [*rows(Typed(shown=False))] == ["math:[+]", "math:? consistency:[-]", "math:? consistency:? right:[-]"]
    assert [*rows(Typed(ways=()), (0,))] == ["right:[-]"]
    with pytest.raises(ValueError, match="three different texts of one token each"):
        [*Typed(labels=("yes", "no")).tokens(load(str(pico.path())).renderer)]


def test_permuted_types_keep_the_mix_and_the_verdicts_and_say_nothing():
    source = Slips(wrong=0.6)
    tasks = [source.task("train", 0, i) for i in range(200)]
    policy = load(str(pico.path()))

    def taught(permuted):
        class Handle:
            renderer = policy.renderer

        ctx = Ctx(0, Progress(), source, {"actor": Handle()}, None)
        groups = asyncio.run(Judged(permuted=permuted).take(lambda n: tasks, 200, None, None, ctx, None))
        return [json.loads(r.text) for g in groups for r in g.rollouts]

    plain, mixed = taught(0), taught(64)
    assert plain == [[*labels[:2], right(labels)] for t in tasks for labels in t.needs["labels"]]
    assert [one[2] for one in plain] == [one[2] for one in mixed]
    wrong = [(a, b) for a, b in zip(plain, mixed, strict=True) if not a[2]]
    assert all(a == b for a, b in zip(plain, mixed, strict=True) if a[2])
    for way in (0, 1):
        share = [fmean(one[side][way] for one in wrong) for side in (0, 1)]
        assert share[0] == pytest.approx(share[1], abs=0.15), "the mix of 64 other tasks"
        told = [fmean(b[way] for a, b in wrong if a[way] == label) for label in (0, 1)]
        assert told[0] == pytest.approx(told[1], abs=0.1), "what was dealt does not depend on what is true"


class Scripted:
    """A policy that says `+` with the chance a script holds for what stands before, or texts in turn."""

    def __init__(self, script, limit=1000):
        self.limit = limit
        self.script, self.renderer, self.asked, self.engine = script, Letters(), [], self

    def admit(self, footprint):
        from contextlib import nullcontext

        class Room(nullcontext):
            async def __aenter__(self):
                return None

            async def __aexit__(self, *said):
                return None

        return Room()

    async def open(self, text, *, root):
        return Node(Segment("prompt", tuple(map(ord, text)), "0"), None, (0,), root, 0, length=len(text))

    def _child(self, node, kind, text, logp=None, stop=None):
        path = node.next()
        segment = Segment(kind, tuple(map(ord, text)), ".".join(map(str, path)), logp=logp)
        return Node(segment, node, path, node.root, 0, stop=stop, length=node.length + len(text))

    async def force(self, node, text):
        return self._child(node, "forced", text)

    async def generate(self, node, *, max, stop=(), sampling=None, keep=True):
        before = self.renderer.text(node.tokens)
        self.asked.append(before)
        said = self.script[before]
        if isinstance(said, float):
            return self._child(node, "action", "-", (math.log(1 - said),), "length")
        text = said[node.children[0] % len(said)]
        return self._child(node, "action", text, (0.0,) * len(text), "stop" if text.endswith("\n") else "finished")

    def text(self, node):
        return self.renderer.text(node.segment.tokens)


def scored(judge, handle):
    (said,) = asyncio.run(judge.scores(handle, "q", ["s"], "p"))
    return said


@pytest.mark.parametrize(
    ("math_", "consistent", "right_", "score", "calls"),
    [
        (0.9, 0.9, 0.7, 0.7, 3),
        (0.9, 0.9, 0.2, 0.2, 3),
        (0.4, 0.9, 0.9, -1, 2),
        (0.9, 0.4, 0.9, -1, 2),
        (0.1, 0.1, 0.9, -1, 2),
        (0.5, 0.5, 0.5, 0.5, 3),
    ],
)
def test_two_passes_and_the_veto(math_, consistent, right_, score, calls):
    judge = Scripted(
        {"q<think>s\nmath:": math_, "q<think>s\nmath:? consistency:": consistent, "q<think>s\nmath:+ consistency:+ right:": right_}
    )
    said = scored(Judge(), judge)
    assert said.score == pytest.approx(score)
    assert said.flags == [math_ >= 0.5, consistent >= 0.5]
    assert len(judge.asked) == calls


def test_forms_without_order_have_no_veto():
    judge = Scripted(
        {
            "q<think>s\nmath:": 0.1,
            "q<think>s\nmath:? consistency:": 0.1,
            "q<think>s\nmath:? consistency:? right:": 0.8,
            "q<think>s\nright:": 0.3,
        }
    )
    assert scored(Judge(Typed(shown=False)), judge).score == pytest.approx(0.8)
    assert scored(Judge(Typed(ways=())), judge).score == pytest.approx(0.3)


def test_the_first_step_below_the_line_is_named():
    task = Task("q\na\nb", {"question": "q", "steps": ["a", "b"], "labels": [], "answer": 2}, "slips")
    script = {"q<think>a\nright:": 0.9, "q<think>a\nb\nright:": 0.1}
    ctx = Ctx(0, Progress(), None, {"actor": Scripted(script)}, None, place="p")
    (group,) = asyncio.run(Judge(Typed(ways=()))(task, None, ctx))
    assert Slips().grade(task, group.rollouts[0].text) == {"outcome": 1.0, "lenient": 1.0, "faulty": 1.0, "caught": 1.0}


def test_search_takes_the_best_candidate_skips_rounds_without_one_and_ends():
    actor = Scripted({"q": ["<think>a\n", "<think>b\n", "<think>~\n"], "q<think>b\n": ["c\n", "d</think><answer>1</answer>"]})
    judge = Scripted({f"q<think>{said}\nright:": score for said, score in {"a": 0.2, "b": 0.9, "b\nc": 0.1, "b\nd": 0.6}.items()})
    ctx = Ctx(0, Progress(), None, {"actor": actor, "prm": judge}, None, place="p")
    search = StepSearch(judge=Judge(Typed(ways=())), width=3)
    (group,) = asyncio.run(search(Task("q", {}, "s"), None, ctx))
    (one,) = group.rollouts
    assert one.text == "<think>b\nd</think><answer>1</answer>"
    assert one.stop == "finished"
    assert len(one.rows) == 1 + 6, "what was not taken is counted too"
    vetoed = Scripted({f"q<think>{line}\n{ask}": 0.1 for line in "ab" for ask in ("math:", "math:? consistency:")})
    ctx = Ctx(0, Progress(), None, {"actor": actor, "prm": vetoed}, None, place="p")
    (group,) = asyncio.run(replace(search, judge=Judge(), most=3)(Task("q", {}, "s"), None, ctx))
    assert group.rollouts[0].text == ""
    assert group.rollouts[0].stop == "length"
    assert len(group.rollouts[0].rows) == 1 + 9


def test_a_candidate_that_only_closes_the_reply_scores_as_the_step_before_it():
    actor = Scripted({"q": ["<think>b\n"], "q<think>b\n": ["</think><answer>2</answer>"], "r": ["<answer>2</answer>"]})
    judge = Scripted({"q<think>b\nright:": 0.9})
    ctx = Ctx(0, Progress(), None, {"actor": actor, "prm": judge}, None, place="p")
    search = StepSearch(judge=Judge(Typed(ways=())), width=1, most=2)
    (group,) = asyncio.run(search(Task("q", {}, "s"), None, ctx))
    assert group.rollouts[0].text == "<think>b\n</think><answer>2</answer>"
    (group,) = asyncio.run(search(Task("r", {}, "s"), None, ctx))
    assert group.rollouts[0].text == "", "a reply without a step was judged by nobody"
    full = Scripted({"q": ["<think>b\n"]}, limit=len("q<think>b\n"))
    (group,) = asyncio.run(search(Task("q", {}, "s"), None, Ctx(0, Progress(), None, {"actor": full, "prm": judge}, None, place="p")))
    assert group.rollouts[0].text == "<think>b\n"
    assert group.rollouts[0].stop == "length", "no room for another step"


def test_slips_are_of_the_kinds_they_say():
    source, kinds = Slips(wrong=0.5), dict.fromkeys(KINDS, 0)
    for index in range(200):
        task = source.task("train", 0, index)
        start, moves = task.needs["question"].partition("=")[0], STEP.findall(task.needs["question"])
        value, told = int(re.match("[0-9]+", start)[0]), list[str]()
        for (operator, operand), line, labels in zip(moves, task.needs["steps"], task.needs["labels"], strict=True):
            due = OPERATIONS[operator](value, int(operand))
            if labels[2] == 0:
                kinds["use"] += 1
                assert labels[:2] == [1, 1]
                assert line in told
                value = due
                continue
            left, after, result = re.fullmatch(r"(-?\d+)([+*-]\d+)=(-?\d+)", line).groups()
            assert after == operator + operand
            assert labels[0] == (OPERATIONS[operator](int(left), int(operand)) == int(result))
            assert labels[1] == (int(left) == value)
            kinds["math"] += labels[0] == 0
            kinds["consistency"] += labels[1] == 0
            value = int(result)
            if all(labels):
                told.append(line)
    assert min(kinds.values()) > 40


@part(gives="asked_too")
async def asked_too(groups, ctx, *, policy="prm"):
    """A number that depends on what the other policy writes under a reply."""
    handle = ctx.policies[policy]

    async def one(rollout):
        root = await handle.open(rollout.text or "x", root=rollout.id)
        node = await handle.generate(root, max=4, sampling=Sampling(), keep=False)
        return float(sum(node.segment.tokens) % 7)

    units = [r for g in groups for r in g.rollouts]
    said = await asyncio.gather(*(one(r) for r in units))
    return Scores({r.id: {"asked_too": value} for r, value in zip(units, said, strict=True)})


def asking(start="initial", **more):
    return GRPO.but(
        "asking",
        idea=("graders", "reward", "policies"),
        policies={"prm": Asked(start)},
        graders=(asked_too,),
        reward=outcome.reading(outcome_R="asked_too_R"),
        sampler=Independent(n=4, max_tokens=8),
        tasks=2,
        **more,
    )


@pytest.mark.slow  # a run with two models, killed and resumed
def test_another_policy_is_asked_stays_as_it_is_is_billed_and_comes_back_after_a_kill(tmp_path):
    method = asking()
    recipe = Recipe(method=method, model=str(pico.path()), steps=3, lr=1e-3, eval_tasks=0, slots=16, checkpoint_every=1)
    run = create(recipe, tmp_path / "run")
    before = {name: p.clone() for name, p in run.policy.model.named_parameters()}
    run.train()
    lines = read_metrics(tmp_path / "run")
    others = dict(run.others["prm"].engine.model.named_parameters())
    assert all(torch.equal(before[name], p) for name, p in others.items())
    assert any(not torch.equal(before[name], p) for name, p in run.policy.model.named_parameters())
    assert 3 * 8 < lines[-1]["bill"]["prm/decoded"] <= 3 * 8 * 4
    assert lines[-1]["bill"]["prm/prefilled"] > 0
    for step in (2, 3):
        for file in (tmp_path / "run" / "checkpoints" / f"{step:06d}").iterdir():
            file.unlink()
        (tmp_path / "run" / "checkpoints" / f"{step:06d}").rmdir()
    (tmp_path / "run" / "groups" / "000002.json.gz").unlink()
    cut_metrics(tmp_path / "run" / "metrics.jsonl", 1)
    resume(tmp_path / "run", method=method).train()
    again = read_metrics(tmp_path / "run")
    assert [{**line, "t": 0} for line in again] == [{**line, "t": 0} for line in lines]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: asking().but(policies={}), "asks the policy 'prm', which it does not have"),
        (lambda: asking().but(policies={"actor": Asked()}), "cannot be called 'actor'"),
        (lambda: asking().but(policies={"prm": "initial"}), r"is Asked\(start\)"),
        (lambda: Asked("stage:"), "stage:NAME"),
        (lambda: Judge(over="some"), "two or all"),
        (lambda: StepSearch(width=0), "at least 1"),
        (lambda: GRPO.but("mine", sampler=StepSearch(), policies={"prm": Asked()}), "is a way to evaluate"),
    ],
)
def test_what_cannot_be_asked_is_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()


@pytest.mark.parametrize(("start", "said"), [("nowhere", "no such directory"), ("stage:first", "no stage before has that name")])
def test_weights_that_are_not_there_are_said_before_anything_is_written(tmp_path, start, said):
    with pytest.raises(ValueError, match=said):
        create(Recipe(method=asking(start), model=str(pico.path()), steps=1, eval_tasks=0), tmp_path / "run")
    assert not [p for p in (tmp_path / "run").rglob("*") if p.is_file()], "a run that never began may begin again"


def test_a_model_is_searched_with_another_from_the_command_line(tmp_path, capsys, refused):
    asked = ["eval", "pico", "--task", "chain", "--tasks", "2", "--samples", "1", "--sampler", "search:2", "--max-tokens", "8"]
    assert "--policy prm=MODEL_OR_RUN" in refused(*asked)
    assert "written NAME=MODEL_OR_RUN" in refused(*asked, "--policy", "prm")
    main([*asked, "--policy", f"prm={pico.path()}", "--json", str(tmp_path / "said.json")])
    said = json.loads((tmp_path / "said.json").read_text())
    assert said["policies"] == [f"prm={pico.path()}"]
    assert said["cost"]["actor"]["decoded"] == said["length"] > 0
    assert said["cost"]["prm"]["decoded"] > 0
    assert "prm computed" in capsys.readouterr().out


REINFORCED = PATHFINDER_RL.but(sampler=Independent(n=4, max_tokens=24), tasks=2)


def test_a_step_is_paid_by_its_own_score_and_those_that_follow(tmp_path):
    """End to end: the judge's scores of each line that was written are in the commit, and credit is what they make by hand."""
    method = REINFORCED.but(update=replace(REINFORCED.update, minibatch=None))
    run = create(Recipe(method=method, model=str(pico.path()), steps=1, lr=1e-3, eval_tasks=0, slots=32, seed=3), tmp_path / "run")
    run.train()
    (groups, scores), *_ = Trace("rl", 0, tmp_path / "run", "decoded", {}).steps()
    members = [r for g in groups for r in g.rollouts]
    assert max(len(scores.spans[r.id]["least_step"][1]) for r in members) > 1
    batch = pack(groups, {r.id: Fate() for r in members}, dict.fromkeys((r.id for r in members), 0.0), 0, scores)
    settled = settle(method, batch.with_(old_logp_T=batch.tracks["sampled_logp_T"]))
    at = 0
    for group in groups:
        said = {r.id: scores.spans[r.id]["least_step"][1] for r in group.rollouts}
        every = [score for mine in said.values() for score in mine]
        mean, std = (fmean(every), max(pstdev(every), 1e-4)) if every else (0.0, 1.0)
        for r in group.rollouts:
            assert scores.get(r, "least_step") == pytest.approx(min(said[r.id], default=-1.0))
            stops = [stop for _, stop in steps(r.text)]
            earned = [sum((score - mean) / std for score in said[r.id][number:]) for number in range(len(stops) + 1)]
            tokens = r.rows[0].segments[1].tokens
            before = [len(run.policy.renderer.text(tokens[:place])) for place in range(len(tokens))]
            wanted = [earned[sum(stop <= start for stop in stops)] for start in before]
            assert settled.tracks["credit_T"][at : at + len(tokens)].tolist() == pytest.approx(wanted, abs=1e-4)
            at += len(tokens)
    assert at == settled.index.size("token")


@pytest.mark.slow  # a judge is taught, and a policy trained by it; killed and resumed
def test_a_policy_is_trained_by_a_judge_that_an_earlier_stage_taught_and_comes_back_after_a_kill(tmp_path):
    judged = REINFORCED.but(policies={"prm": Asked("stage:judge")})
    teach = PATHFINDER.but(tasks=2)
    plan = Program("plan", (Stage("judge", teach, count(2), task="slips"), Stage("reinforce", judged, count(3), begins=INITIAL)))
    recipe = Recipe(method=plan, model=str(pico.path()), task="chain", steps=5, lr=1e-3, eval_tasks=0, slots=32, checkpoint_every=1)
    staged.create(recipe, tmp_path / "whole", say=lambda _: None).train()
    lines = read_metrics(tmp_path / "whole" / "2-reinforce")
    assert len(lines) == 3
    assert lines[-1]["bill"]["prm/decoded"] > 0
    assert len({line["digest"]["weights"] for line in lines}) == 3

    def stop(line):
        if "prm/decoded" in line["bill"] and line["step"] == 1:
            raise KeyboardInterrupt

    killed = staged.create(recipe, tmp_path / "killed", say=lambda _: None)
    with pytest.raises(KeyboardInterrupt):
        killed.train(show=stop)
    place = tmp_path / "killed" / "2-reinforce"
    assert len(read_metrics(place)) == 2
    shutil.rmtree(sorted((place / "checkpoints").iterdir())[-1])  # the last update is made again of what was committed
    del killed
    gc.collect()  # its lock goes with it
    staged.resume(tmp_path / "killed", say=lambda _: None, method=plan).train()
    assert [{**line, "t": 0} for line in read_metrics(place)] == [{**line, "t": 0} for line in lines]


def test_least_step_is_the_lowest_and_a_veto_where_there_is_no_step():
    source = Chain()
    task = source.task("train", 0, 0)
    prompt = Row.of(Segment("prompt", (1,), "0"))
    texts = [source.gold(task), "<answer>3</answer>", "<think>~</think>"]
    group = Group(task, tuple(Rollout((prompt,), f"g/{i}", text=text) for i, text in enumerate(texts)))
    steps = lines_of(texts[0])
    told = ["\n".join(steps[: i + 1]) for i in range(len(steps))]
    judge = Scripted({f"{task.prompt}<think>{each}\nright:": 0.9 - 0.1 * i for i, each in enumerate(told)})
    grader = least_step(judge=Judge(Typed(ways=())))
    scores = asyncio.run(grader.on({"groups": [group], "ctx": Ctx(0, Progress(), source, {"prm": judge}, None)}))
    assert [scores.get(r, "least_step") for r in group.rollouts] == [pytest.approx(0.6), -1.0, -1.0]


def held(said, labels):
    """A trace whose last evaluation holds walks with these labels, of whose moves this was said."""
    texts = ["<think>" + "\n".join(SHORT.said(flags, score) for flags, score in walk) + "</think><answer>0</answer>" for walk in said]
    replies = [{"needs": {"labels": each}, "texts": [text]} for each, text in zip(labels, texts, strict=True)]
    return SimpleNamespace(replies=([], replies))


def test_the_claims_measure_is_the_harmonic_mean_of_what_is_found_and_what_is_cleared():
    means = {"mean": 0.4, "faulty": 0.5, "caught": 0.1}  # 0.2 of the faulty are found, 0.6 of the right ones cleared
    trace = SimpleNamespace(held_out=[{"spent": 7, "means": means}, {"spent": 9, "means": {"mean": 0.5, "faulty": 0.5, "caught": 0.0}}])
    assert first_error_f1(trace) == [(7, pytest.approx(0.3)), (9, 0.0)]


def test_the_claims_checks_by_hand():
    right_, road, place, use = [1, 1, 1], [0, 1, 1], [1, 0, 1], [1, 1, 0]
    labels = [[right_, road, road, use], [right_, place, right_, use]]
    said = [
        [([True, True], 0.9), ([False, True], -1.0), ([True, True], 0.6), ([True, True], 0.2)],
        [([False, True], -1.0), ([True, True], 0.5), ([True, True], 0.8), ([True, True], 0.8)],
    ]
    trace = held(said, labels)
    assert way_found(trace, way=0) == pytest.approx(1 / 2), "one of two, and none of the three that are wrong otherwise"
    assert way_found(trace, way=1) == 0
    assert ways_unfound(trace) == pytest.approx(1 / 2)
    # above 0.2: 0.9 and 0.8 of three right ones; against 0.8: 0.9 above, 0.8 a tie
    assert verdict_auc(trace) == pytest.approx((2 + 1.5) / 6)
    assert useless(trace) == pytest.approx(2 / 5)


def test_the_claims_arms_differ_in_what_they_are_taught_and_spend_alike(tmp_path):
    """The compared arms train as many rows of as many tokens with as many labels, and other types."""
    source, lines, taught = Walks(wrong=0.6), {}, {}
    for name in ("typed", "permuted"):
        method = TYPES.arm(name).method.but(tasks=2)
        recipe = Recipe(method=method, task="walks:wrong=0.6", steps=1, lr=1e-3, eval_tasks=0)
        create(recipe, tmp_path / name).train()
        (lines[name],) = read_metrics(tmp_path / name)
        (groups, _), *_ = Trace(name, 0, tmp_path / name, "trained", {}).steps()
        taught[name] = [json.loads(r.text) for g in groups for r in g.rollouts]
    assert lines["typed"]["bill"] == lines["permuted"]["bill"]
    assert lines["typed"]["bill"]["trained"] > 0
    assert taught["typed"] != taught["permuted"]
    assert [one[2] for one in taught["typed"]] == [one[2] for one in taught["permuted"]]
    trace = Trace("typed", 0, tmp_path / "typed", "trained", {})
    told = [{"needs": dict(source.task("test", 0, i).needs), "texts": []} for i in range(20)]
    trace.__dict__["replies"] = (told,)
    assert unseen(trace) == 1
    trace.__dict__["replies"] = (told + [{"needs": dict(next(trace.steps())[0][0].task.needs), "texts": []}] * 20,)
    assert unseen(trace) == 0.5


def test_a_judge_is_asked_in_the_form_that_it_was_taught_and_says_what_it_heard():
    flat = Typed(ways=(), labels=("y", "n"))
    assert as_taught(Judge(n=2), Judged(flat)) == Judge(flat, n=2)
    assert as_taught(Judge(), SFT.feed) == Judge()
    assert as_taught(Independent(), Judged(flat)) == Independent()
    assert as_taught(StepSearch(width=2), Judged(flat)) == StepSearch(width=2, judge=Judge(flat))
    script = {"q<think>a\nmath:": 0.9, "q<think>a\nmath:? consistency:": 0.2}
    ctx = Ctx(0, Progress(), None, {"actor": Scripted(script)}, None, place="p")
    task = Task("q\na", {"question": "q", "steps": ["a"], "labels": [[1, 0, 1]], "answer": 1}, "slips")
    (group,) = asyncio.run(Judge()(task, None, ctx))
    assert group.rollouts[0].text == "<think>+- -1.0000</think><answer>1</answer>"
    assert [Typed().heard(line) for line in lines_of(group.rollouts[0].text)] == [([True, False], -1.0)]
    assert Typed(ways=()).heard(Typed(ways=()).said([], 0.25)) == ([], 0.25)


@pytest.mark.slow
def test_the_command_line_says_whose_scores_pay(tmp_path, refused, monkeypatch):
    asked = ["train", "--method", "pathfinder-rl", "--task", "chain", "--steps", "1", "--tasks", "2", "--group", "2", "--max-tokens", "12"]
    assert "pathfinder-rl asks no policy 'judge'. Known: prm" in refused(*asked, "--policy", "judge=pico")
    assert "grpo@strop-1 asks no policy 'prm'. It asks nobody beside the actor." in refused("train", "--policy", "prm=pico")
    assert "a program's stages say it themselves" in refused("train", "--method", "pathfinder-walks", "--policy", "prm=pico")
    assert "--resume goes on with the run's own recipe, so it takes no --policy" in refused(
        "train", "--resume", "run", "--policy", "prm=pico"
    )
    monkeypatch.chdir(tmp_path)
    create(Recipe(method=PATHFINDER.but(feed=Judged(SHORT)), **SMALL), tmp_path / "judge").train()
    main([*asked, "--eval-tasks", "0", "--policy", "prm=judge", "--out", "run"])
    parts = json.loads((tmp_path / "run" / "recipe.json").read_text())["method"]["parts"]
    assert parts["policies"]["prm"]["with"] == {"start": str(tmp_path / "judge")}
    assert parts["graders"][0]["with"]["judge"]["with"]["typed"]["with"]["ways"] == ["w", "f"], "as it was taught"
