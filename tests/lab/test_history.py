"""Single against repeated answers: counts by hand, chances against samples, thresholds that refuse their own questions."""

import asyncio
import json
import random
from statistics import fmean

import pytest
import torch

from strop.cli import main
from strop.engines.embedded import EmbeddedEngine
from strop.lab.history import accuracy, by_turn, chosen, expected, expected_b, halves, of_top
from strop.policies.causal import load
from strop.records import Sampling, Task
from strop.seams.again import Answered, AskAgain, read, shares
from strop.seams.context import Ctx, Handle, Progress
from strop.tasks import source

HABITS = source("habits")


def asked(single, *talks, options="abcd", name="q"):
    return Answered(name, tuple(options), tuple(single), tuple(map(tuple, talks)))


def test_b_by_hand():
    one = asked("aaab", "abcd", "aabb")
    assert one.alone == {"a": 0.75, "b": 0.25, "c": 0.0, "d": 0.0}
    assert one.again == {"a": 0.375, "b": 0.375, "c": 0.125, "d": 0.125}
    assert one.b == {"a": 0.375, "b": -0.125, "c": -0.125, "d": -0.125}
    assert (one.top, of_top(one), of_top(one, "single"), of_top(one, "multi")) == ("a", 0.375, 0.75, 0.375)
    assert sum(one.b.values()) == pytest.approx(0)
    assert by_turn([one]) == [1.0, 0.5, 0.0, 0.0]


def test_invalid_answers_are_counted_and_in_no_share():
    one = asked(["a", None, "x", "b", "a"], ["a", "y", None, "c"])
    assert one.invalid == (4, 9)
    assert (one.of_single.invalid, one.of_talks.invalid) == ((2, 5), (2, 4))
    assert one.alone == pytest.approx({"a": 2 / 3, "b": 1 / 3, "c": 0, "d": 0})
    assert one.again["a"] == one.again["c"] == 0.5
    assert by_turn([one]) == [1.0, None, None, 0.0]


def test_a_side_without_a_valid_answer_has_no_b_and_is_not_taken_for_zero():
    for one in (asked(["x", None], "ab"), asked("ab", ["x"]), asked("ab", "ab", ["x", "y"]), asked("ab")):
        assert one.b is None
        assert of_top(one) is None
    assert shares(["x"], "ab") is None


def test_without_options_whatever_was_said_is_one():
    one = asked("aab", ["b", "z"], options="")
    assert one.known == ("a", "b", "z")
    assert one.b == {"a": pytest.approx(2 / 3), "b": pytest.approx(1 / 3 - 1 / 2), "z": -0.5}


def test_conversations_count_alike_however_many_of_their_answers_are_valid():
    assert asked("a", ["a", "x", "x", "x"], "bbbb").again["a"] == 0.5


def questions(count, seed=0):
    """Some whose favourite falls in conversations and is to be refused, others whose stays."""
    rng, made = random.Random(seed), []
    for number in range(count):
        habit = number % 2 == 0
        single = "a" * 8 + rng.choice(["bc", "bb", "aa"])
        talks = ["".join(rng.choice("abcd" if habit else "aaab") for _ in range(10)) for _ in range(2)]
        made.append((asked(single, *talks, name=f"{seed}-{number}"), not habit))
    return zip(*made, strict=True)


def test_thresholds_refuse_the_questions_they_were_chosen_on():
    own, good = questions(40)
    others, truth = questions(40, seed=1)
    found = chosen(own, good)
    assert accuracy(found, others, truth) > 0.8
    with pytest.raises(ValueError, match=r"chosen on question '0-0' too: what they say of it is no result\. Ask others\."):
        accuracy(found, own, good)
    with pytest.raises(ValueError, match="chosen on question"):
        found.accepts(own[3])


def test_on_its_own_questions_a_second_filter_cannot_lose():
    """Why they are refused."""
    own, good = questions(20, seed=2)
    rng = random.Random(3)
    for _ in range(3):
        good = [rng.random() < 0.5 for _ in own]

        def right(thresholds, own=own, good=good):
            free = type(thresholds)(thresholds.least, thresholds.most, frozenset())
            return accuracy(free, own, good)

        assert right(chosen(own, good)) >= right(chosen(own, good, ("single",)))
    assert chosen(own, good, ("single",)).most == 1
    assert chosen(own, good, ("b",)).least == 0


def test_halves_share_no_question_and_do_not_depend_on_their_order():
    own, _ = questions(40)
    first, second = halves(own)
    assert sorted(first + second) == list(range(40))
    assert min(len(first), len(second)) > 8
    turned = halves(own[::-1])[0]
    assert {own[::-1][i].task for i in turned} == {own[i].task for i in first}


# ---------------------------------------------------------------------------------------------- chances


@pytest.fixture(scope="module")
def policy():
    return load("pico")


def context(policy, seed=0):
    engine = EmbeddedEngine(policy.model, policy.tokenizer, seed=seed)
    engine.begin(0)
    return Ctx(seed, Progress(), HABITS, {"actor": Handle(engine, policy.renderer)}, None, place="q")


class Bare:
    """The prompt and one token for each answer: what may be said is what is summed over."""

    def __init__(self, renderer):
        self.renderer, self.stop = renderer, ()

    def __getattr__(self, name):
        return getattr(self.renderer, name)

    def reply(self, text):
        return self.renderer.plain(text)


def test_chances_over_all_pasts_are_what_conversations_draw(policy):
    """Answers of one token, of which two may be drawn: then nothing but the options is ever said, and both are one law."""
    renderer, options = Bare(policy.renderer), ("1", "7")
    allowed = tuple(policy.renderer.plain(option)[0] for option in options)
    ctx = context(policy)
    handle = Handle(ctx.policies["actor"].engine, renderer)
    ctx = Ctx(0, Progress(), HABITS, {"actor": handle}, None, place="q")
    task = Task("3+4 17", {"options": list(options)}, "x")
    turns, talks = 3, 250
    how = AskAgain(turns=turns, n=talks, fresh=talks, shuffle=False, max_tokens=1, sampling=Sampling(allowed=allowed))

    async def both():
        return await expected(ctx, "actor", [task.prompt] * turns, {o: o for o in options}), (await how(task, None, ctx))[0]

    exact, group = asyncio.run(both())
    one = read(group, lambda text: text)
    assert one.invalid == (0, 4 * talks)
    for turn in range(turns):
        share = fmean(talk[turn] == "7" for talk in one.talks)
        chance = exact[turn]["7"]
        assert sum(exact[turn].values()) == pytest.approx(1)
        assert abs(share - chance) < 4 * (chance * (1 - chance) / talks) ** 0.5 + 1e-9
    b = expected_b(exact[:1], [exact])
    assert one.b["7"] == pytest.approx(b["7"], abs=0.12)
    assert sum(b.values()) == pytest.approx(0, abs=1e-9)


def test_chances_of_the_first_turn_are_the_policys_and_those_of_the_second_an_average_over_the_first(policy):
    ctx, texts, options = context(policy), ["*K3 acfk", "*K3 kfca"], ("a", "c")
    replies = {o: f"<answer>{o}</answer>" for o in options}
    first, second = asyncio.run(expected(ctx, "actor", texts, replies))

    def logp(tokens, start):
        with torch.no_grad():
            logits = policy.model(torch.tensor([tokens])).logits[0].double().log_softmax(-1)
        return sum(logits[i - 1, tokens[i]].item() for i in range(start, len(tokens)))

    def divided(context):
        each = torch.tensor([logp([*context, *policy.renderer.reply(r)], len(context)) for r in replies.values()]).softmax(0)
        return dict(zip(options, each.tolist(), strict=True))

    renderer = policy.renderer
    prompt = renderer.prompt(texts[0])
    assert first == pytest.approx(divided(prompt), abs=1e-5)
    after = {o: divided((*prompt, *renderer.reply(replies[o]), *renderer.turn(texts[1]))) for o in options}
    assert second == pytest.approx({o: sum(first[past] * after[past][o] for past in options) for o in options}, abs=1e-5)


def test_too_many_pasts_are_refused_with_the_way_out(policy):
    with pytest.raises(ValueError, match=r"the last of 10 turns has 262144 pasts .* Ask fewer turns exactly, or sample"):
        asyncio.run(expected(context(policy), "actor", ["x"] * 10, {o: o for o in "abcd"}))


# ---------------------------------------------------------------------------------------------- the command


def told(capsys, *argv):
    code = 0
    try:
        main(["lab", "history", *argv])
    except SystemExit as stop:
        code = int(stop.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


SMALL = ("pico", "--task", "habits", "--tasks", "8", "--fresh", "4", "--turns", "3", "--label", "kind=habit")
LETTERS = ("pico", "--task", "skewed", "--tasks", "12", "--fresh", "4", "--turns", "3", "--label", "answer=b")


def test_the_command_gives_a_table_a_picture_and_json(tmp_path, capsys):
    code, out, _ = told(capsys, *LETTERS, "--picture", str(tmp_path / "a.png"), "--json", str(tmp_path / "a.json"))
    assert code == 0
    for words in ("AUROC", "by turn", "invalid: ", "thresholds chosen on", "P_multi"):
        assert words in out
    found = json.loads((tmp_path / "a.json").read_text())
    assert len(found["rows"]) == 12
    assert {row["label"] for row in found["rows"]} == {True, False}
    assert (
        sum(row["invalid"][1] for row in found["rows"]) == 12 * (4 + 2 * 3) == found["invalid"]["single"][1] + found["invalid"]["multi"][1]
    )
    assert sum(row["invalid"][0] for row in found["rows"]) == found["invalid"]["single"][0] + found["invalid"]["multi"][0]
    assert (tmp_path / "a.png").stat().st_size > 5000


@pytest.mark.slow  # a second
def test_a_model_that_says_nothing_valid_is_told_so_and_has_no_b(capsys):
    code, out, _ = told(capsys, *SMALL)
    assert code == 0
    assert "invalid: 32 of 32 single answers and 48 of 48 repeated ones; they are in no share" in out
    assert "8 questions have no valid answer on one side: they have no B" in out


@pytest.mark.slow  # a second
def test_the_exact_command_draws_nothing(capsys):
    code, out, _ = told(capsys, *SMALL[:3], "--tasks", "3", "--fresh", "3", "--turns", "2", "--exact")
    assert code == 0
    assert "chances over all pasts" in out
    assert "invalid" not in out


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--turns", "300"], r"so many turns take up to 12900 positions, and the policy has 2048. Ask 47 times (turns=47)"),
        (["--label", "sort=habit"], "--label is FIELD=VALUE with a field of the task's needs (kind, options"),
        (["--label", "kind=hobby"], "--label kind=hobby holds of none of 8 questions"),
        (["--temperature", "0"], "greedy, every answer would be the same"),
        (["--exact", "--turns", "10"], "262144 pasts"),
        (["--task", "chain", "--exact", "--label", "answer=3"], "--label answer=3 holds of none"),
        (["--histroy", "kept"], "strop lab history has no flag '--histroy'. Did you mean '--history'"),
    ],
)
def test_a_mistake_is_one_message(argv, says, capsys):
    code, out, err = told(capsys, *SMALL, *argv)
    assert (code, out) == (2, "")
    assert says in err
    assert "Traceback" not in err


def test_a_study_that_is_none_is_refused_with_the_nearest(capsys):
    with pytest.raises(SystemExit):
        main(["lab", "histroy"])
    assert "strop lab has no 'histroy'. Did you mean 'history'" in capsys.readouterr().err
