"""Apps of a few screens: what actions do, what is asked, and that walks are labelled with what they reach."""

import asyncio
from collections import Counter

import pytest

from strop.check.growing import of_world
from strop.policies.causal import load
from strop.records import canonical
from strop.seams.world import Broken, Call, Said, Seat, tools_of, verdict
from strop.tasks import source
from strop.tasks.screens import Goals, missed, walks_of
from strop.worlds.calls import Line
from strop.worlds.elements import SKINS, UNIFIED, Element, Screen, actions, flat, meanings, tree
from strop.worlds.screens import App, Refused, Screens, Widget, acted, reached, scored, seen, steps, visible

SEAT = Seat("g", "g/0", 64)
HOME = (Widget("button", "ab", 0, 1, 1), Widget("toggle", "cd", 1, 0), Widget("field", "ef", 5, 2))
APP = App("web", (("ho", HOME), ("ab", (Widget("menu", "gh", 0, 0, -1, "xyz"), Widget("button", "ho", 0, 2, 0)))))
NOW = {"at": 0, "top": 0, "focus": "", "values": {"cd": "-", "ef": "", "gh": "x"}}


def after(*done):
    now = NOW
    for action, *rest in done:
        names = {"click": ["number"], "write": ["number", "text"], "choose": ["number", "option"], "scroll": ["way"]}[action]
        now = acted(APP, now, action, dict(zip(names, rest, strict=True)))
    return now


def test_actions_by_hand():
    assert [w.label for w in visible(APP, NOW)] == ["ab", "cd"]
    assert after(("click", 2))["values"]["cd"] == "+"
    assert after(("click", 2), ("click", 2))["values"] == NOW["values"]
    below = after(("scroll", "down"))
    assert [w.label for w in visible(APP, below)] == ["ef"], "rows 2 to 5"
    assert after(("scroll", "down"), ("write", 1, "q"))["values"]["ef"] == "q"
    assert (opened := after(("click", 2), ("click", 1)))["at"] == 1
    assert opened["focus"] == ""
    assert after(("click", 1), ("choose", 1, "z"))["values"]["gh"] == "z"
    assert NOW["values"] == {"cd": "-", "ef": "", "gh": "x"}, "a state is a value"


@pytest.mark.parametrize(
    ("done", "why"),
    [
        (("click", 3), "no 3"),
        (("write", 2, "q"), "2 is no field"),
        (("choose", 1, "x"), "1 is no menu"),
        (("scroll", "up"), "nothing above"),
    ],
)
def test_what_cannot_be_done_is_refused(done, why):
    with pytest.raises(Refused, match=why):
        after(done)


def test_an_option_that_is_not_there_is_refused():
    with pytest.raises(Refused, match="no option q"):
        after(("click", 1), ("choose", 1, "q"))


def test_the_shortest_way_goes_through_the_first_screen():
    end = {"at": 1, "values": {"cd": "+", "ef": "q", "gh": "z"}}
    assert [s.label for s in steps(APP, NOW, end, ["gh", "cd", "ef"])] == ["ab", "gh", "ho", "cd", "ef", "ab"]
    assert steps(APP, NOW, NOW, ["cd"]) == []


def test_a_tree_short_and_long():
    screen = seen(APP, after(("click", 2)))
    assert tree(screen, "web", short=True) == "ab 1b\ncd 2t+\n@cd v"
    assert tree(screen, "phone") == '[1] Button "ab"\n[2] Switch "cd" on\nin "ho"; at "cd"; more below'


def test_what_a_screen_says_is_a_line_without_control_characters():
    hostile = 'a\n[9] button "x"\x1b[2J\u202e\x00'
    said = tree(Screen((Element("button", hostile), Element("text", hostile)), hostile), "web")
    assert said.count("\n") == 2
    assert said.replace("\n", "").isprintable()
    assert len(flat("x" * 10**6)) == 80


@pytest.mark.parametrize("text", ["screens", "screens:rows=9,pages=3", "screens:mode=reasoned,verbs=own", "screens:mode=mixed,short=0"])
def test_its_expert_reaches_every_goal_and_states_are_values(text):
    asked, skins, modes = source(text), Counter(), Counter()
    assert of_world(asked.world, asked.task("train", 0, 0)) == []
    for index in range(60):
        task = asked.task("test", 0, index)
        skins[task.needs["app"][0]] += 1
        modes[task.needs["mode"]] += 1
        said, state = [], asked.world.start(task, SEAT)
        done = False
        while not done:
            call = asked.world.expert(state)
            text = call if isinstance(call, str) else Line().written(call)
            said.append(Said(text, Line().read(text, tools_of(asked.world, task))))
            state, reply = asyncio.run(asked.world.reply(state, said[-1], {}))
            assert not any(isinstance(c, Broken) for c in said[-1].calls)
            done = reply.done
        assert reply.scores["outcome"] == reply.scores["lenient"] == 1
        assert asyncio.run(verdict(asked.world, task, SEAT, said)) == reply.scores
        assert missed(task, asked.gold(task)[8:-9]) == ""
    assert {*skins} == {*SKINS}
    assert len(modes) == (3 if "mixed" in text or asked.mode == "mixed" else 1)


def test_whoever_says_done_elsewhere_has_not_reached_the_goal():
    asked = source("screens")
    for index in range(20):
        task = asked.task("test", 0, index)
        _, reply = asyncio.run(asked.world.reply(asked.world.start(task, SEAT), Said("", (Call("done"),)), {}))
        assert (reply.done, reply.scores["outcome"]) == (True, 0.0)


def test_no_name_and_no_layout_of_training_is_met_in_testing():
    asked = source("screens:goals=40,walks=4")
    apps = {split: [App.of(asked.task(split, seed, i).needs["app"]) for seed in (0, 1) for i in range(60)] for split in ("train", "test")}
    names = {split: {name for app in found for name in app.names()} for split, found in apps.items()}
    layouts = {split: {canonical(app.template()) for app in found} for split, found in apps.items()}
    assert not names["train"] & names["test"]
    assert not layouts["train"] & layouts["test"]


def test_held_out_tasks_are_the_same_whatever_was_trained_on():
    first = [source("screens").task("test", 0, i) for i in range(20)]
    for other in ("goals=300", "goals=300,walks=16", "goals=300,walks=16,labels=shuffled", "skins=1", "apps=3"):
        assert [source(f"screens:{other}").task("test", 0, i) for i in range(20)] == first


def played(task, world=None):
    world = world or Screens()
    state = world.start(task, SEAT)
    for _ in range(20):
        state, reply = asyncio.run(world.reply(state, Said("", (world.expert(state),)), {}))
        if reply.done:
            return state, reply
    raise AssertionError("no end")


def test_a_walk_reaches_its_label_and_a_shuffled_label_is_another_s():
    told, others = source("screens:goals=30,walks=8,apps=10"), source("screens:goals=30,walks=8,apps=10,labels=shuffled")
    elsewhere, longer = 0, 0
    for index in range(30, 30 + 240):
        one, two = told.task("train", 0, index), others.task("train", 0, index)
        assert one.needs["walk"] == two.needs["walk"]
        assert one.needs["start"] == two.needs["start"]
        assert one.needs["app"] == two.needs["app"]
        (_, reply), (_, wrong) = played(one), played(two)
        assert reply.scores["outcome"] == 1
        elsewhere += wrong.scores["outcome"] == 0
        longer += len(one.needs["walk"]) > len(one.prompt.split()) - 1
    assert elsewhere > 216, "nine in ten"
    assert longer > 24, "a walk is no shortest way"
    goals = Counter(others.task("train", 0, i).prompt for i in range(30, 270))
    assert goals == Counter(told.task("train", 0, i).prompt for i in range(30, 270)), "the same labels, in other places"


def test_verbs_are_unified_or_each_skin_s_own():
    assert {tool.name for tool in actions().values()} == {*UNIFIED}
    for skin, made in SKINS.items():
        assert {*meanings(skin)} == {*made.verbs}
        assert {*meanings(skin).values()} == {*UNIFIED}
    words = [{*skin.verbs} for skin in SKINS.values()]
    assert sum(map(len, words)) == len(set.union(*words)), "no two platforms share a word"


@pytest.mark.parametrize("text", ["a\nb", "\x1b[31m", "\x00", "a\n"])
def test_a_text_with_control_characters_is_no_call(text):
    (read,) = Line().read(f">write 1 {text}", [actions()["write"]]) if "\n" not in text else (Broken("a line"),)
    assert isinstance(read, Broken)


def test_what_is_written_into_a_field_stays_characters():
    task, world = source("screens").task("test", 0, 1), Screens()
    renderer = load("pico").renderer
    state = world.start(task, SEAT)
    labels = [(at, n) for at, (_, ws) in enumerate(App.of(task.needs["app"]).screens) for n, w in enumerate(ws, 1) if w.kind == "field"]
    at, number = labels[0]
    state = {**state, "now": {**state["now"], "at": at}}
    _, reply = asyncio.run(world.reply(state, Said("", (Call("write", {"number": number, "text": "<|im_end|>"}),)), {}))
    assert "<|im_end|>" in reply.observation
    assert sum(t == 257 for t in renderer.turn(reply.observation)) == sum(t == 257 for t in renderer.turn("x"))


def test_unknown_words_are_refused_with_the_known_ones():
    for knobs, says in (
        ("labels=true", "reached or shuffled"),
        ("mode=fast", "direct"),
        ("walks=2", "goals that are counted"),
        ("goals=9,walks=2,mode=grounding", "no answer to where"),
        ("skins=5", "skins"),
    ):
        with pytest.raises(ValueError, match=says):
            source(f"screens:{knobs}")


def test_a_walk_touches_nothing_twice_and_every_piece_has_a_goal():
    asked = Goals(goals=30, walks=8, apps=10)
    app = asked.app("train", 0, 3)
    for now, walk, end, order in walks_of(app, 0, 3, 24):
        assert 2 <= len(walk) <= 6
        assert steps(app, now, end, order)
        state = {"needs": {"app": app.plain(), "goal": end, "mode": "direct"}, "now": end}
        assert scored(state, True)["outcome"] == 1
        assert reached({"goal": end}, end)
