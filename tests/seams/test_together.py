"""A world that answers many at once: who waits at one time is asked together, and each is answered as if alone."""

import asyncio

import pytest

from strop.check.growing import _world
from strop.records import Task
from strop.seams.world import Reply, Said, Seat, replied

TASK = Task("?", {}, "test")


class Many:
    """Answers with what was said and how often it was answered; notes how many came together."""

    def __init__(self, wrong=lambda made: made, beside=False):
        self.came, self.wrong, self.beside = [], wrong, beside

    def start(self, task, seat):
        return 0

    async def reply(self, state, said, ask):
        return (await self.reply_many([(state, said, ask)]))[0]

    async def reply_many(self, asked):
        self.came.append(len(asked))
        await asyncio.sleep(0)
        more = len(asked) * self.beside
        return self.wrong([(state + 1, Reply(f"{said.text}{state + more}")) for state, said, _ in asked])


def told(world, counts, turns=3):
    """What so many episodes hear, which begin one loop turn apart."""

    async def lived(number):
        state, heard = world.start(TASK, Seat("g", str(number))), []
        for _ in range(turns):
            state, reply = await replied(world, state, Said(f"{number}:"), {})
            heard.append(reply.observation)
        return heard

    async def go():
        return await asyncio.gather(*(lived(number) for number in range(counts)))

    return asyncio.run(go())


def test_who_waits_at_one_time_is_asked_together_and_answered_apart():
    world = Many()
    assert told(world, 8) == [[f"{number}:{turn}" for turn in range(3)] for number in range(8)]
    assert world.came == [8, 8, 8]
    world = Many()
    assert told(world, 1) == [["0:0", "0:1", "0:2"]]
    assert world.came == [1, 1, 1]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda made: made[:-1], "8 were asked for"),
        (lambda made: None, "8 were asked for"),
        (lambda made: [1] * len(made), "it is .state, Reply"),
    ],
)
def test_what_is_no_answer_is_refused_in_words(wrong, words):
    with pytest.raises(ValueError, match=words):
        told(Many(wrong), 8)


def test_what_it_raises_reaches_everybody_and_the_next_are_asked_anew():
    class Fails(Many):
        async def reply_many(self, asked):
            if not self.came:
                self.came.append(len(asked))
                raise OSError("gone")
            return await super().reply_many(asked)

    world = Fails()

    async def go():
        first = await asyncio.gather(*(replied(world, 0, Said(str(n)), {}) for n in range(3)), return_exceptions=True)
        return first, await replied(world, 0, Said("x"), {})

    first, (_, then) = asyncio.run(go())
    assert [str(one) for one in first] == ["gone"] * 3
    assert then.observation == "x0"


def test_who_is_given_up_costs_the_others_nothing():
    world = Many()

    async def go():
        one, two = (asyncio.ensure_future(replied(world, 0, Said(name), {})) for name in "ab")
        await asyncio.sleep(0)
        one.cancel()
        return (await two)[1].observation

    assert asyncio.run(go()) == "b0"


def test_one_that_answers_otherwise_in_company_is_found():
    assert list(_world("many", Many(), None, TASK)) == []
    (said,) = _world("many", Many(beside=True), None, TASK)
    assert "where another is asked beside it" in said
