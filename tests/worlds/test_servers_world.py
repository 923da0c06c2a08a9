"""The eight servers: every tool answers by its schema, what is answered is asked for, and distractors hold nothing of a task."""

import asyncio
import random

import pytest

from strop.check.growing import of_world
from strop.records import canonical
from strop.seams.world import Broken, Call, Said, Seat, tools_of, verdict
from strop.tasks import source
from strop.tasks.servers import FORMS, named
from strop.worlds.calls import Hermes, Line, Xml, checked
from strop.worlds.database import applied
from strop.worlds.servers import MIRRORS, OTHERS, SERVERS, Servers, distractor, domain_of, domains

WORLD, SEAT = Servers(), Seat("g", "g/0", 64)
WISHES = source("servers:distractors=5")
TASKS = [WISHES.task("train", 0, index) for index in range(60)]


def after(task, *said):
    """The replies to what is said, one after the other."""
    state, replies = WORLD.start(task, SEAT), []
    for one in said:
        state, reply = asyncio.run(WORLD.reply(state, one, {}))
        replies.append(reply)
    return state, replies


def call(name, /, **arguments):
    return Said("", (Call(name, arguments),))


def test_eight_servers_each_have_tools_of_their_own_with_a_schema():
    assert len(SERVERS) == 8
    names = [tool.name for server in SERVERS for tool in domain_of((server,)).tools()]
    assert len({*names}) == len(names) == 39
    for server in SERVERS:
        for tool in domain_of((server,)).tools():
            assert tool.name.startswith(f"{server}_")
            assert tool.schema["required"] == [*tool.schema["properties"]]
            assert tool.description


def test_a_tool_of_each_server_answers_what_another_s_asks_for():
    every = domain_of(tuple(SERVERS))
    edges = every.depends()
    across = {(a.partition("_")[0], b.partition("_")[0]) for a, after in edges.items() for b in after}
    assert {one for pair in across if pair[0] != pair[1] for one in pair} == {*SERVERS}


@pytest.mark.parametrize("task", TASKS[:20], ids=range(20))
def test_the_expert_is_right_by_calls_that_keep_to_their_schemas(task):
    said = [Said("", (checked(name, arguments, tools_of(WORLD, task)),)) for name, arguments in task.needs["gold"]]
    state, replies = after(task, *said)
    assert all(called.ok for reply in replies for called in reply.calls)
    assert state["done"] == [True] * len(said)
    assert asyncio.run(verdict(WORLD, task, SEAT, [*said, Said(".")])) == {"outcome": 1, "lenient": 1}
    assert asyncio.run(verdict(WORLD, task, SEAT, [*said[:-1], Said(".")])) == {"outcome": 0, "lenient": 0}
    assert asyncio.run(verdict(WORLD, task, SEAT, [Said(".")])) == {"outcome": 0, "lenient": 0}


def test_what_the_graph_says_was_answered_before_it_is_asked_for():
    for task in TASKS:
        _, replies = after(task, *(call(name, **arguments) for name, arguments in task.needs["gold"]))
        told = [reply.facts["made"][0]["told"] for reply in replies]
        assert task.needs["edges"]
        for i, j, fields in task.needs["edges"]:
            assert i < j
            assert fields
            assert all(task.needs["gold"][j][1][field] in told[i][field] for field in fields)
        lines = task.needs["explicit"].split("\n")
        waits = {j for _, j, _ in task.needs["edges"]}
        assert ["*" in line for line in lines] == [i in waits for i in range(len(lines))]


def test_walks_that_do_not_wait_for_each_other_may_be_mixed():
    apart = [task for task in TASKS if len(task.needs["edges"]) < len(task.needs["gold"]) - 1]
    assert len(apart) > 5
    for task in apart:
        second = max(set(range(len(task.needs["gold"]))) - {j for _, j, _ in task.needs["edges"]})
        mixed = [*task.needs["gold"][second:], *task.needs["gold"][:second]]
        said = [*(call(name, **arguments) for name, arguments in mixed), Said(".")]
        assert asyncio.run(verdict(WORLD, task, SEAT, said))["outcome"] == 1


def test_a_write_that_nobody_asked_for_is_seen():
    task = next(t for t in TASKS if "maps" in t.needs["servers"] and not any(name == "maps_set" for name, _ in t.needs["gold"]))
    town, row = next(iter(task.needs["data"]["rows"]["town"].items()))
    stray = call("maps_set", town=town, size=(row["size"] + 1) % 10)
    own = [call(name, **arguments) for name, arguments in task.needs["gold"]]
    assert asyncio.run(verdict(WORLD, task, SEAT, [*own, stray, Said(".")]))["outcome"] == 0
    assert asyncio.run(verdict(WORLD, task, SEAT, [*own, call("maps_get", town=town), Said(".")]))["outcome"] == 1


def test_distractors_look_alike_and_do_nothing_for_a_task():
    for task in TASKS[:10]:
        rng = random.Random(0)
        own = [call(name, **arguments) for name, arguments in task.needs["gold"]]
        for name, domain in domains(task.needs).items():
            if name:
                assert {tool.name.removeprefix(name) for tool in domain.operations} == {
                    tool.name.removeprefix(MIRRORS[name]) for tool in domain_of((MIRRORS[name],)).operations
                }
                tool = rng.choice([tool for tool in domain.operations if tool.verb == "set"])
                rows = WORLD.start(task, SEAT)["data"][name]["rows"][tool.table]
                key, number = next(iter(rows)), tool.columns[0]
                _, (reply,) = after(task, call(tool.name, **{tool.table: key, number: 7}))
                assert reply.calls[0].ok
                own.insert(0, call(tool.name, **{tool.table: key, number: 7}))
        assert asyncio.run(verdict(WORLD, task, SEAT, [*own, Said(".")]))["outcome"] == 1


def test_distractors_that_share_no_name_share_none():
    ours = {name for kind in SERVERS.values() for name in kind} | {tool.name for s in SERVERS for tool in domain_of((s,)).operations}
    for name in OTHERS:
        domain = distractor(name)
        theirs = {column for table, columns in domain.tables for column, _ in columns} | {tool.name for tool in domain.operations}
        assert not theirs & ours
        assert len(domain.tools()) == 5
    assert len({canonical(distractor(name).plain()) for name in OTHERS}) == 10
    task = source("servers:distractors=10,alike=0").task("train", 0, 0)
    assert len(tools_of(WORLD, task)) == 50 + len(domain_of(tuple(task.needs["servers"])).operations)


@pytest.mark.parametrize(
    ("form", "said", "note"),
    [
        (Line(), ">maps_fly a", ("", False, False)),
        (Line(), ">maps_get", ("maps_get", True, False)),
        (Line(), ">maps_get a b", ("maps_get", True, False)),
        (Line(), ">maps_set a b", ("maps_set", True, False)),
        (Hermes(), '<tool_call>{"name": "maps_get", "arguments": {"town": 1}}</tool_call>', ("maps_get", True, False)),
        (Hermes(), "<tool_call>{</tool_call>", ("", False, False)),
        (Xml(), "<function=maps_set><parameter=town>a</parameter><parameter=size>b</parameter></function>", ("maps_set", True, False)),
        (Line(), ">maps_get A", ("maps_get", True, False)),
    ],
)
def test_a_broken_call_still_says_which_tool_it_names(form, said, note):
    task = next(task for task in TASKS if "maps" in task.needs["servers"])
    (broken,) = form.read(said, tools_of(WORLD, task))
    assert isinstance(broken, Broken)
    _, (reply,) = after(task, Said(said, (broken,)))
    (noted,) = reply.facts["made"]
    assert (noted["tool"], noted["known"], noted["fits"]) == note
    assert not noted["ok"]
    assert reply.calls[0].tool == "", "elsewhere a broken call names none"


def test_a_call_that_comes_to_nothing_is_refused_and_changes_nothing():
    task = next(task for task in TASKS if "maps" in task.needs["servers"])
    absent = next(letter for letter in "abcdefghijklmnopqrstuvwxyz" if letter not in task.needs["data"]["rows"]["town"])
    state, (reply,) = after(task, call("maps_get", town=absent))
    assert reply.observation == f"error: no town {absent}"
    assert state["data"][""] == task.needs["data"]
    with pytest.raises(ValueError, match="no town"):
        applied(domain_of(tuple(task.needs["servers"])), task.needs["data"], "maps_get", {"town": absent})


def test_it_keeps_the_promises_of_a_world():
    assert of_world(WORLD, TASKS[0]) == []


# ---------------------------------------------------------------------------------------------- the source


def test_fuzzy_texts_name_no_tool_and_no_server():
    wishes = source("servers:fuzzy=1.0,distractors=10")
    for index in range(60):
        task = wishes.task("train", 0, index)
        assert task.prompt == task.needs["fuzzy"] != task.needs["explicit"]
        assert named(task.prompt) == []
        assert not any(tool.name in task.prompt for tool in tools_of(WORLD, task))
        assert {name for name, _ in task.needs["gold"]} <= {*named(task.needs["explicit"])}


def test_no_wish_of_training_is_met_in_testing_however_it_is_said():
    train = {source("servers:least=2,most=3").task("train", seed, i).needs["explicit"] for seed in range(2) for i in range(100)}
    test = {source("servers:least=2,most=3,fuzzy=1.0").task("test", 0, i).needs["explicit"] for i in range(40)}
    assert len(train) > 150
    assert not train & test


def test_forms_of_a_wish_are_one_wish():
    plain = source("servers")
    for other in ("servers:fuzzy=1.0", "servers:distractors=10", "servers:distractors=10,alike=0", "servers:fuzzy=0.5"):
        for split in ("train", "test"):
            for index in range(2):
                one, two = plain.task(split, 0, index), source(other).task(split, 0, index)
                assert [one.needs[k] for k in ("data", "gold", "edges", "explicit", "fuzzy")] == [
                    two.needs[k] for k in ("data", "gold", "edges", "explicit", "fuzzy")
                ]


def test_held_out_wishes_take_each_form_in_turn_with_a_channel_each():
    tests = [source("servers:forms=1").task("test", 0, index) for index in range(9)]
    found = [(int(t.prompt == t.needs["fuzzy"]), len(t.needs["distractors"])) for t in tests]
    assert found == [(fuzzy, beside) for fuzzy, beside, _ in [*FORMS.values(), FORMS["explicit_0"]]]
    assert {*tests[3].needs["distractors"]} == {*OTHERS}
    assert {*tests[2].needs["distractors"]} == {*MIRRORS}
    task = tests[5]
    said = [*(call(name, **arguments) for name, arguments in task.needs["gold"]), Said(".")]
    assert asyncio.run(verdict(WORLD, task, SEAT, said)) == {"outcome": 1, "lenient": 1, "fuzzy_5": 1}
