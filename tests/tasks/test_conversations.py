"""Rows with messages: what they become, what is refused, and the way there and back."""

import json

import pytest

from strop.cli import main
from strop.directory import read_commit
from strop.methods.sft import SFT_MESSAGES
from strop.policies.causal import load
from strop.recipe import Recipe
from strop.records import Row
from strop.run import create
from strop.seams.world import Call
from strop.tasks import source
from strop.tasks.conversations import Conversations

CALL = {"id": "a", "type": "function", "function": {"name": "time", "arguments": '{"zone": "UTC"}'}}
TOOLS = [
    {
        "type": "function",
        "function": {"name": "time", "description": "The time.", "parameters": {"properties": {"zone": {"type": "string"}}}},
    }
]
ROWS = [
    {
        "messages": [
            {"role": role, "content": text} for role, text in (("system", "Be brief."), ("user", f"{i}+2?"), ("assistant", f"{i + 2}"))
        ]
    }
    for i in range(30)
]
ROWS[0]["messages"] += [
    {"role": "user", "content": "again"},
    {"role": "assistant", "content": "2!"},
    {"role": "user", "content": "unheard"},
]
ROWS[1] = {
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "what time "}, {"type": "text", "text": "is it?"}]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "a", "content": "12:00"},
        {"role": "assistant", "content": "noon"},
    ],
    "tools": TOOLS,
}


def written(place, rows):
    place.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return place


def tasks_of(table):
    return {task.prompt: task for split, count in table.sizes.items() for task in (table.task(split, 0, i) for i in range(count))}


def test_a_row_is_an_episode(tmp_path):
    table = source(f"jsonl:{written(tmp_path / 'chats.jsonl', ROWS)}")
    assert isinstance(table, Conversations)
    tasks = tasks_of(table)
    assert len(tasks) == len(ROWS)
    several, called = tasks["Be brief.\n0+2?"], tasks["what time is it?"]
    assert table.episode(several) == [("2",), ("2!",)]
    assert several.needs["heard"] == ["again"], "what nobody answered is left out"
    assert table.episode(called) == [(Call("time", {"zone": "UTC"}),), ("noon",)]
    assert [tool.name for tool in table.world.tools(called)] == ["time"]
    assert table.gold(tasks["Be brief.\n5+2?"]) == "7"
    assert table.gold(several) is None
    with pytest.raises(ValueError, match="sft-messages"):
        table.example(several)


def test_which_side_a_row_is_on_is_decided_by_the_users_question(tmp_path):
    """One question under two system messages is not on both sides, and a file of held-out rows takes it out whatever stands above it."""
    asked = [[{"role": "user", "content": f"{i}?"}, {"role": "assistant", "content": "a"}] for i in range(60)]
    rows = [{"messages": [{"role": "system", "content": f"You are {who}."}, *said]} for said in asked for who in ("A", "B")]
    table = source(f"jsonl:{written(tmp_path / 'chats.jsonl', rows)}")
    sides = {split: {task.prompt.splitlines()[-1] for task in tasks} for split, tasks in table.splits.items()}
    assert sides["train"].isdisjoint(sides["test"])
    assert len(sides["test"]) > 0
    other = written(tmp_path / "held.jsonl", [{"messages": said} for said in asked[:10]])
    held = source(f"jsonl:{tmp_path / 'chats.jsonl'},held_out={other}")
    assert held.sizes == {"train": 100, "test": 10}


def test_answers_may_be_empty_and_tools_may_be_a_text(tmp_path):
    row = {"messages": [*ROWS[1]["messages"][:2], {"role": "tool", "tool_call_id": "a", "content": ""}, ROWS[1]["messages"][3]]}
    table = source(f"jsonl:{written(tmp_path / 'chats.jsonl', [row | {'tools': json.dumps(TOOLS)}, *ROWS])}")
    task = next(task for tasks in table.splits.values() for task in tasks if task.needs["heard"] == [""])
    assert [tool.name for tool in table.world.tools(task)] == ["time"]


def test_what_the_model_does_not_take_is_left_out_and_counted_or_refused_by_its_row(tmp_path):
    long = [{"messages": [{"role": "user", "content": f"long {i}?"}, {"role": "assistant", "content": "ab" * 2000}]} for i in range(6)]
    many = [{"role": role, "content": "abcdefghij" * 20} for role in ("user", "assistant") * 30]
    path = written(tmp_path / "chats.jsonl", [*ROWS, *long, {"messages": [{"role": "user", "content": "x"}, *many[1:]]}])
    recipe = Recipe(method=SFT_MESSAGES, data=str(path), tasks=4, steps=1, eval_tasks=0)
    run = create(recipe, tmp_path / "run")
    assert run.source.left_out == {"have more than 2048 tokens with all their replies": 7}
    forgets = create(recipe.but(window="recent:tokens=512", calls="line", observation=512, tasks=40), tmp_path / "recent")
    assert forgets.source.left_out == {}
    with pytest.raises(ValueError, match=r"row 3\d of chats.jsonl: a demonstration of 1 replies, in rows of up to 40"):
        forgets.train()


def test_columns_files_give_rows_as_they_were_written(tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    import pyarrow as pa

    first = {"role": "user", "content": "what time is it?"}
    one = {"messages": [first, *ROWS[1]["messages"][1:]], "tools": json.dumps(TOOLS)}
    other = {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}
    pq.write_table(pa.Table.from_pylist([one, *[other | {"tools": None}] * 2]), tmp_path / "chats.parquet")
    table = source(f"parquet:{tmp_path / 'chats.parquet'}")
    assert isinstance(table, Conversations)
    task = next(task for tasks in table.splits.values() for task in tasks if task.needs["tools"])
    assert table.episode(task)[0] == (Call("time", {"zone": "UTC"}),)


def kinds(rollout, renderer):
    return [(s["kind"], renderer.text(s["tokens"])) for row in rollout["rows"] for s in row["segments"]]


def test_every_reply_is_learned_and_what_was_heard_is_context(tmp_path):
    path = written(tmp_path / "chats.jsonl", ROWS[:20])
    run = create(Recipe(method=SFT_MESSAGES, data=str(path), calls="line", tasks=17, steps=1, eval_tasks=0), tmp_path / "run")
    run.train()
    renderer = load("pico").renderer
    rollouts = [r for g in read_commit(run.directory, 0)["groups"] for r in g["rollouts"]]
    shown = {text: kinds(r, renderer) for r in rollouts if (text := r["text"])}
    told = next(one for text, one in shown.items() if "UTC" in text)
    assert [kind for kind, _ in told] == ["prompt", "teacher", "observation", "teacher"]
    assert told[1][1] == ">time UTC"
    assert ">time zone" in told[0][1], "the row's tools are told"
    assert told[3][1] == "noon"
    assert "12:00" in told[2][1]
    taught = [
        row
        for r in rollouts
        for row in map(Row.from_json, r["rows"])
        for s in row.segments
        if s.kind == "teacher" and s.id not in row.trains
    ]
    assert not taught
    assert run.bill.total["trained"] > 0


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"prompt": "?"}, "row 31 of chats.jsonl has no field 'messages', which the first row has"),
        ({"messages": []}, "'messages' is a list of messages"),
        ({"messages": [{"role": "bot", "content": "a"}]}, "message 1 has a role, one of system, developer, user, assistant, tool"),
        ({"messages": [{"role": "assistant", "content": "a"}]}, "message 1 is a reply, and nothing was asked before it"),
        ({"messages": [{"role": "user", "content": "a"}]}, "holds no reply of the assistant"),
        (
            {"messages": [{"role": "user", "content": ""}, {"role": "assistant", "content": "a"}]},
            "nothing was asked before it",
        ),
        ({"messages": [ROWS[5]["messages"][1], {"role": "assistant", "content": ""}]}, "message 2 says nothing"),
        ({"messages": [ROWS[5]["messages"][1], {"role": "assistant", "content": "a", "weight": 0}]}, "has 'weight', which is not read"),
        ({"messages": [ROWS[5]["messages"][1], {"role": "assistant", "content": "a", "reasoning_content": "b"}]}, "'reasoning_content'"),
        ({"messages": [ROWS[5]["messages"][1], {"role": "assistant", "content": "a", "tool_calls": 5}]}, "'tool_calls' is a list"),
        ({"messages": ROWS[5]["messages"], "tools": 5}, "'tools' is a list"),
        ({"messages": ROWS[5]["messages"], "tools": [{"function": {"name": "\ud800"}}]}, "half a character"),
        ({"messages": [*ROWS[5]["messages"], {"role": "assistant", "content": "b"}]}, "message 4 is a second reply in a row"),
        ({"messages": [*ROWS[5]["messages"], {"role": "system", "content": "b"}]}, "stands before the first reply"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "half a character"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "what is no text"),
        (
            {"messages": [ROWS[5]["messages"][1], {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}]},
            "no JSON",
        ),
        ({"messages": [ROWS[5]["messages"][1], {"role": "assistant", "tool_calls": [{"name": "f"}]}]}, "a call is"),
        ({"messages": ROWS[5]["messages"], "tools": [{"name": "f"}]}, "one of 'tools' is"),
        (
            {"messages": ROWS[5]["messages"], "tools": [{"function": {"name": "f", "parameters": {"$ref": "http://x/y"}}}]},
            "it points elsewhere",
        ),
    ],
)
def test_a_row_that_is_none_is_refused_by_its_number(tmp_path, row, words):
    with pytest.raises(ValueError, match=words.replace("(", r"\(")):
        source(f"jsonl:{written(tmp_path / 'chats.jsonl', [*ROWS, row])}")


def test_they_are_imitated_and_graded_by_nobody_and_what_was_not_trained_on_costs_nats(tmp_path, capsys):
    path = written(tmp_path / "chats.jsonl", ROWS)
    with pytest.raises(SystemExit):
        main(["train", "--data", str(path), "--method", "grpo", "--steps", "1", "--out", str(tmp_path / "no")])
    assert "imitate them, --method sft-messages" in capsys.readouterr().err
    told = ["--method", "sft-messages", "--calls", "line", "--steps", "6", "--tasks", "8", "--lr", "1e-3"]
    main(["train", "--data", str(path), *told, "--out", str(tmp_path / "run"), "--json", str(tmp_path / "said.json")])
    said = json.loads((tmp_path / "said.json").read_text())
    assert said["after"]["nats a token"] < said["before"]["nats a token"] - 1
    assert "change of nats a token: -" in capsys.readouterr().out
    assert "nats a token" in (tmp_path / "run" / "report.html").read_text()


EXPERT = """
from typing import Any, NamedTuple

from strop.method import Method
from strop.seams.episode import Episodes, Played
from strop.seams.update import Still
from strop.tasks import source
from strop.worlds.calls import Line

WORLD = source("wiki").world


class Expert(NamedTuple):
    def __call__(self, state: Any, turn: int) -> Any:
        return WORLD.expert(state)


HOW = Episodes(n=2, turns=12, max_tokens=16, observation=32, calls=Line())
PLAYED = Method("played", sampler=Played(Expert(), HOW), credit=(), signals={}, update=Still(), tasks=3)
"""


def test_a_runs_right_episodes_go_out_and_are_the_same_tokens_when_they_are_imitated(tmp_path, capsys):
    (tmp_path / "expert.py").write_text(EXPERT)
    run, out, again = tmp_path / "run", tmp_path / "told.jsonl", tmp_path / "again"
    shared = ["--task", "wiki", "--steps", "1", "--eval-tasks", "0", "--unchecked"]
    main(["train", "--method", f"{tmp_path / 'expert.py'}:PLAYED", *shared, "--out", str(run)])
    main(["export-data", str(run), str(out), "--as", "episodes"])
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(rows) == len({json.dumps(row["messages"]) for row in rows}) >= 3, "equal ones once"
    assert [m["role"] for m in rows[0]["messages"]][:3] == ["user", "assistant", "tool"]
    assert rows[0]["messages"][1]["tool_calls"][0]["function"]["name"] in {one["function"]["name"] for one in rows[0]["tools"]}
    assert rows[0]["from"]["step"] == 0
    told = ["--method", "sft-messages", "--calls", "line", "--data", str(out), "--steps", "1", "--tasks", "1", "--eval-tasks", "0"]
    main(["train", *told, "--out", str(again)])
    (learned,) = lists(again)
    assert learned in lists(run)
    with pytest.raises(SystemExit):  # what it was shown is not what it sampled
        main(["export-data", str(again), str(tmp_path / "none.jsonl"), "--as", "episodes"])
    assert "sampled nothing that makes episodes" in capsys.readouterr().err


def lists(run):
    """Of each group of the first step, the tokens of its segments."""
    return [tuple(tuple(s["tokens"]) for s in r["rows"][0]["segments"]) for g in read_commit(run, 0)["groups"] for r in g["rollouts"]]
