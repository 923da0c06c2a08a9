"""gym: a real environment of Gymnasium's in a process of its own."""

import asyncio

import pytest

from strop.records import Task
from strop.seams.world import Broken, Call, Said, Seat
from strop.tasks import source
from strop.worlds.gym import Gym

LAKE = Gym("FrozenLake-v1", (("is_slippery", False),))
TASK = Task("Reach G.", {"seed": 7}, "gym")


def act(action):
    return Call("act", {"action": action})


def played(world, task, *actions):
    async def go():
        state, replies = world.start(task, Seat("g", "g/0", 20)), []
        shown = await world.show(state)
        for calls in actions:
            state, reply = await world.reply(state, Said("", tuple(calls)), {})
            replies.append(reply)
        return shown, replies

    return asyncio.run(go())


def test_a_lake_is_crossed_and_pays():
    (tool,) = LAKE.tools(TASK)
    assert tool.schema["properties"]["action"] == {"type": "integer", "minimum": 0, "maximum": 3}
    shown, replies = played(LAKE, TASK, [act(1), act(1)], [Broken("no JSON")], [], [act(2)], [act(1)], [act(2), act(2)])
    assert shown == "Reach G.\n[S]FFF\nFHFH\nFFFH\nHFFG"
    assert "[F]FFH\nHFFG\nreward 0" in replies[0].observation
    assert [call.why for reply in replies[1:3] for call in reply.calls] == ["no JSON", "no call"]
    assert [reply.done for reply in replies] == [False] * 5 + [True]
    assert replies[-1].scores == {"outcome": 1.0}


def test_the_same_seed_is_the_same_episode_and_another_one_is_not():
    hands = {n: played(Gym("Blackjack-v1"), Task("", {"seed": n}, "gym"), [act(0)])[0] for n in range(4)}
    again = played(Gym("Blackjack-v1"), Task("", {"seed": 2}, "gym"), [act(0)])[0]
    assert again == hands[2]
    assert len({*hands.values()}) > 1


def test_a_forked_rollout_is_told_again_and_answered_alike():
    async def go():
        state = LAKE.start(TASK, Seat("g", "g/1", 20))
        state, _ = await LAKE.reply(state, Said("", (act(1),)), {})
        return [(await LAKE.reply(state, Said("", (act(action),)), {}))[1].observation for action in (1, 2, 1)]

    first, other, again = asyncio.run(go())
    assert first == again != other


def test_seeds_are_tasks_and_the_splits_never_meet():
    lake = source("gym:FrozenLake-v1,prompt=Go")
    seeds = {split: {lake.task(split, 0, index).needs["seed"] for index in range(50)} for split in ("train", "test")}
    assert len(seeds["train"]) == 50
    assert not seeds["train"] & seeds["test"]
    assert lake.task("train", 0, 0).prompt == "Go"
    assert lake.world == Gym("FrozenLake-v1")
    assert lake.grade(TASK, "anything") == {"outcome": 0.0, "lenient": 0.0}


def test_words_for_what_is_no_environment():
    with pytest.raises(ValueError, match="doesn't exist"):
        Gym("NoSuchLake-v1").tools(TASK)


def test_a_recipe_says_how_episodes_are_played():
    from strop.recipe import Recipe
    from strop.seams.episode import Episodes
    from strop.seams.window import Recent
    from strop.worlds.calls import Hermes, Line

    made = Recipe(task="gym:FrozenLake-v1", turns=5, calls="line", group=4, max_tokens=16).resolved().sampler
    assert made == Episodes(4, 5, 16, calls=Line())
    assert Recipe(observation=9).resolved().sampler == Episodes(8, 2, 128, observation=9, calls=Hermes())
    theirs = Recipe(method="grpo-roc", window="recent:tokens=64,limit=256").resolved().sampler
    assert theirs.window == Recent(tokens=64, limit=256)
    assert Recipe().fingerprint == Recipe(turns=None).fingerprint != Recipe(turns=3).fingerprint
    for wrong, says in [({"calls": "lines"}, "Did you mean 'line'"), ({"method": "treepo", "turns": 3}, "plays no episodes")]:
        with pytest.raises(ValueError, match=says):
            Recipe(**wrong).resolved()
