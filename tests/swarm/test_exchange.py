"""What arrives from other trainers: judged here, counted by name, in exactly one place each."""

import asyncio
import contextlib
import json
import random
from collections import Counter
from dataclasses import replace

import pytest

from strop.policies.causal import load
from strop.records import Group, Task
from strop.seams.context import Ctx, Handle, Progress
from strop.seams.exchange import Offer
from strop.seams.sampler import Independent
from strop.seams.swarm import top, uniform
from strop.swarm.exchange import BURST, CHARGED, PLACES, REASONS, Book, Exchange
from strop.swarm.families import rebuild
from strop.swarm.message import BYTES, DEPTH, Address, Completion, Rejected, depth, read, write
from strop.swarm.wires import Room
from strop.tasks import source

from .liars import LIES, Teller, honest

TASKS = source("chain:steps=2")
SAMPLER = Independent(n=4, max_tokens=64)


@pytest.fixture(scope="module")
def pico():
    return load("pico")


class Node:
    """An exchange with everything a trainer would bring to it, but the training."""

    def __init__(self, room, name, pico, **options):
        self.exchange = Exchange("test", room.enter(name), **{"rate": None, **options})
        self.step, self.handle = 0, Handle(None, pico.renderer)

    def look(self, keep=4):
        ctx = Ctx(0, Progress(self.step, 100), TASKS, {"actor": self.handle}, grade=None)
        self.step += 1
        return asyncio.run(self.exchange.offered(ctx, SAMPLER, keep))

    def book(self, peer):
        return self.exchange.tally()["peers"][peer]


def accounted(book):
    places = ("missed", "queued", "waiting", "drawn", "flat", "expired", "lost")
    return book["numbers"] == sum(book[place] for place in places) + sum(book["rejected"].values())


@pytest.fixture
def two(pico):
    room = Room()
    return Node(room, "me", pico), Teller(room.enter("liar"), TASKS)


@pytest.mark.parametrize("lie", LIES)
def test_every_lie_told_to_a_swarm_is_rejected_by_its_name(two, lie):
    me, liar = two
    liar.tell(lie)
    assert me.look() == []
    book = me.book("liar")
    assert book["rejected"] == {LIES[lie][0]: 1}
    assert LIES[lie][0] in REASONS
    assert accounted(book)


def test_an_honest_group_is_made_again_here_and_offered(two, pico):
    me, peer = two
    shared = honest(TASKS, 5)
    peer.say(write(shared))
    (offer,) = me.look()
    task = TASKS.task("train", 77, 5)
    assert offer.outcomes == (1.0, 0.0)
    assert offer.group.role == "foreign"
    assert offer.group.task == task
    for rollout, completion in zip(offer.group.rollouts, shared.rollouts, strict=True):
        prompt, text = rollout.rows[0].segments
        assert prompt.tokens == pico.renderer.prompt(task.prompt)
        assert text.tokens == pico.renderer.reply(completion.text)
        assert (text.kind, text.logp, text.author.policy) == ("teacher", None, "peer liar")
        assert rollout.rows[0].trains == {text.id}


def test_the_token_that_ends_a_completion_is_trained_where_it_ended_and_nowhere_else(two, pico):
    me, peer = two
    shared = honest(TASKS, 6)
    cut = replace(shared, rollouts=(shared.rollouts[0], Completion("<think>1+", False, 0.0)))
    peer.say(write(cut))
    (offer,) = me.look()
    ended, left = (rollout.rows[0].segments[1].tokens for rollout in offer.group.rollouts)
    assert ended[-1] in pico.eos
    assert not set(left) & set(pico.eos)
    assert [rollout.stop for rollout in offer.group.rollouts] == ["finished", "length"]


def test_a_message_that_comes_twice_is_replayed_and_only_its_own_sender_is_charged(pico):
    room = Room()
    me, a, thief = Node(room, "me", pico), Teller(room.enter("a"), TASKS), Teller(room.enter("thief"), TASKS)
    a.replay()
    me.exchange.arrived("a", a.last)  # anybody may repeat what somebody else has signed
    thief.say(write(honest(TASKS, 0)))  # the group of `a` under another name
    assert len(me.look()) == 1
    assert me.book("a")["rejected"] == {"replayed": 1}
    assert me.book("a")["again"] == {"replayed": 2}
    assert me.book("thief")["rejected"] == {"copied": 1}
    assert "copied" not in CHARGED
    assert accounted(me.book("a"))
    assert accounted(me.book("thief"))


def test_a_group_in_another_order_is_the_same_group(two):
    me, peer = two
    shared = honest(TASKS, 3)
    peer.say(write(shared))
    peer.say(write(replace(shared, rollouts=shared.rollouts[::-1])))
    assert len(me.look()) == 1
    assert me.book("liar")["rejected"] == {"replayed": 1}


@pytest.mark.parametrize("earlier", [False, True])
def test_a_copy_with_a_lie_in_it_keeps_no_true_group_out(pico, earlier):
    room = Room()
    me, thief, peer = Node(room, "me", pico), Teller(room.enter("a thief, read first"), TASKS), Teller(room.enter("peer"), TASKS)
    shared = honest(TASKS, 3)
    thief.say(write(replace(shared, task=replace(shared.task, family="chain:steps=31"))))
    thief.say(write(replace(shared, rollouts=tuple(replace(c, outcome=1 - c.outcome) for c in shared.rollouts))))
    if earlier:
        assert me.look() == []
    peer.say(write(shared))
    (offer,) = me.look()
    assert offer.group.rollouts[0].provenance == "swarm peer"
    assert me.book("a thief, read first")["rejected"] == {"wrong reward": 1, "unknown task": 1}
    assert me.book("peer")["rejected"] == {}


def test_a_source_that_fails_on_a_strangers_address_costs_the_group_alone():
    class Fragile:
        name = "fragile"

        def task(self, split, seed, index):
            raise RuntimeError("the generator hangs on this seed")

    with pytest.raises(Rejected, match="unknown task: the generator hangs"):
        rebuild(Address("fragile", 1, 0, 0, "0" * 16), {"fragile": Fragile()})


def test_a_session_that_its_sender_has_left_is_stale(two):
    me, peer = two
    peer.wire.session = 5
    peer.say(write(honest(TASKS, 1)))
    peer.wire.session = 4
    peer.say(write(honest(TASKS, 2)))
    assert len(me.look()) == 1
    assert me.book("liar")["again"] == {"stale": 1}


def test_a_flood_is_named_as_far_as_it_is_one(pico):
    room, now = Room(), [0.0]
    me, liar = Node(room, "me", pico, rate=10.0, clock=lambda: now[0]), Teller(room.enter("liar"), TASKS)
    liar.flood(500)
    assert me.book("liar")["rejected"]["flooding"] == 500 - BURST
    now[0] = 3.0
    liar.flood(100)
    assert me.book("liar")["rejected"]["flooding"] == 600 - BURST - 30
    me.look()
    assert accounted(me.book("liar"))


def test_a_peers_rejected_share_decides_its_quota_and_a_liar_can_earn_its_way_back(pico):
    room = Room()
    me, liar = Node(room, "me", pico), Teller(room.enter("liar"), TASKS)
    quotas = []
    for _ in range(6):
        for _ in range(40):
            liar.tell("a wrong answer called right")
        me.look()
        quotas.append(me.book("liar")["quota"])
    assert Book().quota == PLACES // 2
    assert quotas == sorted(quotas, reverse=True)
    assert quotas[-1] == 1
    assert me.book("liar")["rejected"]["over quota"] > 100
    for _ in range(60):
        liar.say(write(honest(TASKS, next(liar.fresh))))
        me.look()
    assert me.book("liar")["quota"] > 10
    assert accounted(me.book("liar"))


def test_what_two_trainers_merely_disagree_on_costs_nobody_a_place(two):
    me, peer = two
    for _ in range(20):
        peer.tell("another family")
        peer.tell("a text beyond our replies")
        me.look()
    assert me.book("liar")["quota"] == PLACES // 2


def test_a_held_out_task_of_ours_is_never_trained_on(pico):
    room = Room()
    held = TASKS.task("test", 0, 0)
    shared = honest(TASKS, 3)
    me = Node(room, "me", pico, held_out=frozenset({held.id, shared.task.key}))
    peer = Teller(room.enter("peer"), TASKS)
    peer.say(write(replace(shared, task=replace(shared.task, key=held.id, seed=0, index=0))))
    peer.say(write(shared))
    assert me.look() == []
    assert me.book("peer")["rejected"] == {"held out": 2}


def test_a_group_waits_its_steps_and_then_expires(two):
    me, peer = two
    peer.say(write(honest(TASKS, 1)))
    assert [len(me.look(keep=2)) for _ in range(5)] == [1, 1, 1, 0, 0]
    assert me.book("liar")["expired"] == 1
    assert accounted(me.book("liar"))


def test_a_trainer_that_was_killed_remembers_who_lied_and_what_it_lost(two, pico):
    me, peer = two
    peer.tell("another key")
    peer.say(write(honest(TASKS, 1)))
    me.look()
    peer.say(write(honest(TASKS, 2)))
    past = json.loads(json.dumps(me.exchange.tally()))
    again = Node(Room(), "me", pico, past=past)
    book = again.book("liar")
    assert (book["lost"], book["waiting"], book["queued"]) == (2, 0, 0)
    assert book["rejected"] == {"wrong key": 1}
    assert book["quota"] == past["peers"]["liar"]["quota"]
    assert accounted(book)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_arrives_each_number_is_in_exactly_one_place(pico, seed):
    rng, room = random.Random(seed), Room()
    me, peer = Node(room, "me", pico, rate=5.0, clock=lambda: 0.0), Teller(room.enter("peer"), TASKS)
    for _ in range(rng.randrange(10, 60)):
        move = rng.randrange(6)
        if move == 0:
            peer.tell(rng.choice(list(LIES)))
        elif move == 1:
            peer.number += rng.randrange(3)  # what never arrives
        elif move == 2:
            peer.replay()
        elif move == 3:
            offers = me.look(keep=1)
            me.exchange.settle(offers[:1], [o for o in offers[1:] if rng.random() < 0.5])
        elif move == 4:
            peer.wire.session, peer.number = peer.wire.session + 1, rng.randrange(3)
        else:
            peer.say(write(honest(TASKS, next(peer.fresh))))
        if me.exchange.books:
            assert accounted(me.book("peer"))


def test_a_message_survives_being_written_and_read():
    shared = honest(TASKS, 4)
    assert read(write(shared)) == shared
    assert read(json.dumps(json.loads(write(shared)), indent=2).encode()).content == shared.content


@pytest.mark.parametrize("seed", range(4))
def test_a_mangled_message_is_read_or_rejected_and_never_raises_anything_else(seed):
    rng, whole = random.Random(seed), write(honest(TASKS, 4))
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(rng.randrange(1, 6)):
            at = rng.randrange(len(data))
            data[at : at + rng.randrange(3)] = rng.choice([b'"', b"[", b"}", b"\\", b"\\ud800", b"1e999", bytes([rng.randrange(256)])])
        with contextlib.suppress(Rejected):
            read(bytes(data))


def test_depth_is_counted_in_one_pass_over_hostile_bytes():
    assert depth(b'{"a": [[1], "[[[[", {"b": "\\"[["}]}') == 3
    assert depth(b"[" * BYTES) == BYTES
    for hostile in (b'"\\' * (BYTES // 2), b'"' * BYTES, b"\\" * BYTES):
        depth(hostile)  # a quadratic scan would take minutes here
    assert depth(write(honest(TASKS, 1))) <= DEPTH


# Selection.


def offers(*outcomes):
    return [Offer(Group(Task(str(at), {}, "t"), (), "foreign", f"g{at}"), verdicts) for at, verdicts in enumerate(outcomes)]


def test_uniform_draws_every_informative_group_alike_and_no_other():
    made = offers((0, 0), (1, 0), (1, 1), (0, 1), (1, 0, 0))
    seen = Counter(o.group.id for s in range(3000) for o in uniform(made, 2, random.Random(s)))
    assert set(seen) == {"g1", "g3", "g4"}
    assert all(abs(count - 2000) < 120 for count in seen.values())
    assert len(uniform(made, 9, random.Random(0))) == 3


def test_top_is_the_released_selection_with_its_defect():
    def released(scores, n):  # genrl 0.1.4, examples/rgym/data.py, transplant_trees, on (score, key) pairs
        if not any(scores):
            return []
        first = next(i for i, s in enumerate(scores) if s != 0)
        ordered = [key for _, key in sorted((s, f"g{i}") for i, s in enumerate(scores))][first:]
        return ordered[-min(n, len(ordered)) :]

    rng = random.Random(0)
    for _ in range(300):
        outcomes = [tuple(float(rng.random() < 0.3) for _ in range(3)) for _ in range(rng.randrange(1, 8))]
        n = rng.randrange(1, 5)
        assert [o.group.id for o in top(offers(*outcomes), n, rng)] == released([sum(o) for o in outcomes], n)
    late = offers((0, 0), (0, 0), (1, 0), (1, 1))
    assert [o.group.id for o in top(late, 4, rng)] == ["g2", "g3"]
    early = offers((1, 0), (0, 0), (0, 0), (1, 1))
    assert [o.group.id for o in top(early, 4, rng)] == ["g1", "g2", "g0", "g3"], "arrived first, so nothing is cut: those of zero are taken"
