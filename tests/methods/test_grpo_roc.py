"""Which rollouts stay, against a loop of the released rule; and what the calculator says to hostile text."""

import asyncio
import json
import random
from fractions import Fraction
from types import SimpleNamespace

import pytest

from strop import catalogue, saved
from strop.cli import main
from strop.directory import sampled
from strop.methods.grpo_roc import GRPO_ROC, RSTAR2, TAUGHT, ResampleOnCorrect, error_word, places, tag_error, tool_error
from strop.recipe import Recipe
from strop.records import Group, Rollout, Row, Scores, Segment, Task
from strop.run import create
from strop.seams.gate import Seen, decide
from strop.seams.world import Broken, Called, Reply, Said, Seat, calls
from strop.sense import graded
from strop.tasks import SOURCES, maker, source
from strop.tasks.sums import Sums
from strop.worlds.around import Around
from strop.worlds.asking import Asking
from strop.worlds.calculator import Calculator, computed
from strop.worlds.clinic import Clinic
from strop.worlds.live import Live
from strop.worlds.stream import Stream


def group(verdicts, faults=None):
    """A rollout per verdict, with its scores."""
    rollouts = tuple(Rollout((Row.of(Segment("prompt", (1,), "0")),), f"g/{i}") for i in range(len(verdicts)))
    given = faults or [0.0] * len(verdicts)
    scores = Scores({r.id: {"outcome": v, "tool_error": f, "tag_error": 0.0} for r, v, f in zip(rollouts, verdicts, given, strict=True)})
    return Group(Task("q", {}, "s"), rollouts, id="g"), scores


def kept(gate, verdicts, faults=None, key=0):
    """Numbers of the rollouts that stay."""
    made, scores = group(verdicts, faults)
    rewards = {r.id: scores.get(r, "outcome") for r in made.rollouts}
    fates = gate(made, Seen(rewards, scores, (key,)))
    return [i for i, r in enumerate(made.rollouts) if r.id not in fates or fates[r.id].kind == "keep"]


def released(right: int, wrong: int, keep: int, least: int) -> tuple[int, int]:
    """The released rule as it was read: proportion with halves to the even number, at least two of a side, the other one fills up."""

    def half_even(count: int) -> int:
        whole, rest = divmod(Fraction(count * keep, right + wrong), 1)
        return int(whole) + (rest > Fraction(1, 2) or (rest == Fraction(1, 2) and int(whole) % 2 == 1))

    up, down = half_even(right), half_even(wrong)
    if up < least <= right or up < right < least:
        up = min(least, right)
        down = keep - up
    elif down < least <= wrong or down < wrong < least:
        down = min(least, wrong)
        up = keep - down
    return up, down


def test_as_many_of_each_side_stay_as_in_the_release_for_every_split_of_a_group():
    for right in range(33):
        assert places(right, 32 - right, 16, 2) == released(right, 32 - right, 16, 2), right
        assert sum(places(right, 32 - right, 16, 2)) == 16
    assert places(3, 29, 16, 2) == (2, 14), "1.5 goes to 2"
    assert places(5, 27, 16, 2) == (2, 14), "2.5 goes to 2"


def test_the_cleanest_right_rollouts_stay_and_ties_keep_the_order_drawn():
    rng = random.Random(0)
    for _ in range(50):
        verdicts = [float(rng.random() < 0.5) for _ in range(32)]
        faults = [rng.choice((0.0, 0.0, 0.25, 0.5, 1.0)) for _ in range(32)]
        right = [i for i, v in enumerate(verdicts) if v == 1]
        up, down = places(len(right), 32 - len(right), 16, 2)
        stay = kept(ResampleOnCorrect(), verdicts, faults)
        by_hand = []  # the smallest fault first, the earliest of those that share it
        left = list(right)
        while len(by_hand) < up:
            by_hand.append(min(left, key=lambda i: (faults[i], i)))
            left.remove(by_hand[-1])
        assert sorted(by_hand) == [i for i in stay if verdicts[i] == 1]
        assert len([i for i in stay if verdicts[i] != 1]) == down


def test_wrong_ones_are_drawn_alike_and_odds_follow_the_faults():
    verdicts, faults = [1.0] * 16 + [0.0] * 16, [0.0] * 8 + [0.9] * 8 + [0.0] * 16
    counts = dict.fromkeys(("cleanest", "weighted", "chance"), 0)
    wrong = [0] * 32
    for key in range(200):
        for by in counts:
            stay = kept(ResampleOnCorrect(by=by), verdicts, faults, key)
            counts[by] += sum(i < 8 for i in stay)
            for i in stay:
                wrong[i] += i >= 16 and by == "chance"
    assert counts["cleanest"] == 200 * 8
    assert 0.45 < counts["chance"] / 1600 < 0.55
    assert 0.75 < counts["weighted"] / 1600 < 0.95, "odds of ten to one"
    assert all(70 < count < 130 for count in wrong[16:])


def test_a_group_with_too_few_rollouts_goes_and_one_that_lost_some_keeps_its_proportion():
    assert kept(ResampleOnCorrect(), [1.0] * 8 + [0.0] * 7) == []
    made, scores = group([1.0] * 12 + [0.0] * 20)
    rewards = {r.id: None if i % 8 == 7 else scores.get(r, "outcome") for i, r in enumerate(made.rollouts)}
    fates = decide(GRPO_ROC.gate, made, rewards, scores)
    assert sum(fate.kind == "keep" for fate in fates.values()) == 16
    assert {fate.why for fate in fates.values()} == {"", "ungraded", "resampled"}


def test_a_rollout_whose_faults_nobody_could_say_is_taken_last():
    made, scores = group([1.0] * 20 + [0.0] * 12, [0.5] * 32)
    lost = {r.id: {**scores.values[r.id], "tool_error": None if i < 5 else 0.5} for i, r in enumerate(made.rollouts)}
    rewards = {r.id: scores.get(r, "outcome") for r in made.rollouts}
    fates = ResampleOnCorrect()(made, Seen(rewards, Scores(lost), (0,)))
    assert all(fates[f"g/{i}"].why == "resampled" for i in range(5))


@pytest.mark.parametrize("values", [{"by": "dirtiest"}, {"least": 9}, {"keep": 0}, {"offset": 0.0}])
def test_a_rule_that_makes_no_sense_is_refused(values):
    with pytest.raises(ValueError, match="ResampleOnCorrect"):
        ResampleOnCorrect(**values)


def test_a_gate_that_reads_a_channel_which_nobody_gives_is_refused_before_anything_is_sampled():
    with pytest.raises(ValueError, match=r"its gate ResampleOnCorrect.* reads the channel 'tool_error', which nobody grades here"):
        graded(GRPO_ROC.but("ungraded", graders=()), ("outcome", "lenient"))
    graded(GRPO_ROC, ("outcome", "lenient"))


def test_groups_that_the_gate_would_drop_for_their_size_are_refused():
    with pytest.raises(ValueError, match=r"drops a group of fewer than 16 rollouts, and its sampler gives 8: nothing would be trained"):
        Recipe(method="grpo-roc", group=8).resolved()
    assert Recipe(method=GRPO_ROC.but(gate=(ResampleOnCorrect(keep=4),)), group=8).resolved().sampler.n == 8


class Letters:
    """A token is a letter."""

    @staticmethod
    def text(tokens):
        return "".join(map(chr, tokens))


def scored(part, rollout):
    ctx = SimpleNamespace(policies={"actor": SimpleNamespace(renderer=Letters)})  # all that these graders ask of one
    return asyncio.run(part.on({"groups": [Group(Task("q", {}, "s"), (rollout,))], "ctx": ctx})).get(rollout, part.gives)


def episode(*turns, text=""):
    """Turns of (ok, what the world said); an answer is (None, "")."""
    calls = [[] if ok is None else [["calculator", ok, ""]] for ok, _ in turns]
    segments = [Segment("prompt", (1,), "0")]
    segments += [Segment("observation", tuple(map(ord, said)), f"0.{i}") for i, (_, said) in enumerate(turns) if said]
    return Rollout((Row.of(*segments),), "r", keys={"facts": [{}] * len(turns), "calls": calls}, text=text)


def test_faults_by_hand():
    spoiled = episode((False, "error: no sum"), (True, "12"), (None, ""), text="[1**2]\nerror: no sum\n[3*4]\n12\n<answer>12</answer>")
    assert scored(tool_error(), spoiled) == 0.5
    assert scored(error_word(), spoiled) == 0.5
    assert scored(tag_error(), spoiled) == 0
    assert scored(tool_error(), episode((None, ""), text="<answer>12</answer>")) == 0.5, "no call"
    assert scored(tag_error(), episode((True, "12"), text="[3*4]")) == 1, "no answer"
    twice = episode((True, "1"), (None, ""), text="<answer>1</answer><answer>1</answer>")
    assert scored(tag_error(), twice) == 0.5
    prints = episode((True, "an error of 2"), (None, ""), text="<answer>2</answer>")
    assert (scored(tool_error(), prints), scored(error_word(), prints)) == (0, 1), "the word alone is no broken call"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2*(3+4)-5", 9),
        ("37*48-19", 1757),
        ("-1", None),
        ("2**3", None),
        ("", None),
        ("(1", None),
        ("1)", None),
        ("1 2", None),
        ("2*", None),
    ],
)
def test_sums(text, value):
    if value is None:
        with pytest.raises(ValueError, match=r"no sum|open bracket"):
            computed(text)
    else:
        assert computed(text) == value


@pytest.mark.parametrize("text", ["(" * 64, "9" * 64, "*".join(["999999999999"] * 5), "9" * 5000, "__import__('os')", "1e9", "٣+١", "1;2"])
def test_hostile_calls_are_errors_and_nothing_else(text):
    _, reply = asyncio.run(Calculator().reply({}, Said(f"[{text}]"), {}))
    assert reply.observation.startswith("error: ")
    assert [call.ok for call in reply.calls] == [False]
    assert not reply.done


NOT_CALLED = (Asking, Clinic, Stream)
WORLDS = [
    thing
    for thing in catalogue.own().values()
    if getattr(thing, "__module__", "").startswith("strop.worlds.") and hasattr(thing, "start")
    if thing not in NOT_CALLED and not issubclass(thing, Live | Around)
]
"""But for those that answer as a process does or stand around another world, each with tests of its own, and three in which nothing is
called."""
BROUGHT = {type(world): name for name in SOURCES if (world := getattr(maker(name)(), "world", None)) is not None}


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.__name__)
def test_every_world_of_strops_notes_what_became_of_each_call(world):
    made, became = world(), list[Called]()
    for action in ("", "nothing", "[1+1]", "<answer>2</answer>", "\x00" * 9000):
        asked = source(BROUGHT[world]).task("train", 0, 0) if world in BROUGHT else Task("1+1", {"answer": 2}, "s")
        state = made.start(asked, Seat("s", "s/0", 4))
        _, reply = asyncio.run(made.reply(state, Said(action, (Broken("no call"),)), {}))
        became += reply.calls
        assert isinstance(reply.observation, str)
    assert {call.ok for call in became} >= {False}


def test_an_answer_ends_the_episode_and_everything_else_costs_a_turn():
    world = Calculator()
    _, done = asyncio.run(world.reply({}, Said("[1+1]<answer>2</answer>"), {}))
    assert (done.done, done.calls) == (True, ())
    _, idle = asyncio.run(world.reply({}, Said("two"), {}))
    assert (idle.done, idle.calls, idle.observation) == (False, (Called("calculator", False, "no call"),), "error: no call")
    assert asyncio.run(world.reply({}, Said("[2*21]"), {}))[1] == Reply("42", calls=(Called("calculator", True),))


def test_the_recipe_has_its_three_stages_behind_imitation():
    assert [stage.name for stage in RSTAR2.plan] == ["imitate", "short", "long", "hard"]
    assert RSTAR2.plan[2].keeps == ("curriculum", "optimiser")
    assert not RSTAR2.plan[3].keeps
    assert RSTAR2.plan[3].method.curriculum.high < 1


SMALL = {"steps": 1, "tasks": 2, "max_tokens": 24, "eval_tasks": 0, "slots": 64}


def test_an_episode_is_taught_turn_by_turn_and_only_its_replies_are_trained(tmp_path):
    run = create(Recipe(method=TAUGHT, task="sums:spoiled=1", **SMALL), tmp_path / "run")
    run.train()
    (group, _), _ = sampled(tmp_path / "run")
    (rollout,) = group.rollouts
    (row,) = rollout.rows
    assert [s.kind for s in row.segments] == ["prompt", "teacher", "observation", "teacher", "observation", "teacher"]
    assert row.trains == {s.id for s in row.segments if s.kind == "teacher"}
    assert calls(rollout) == [("calculator", False, "no sum"), ("calculator", True, "")]
    assert [len(turn) for turn in rollout.keys["calls"]] == [1, 1, 0]
    renderer = run.policy.renderer
    assert [renderer.text(s.tokens) for s in row.segments if s.kind == "teacher"] == Sums(spoiled=1.0).episode(group.task)
    assert rollout.text.endswith(f"<answer>{group.task.needs['answer']}</answer>")
    assert group.role == "demo"


@pytest.mark.parametrize(
    ("method", "said"),
    [(TAUGHT.but("mine", environment=None), "needs the world that answers"), (TAUGHT, "has no episode")],
)
def test_an_episode_without_a_world_or_a_teacher_is_refused(method, said, tmp_path):
    task = "sums" if method.environment is None else "chain"
    with pytest.raises(ValueError, match=said):
        create(Recipe(method=method, task=task, **SMALL), tmp_path / "run").train()


def test_a_rollout_in_the_calculators_world_is_graded_for_its_calls_evaluated_in_it_and_loads_again(tmp_path, capsys):
    recipe = Recipe(method="grpo-roc", task="sums", **SMALL)
    create(recipe, tmp_path / "run").train()
    main(["eval", str(tmp_path / "run"), "--tasks", "2", "--temperature", "0", "--json"])
    said = json.loads(capsys.readouterr().out)
    assert said["world"] == "Calculator()"
    assert said["sampler"].startswith("Independent(n=32, max_tokens=24, turns=3")
    groups, scores = sampled(tmp_path / "run")
    assert {"tool_error", "tag_error"} <= set(scores.channels())
    for one in (r for group in groups for r in group.rollouts):
        assert len(one.keys.get("calls", one.keys["facts"])) == len(one.keys["facts"])
        assert {tool for tool, _, _ in calls(one)} <= {"calculator"}
    assert saved.load(GRPO_ROC.to_json()) == GRPO_ROC
