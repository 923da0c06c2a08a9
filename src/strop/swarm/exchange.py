"""Exchange: what a trainer makes of what arrives. Nothing is believed: every task is made again, every text tokenised and graded here.

A message passes, in this order, and leaves at the first place that it does not pass, under that place's name:

    the wire      bytes within bounds, a signature that fits its sender                    (else counted under nobody)
    arrival       a number that has not come yet, fewer a second than `RATE`
    the quota     places for its sender, fewer the larger its rejected share
    the message   its schema and bounds, a task of our own source under the same key, text that is text in our tokens
    the verdict   our own verifier's, which the claimed one has to equal

then waits to be drawn, is found flat, or expires. So for every peer, at every moment,

    numbers = missed + queued + waiting + drawn + flat + expired + lost + all that was rejected

where `numbers` is how many groups it has numbered as far as we know: each is in exactly one place.
"""

from __future__ import annotations

import hashlib
import struct
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from strop import grading
from strop.records import ENDED, Author, Group, Rollout, Row, Sampling, Scores, Segment
from strop.seams.context import Ctx, Renderer
from strop.seams.exchange import FOREIGN, Offer
from strop.seams.sampler import Sampler
from strop.seams.source import Source
from strop.swarm.families import address, families, rebuild
from strop.swarm.message import BYTES, Completion, Rejected, Shared, read, readable, write

REASONS = {
    "malformed": "not the schema, or beyond one of its bounds",
    "garbage": "text that nobody can read, or that holds special tokens here or tokens that are never drawn",
    "wrong key": "the task under that address has another content here",
    "wrong reward": "our verifier gives another verdict than the one claimed",
    "held out": "a task of our own evaluation",
    "replayed": "the same sender sent the same group before",
    "flooding": "more in a second than anybody needs",
    "copied": "somebody else, or we, sent the same group before",
    "unknown task": "a family that we do not have, or an index that it does not have",
    "wrong version": "another version of the message, or of the family",
    "too long": "more tokens than our own replies may have, or more rollouts than twice our own group",
    "ungraded": "our verifier failed",
    "over quota": "unread, beyond the places that its rejected share leaves it, or behind newer ones",
    "stale": "from a session that its sender has left",
    "oversized": f"more than {BYTES} bytes",
    "forged": "a signature that does not fit",
    "crowded": "one peer more than we keep books on",
}
CHARGED = frozenset({"malformed", "garbage", "wrong key", "wrong reward", "held out", "replayed", "flooding"})
"""Counted against a peer: what an honest trainer of the same version does not send. The others say that two trainers differ, that
we were slow, or what anybody could have done in the peer's name."""

PLACES = 64
"""Groups of one peer that are looked at in one of our steps, if none was ever rejected."""
RATE, BURST = 32.0, 128.0
"""Messages a second of one peer, and how many it may save up."""
QUEUE, QUEUED = PLACES, 16 * BYTES
"""Messages of one peer that wait unread, and their bytes."""
PEERS = 64
SEEN = 65536
"""Contents remembered, to know them again."""
LATE = 65536
"""Messages remembered by their hash: under a number that has passed, one of them is replayed and another stale."""
SAME = 1e-6
"""Verdicts closer than this are one."""
HEAD = struct.Struct(">QQ")
"""Session (the sender's start in nanoseconds) and number."""


class Wire(Protocol):
    """Carries bytes between trainers, and vouches for who sent them."""

    id: str
    session: int
    """Larger whenever a trainer begins anew."""

    def send(self, body: bytes) -> None: ...

    def listen(self, arrived: Callable[[str, bytes], None], refused: Callable[[str], None]) -> None:
        """`arrived(peer, body)` for what a peer has sent for certain; `refused(why)` for what is nobody's."""
        ...


@dataclass
class Book:
    """What one peer sent and what became of it. `verified` groups passed everything; their share decides the quota."""

    numbers: int = 0
    missed: int = 0
    drawn: int = 0
    flat: int = 0
    expired: int = 0
    lost: int = 0
    """Waited unread or undrawn when this trainer was killed."""
    verified: int = 0
    rejected: Counter[str] = field(default_factory=Counter[str])
    again: Counter[str] = field(default_factory=Counter[str])
    """Messages under a number that had passed: anybody can repeat what a peer signed, so nobody is charged."""
    session: int = 0
    following: int = 0
    """The number that comes next in this session."""

    @property
    def quota(self) -> int:
        """Places in each of our steps. A newcomer has half of them; a liar always keeps one, to earn its way back."""
        bad = sum(count for why, count in self.rejected.items() if why in CHARGED)
        return max(1, int(PLACES * (self.verified + 1) / (self.verified + bad + 2)))

    def to_json(self, queued: int, waiting: int) -> dict[str, Any]:
        whole = {name: getattr(self, name) for name in ("numbers", "missed", "drawn", "flat", "expired", "lost", "verified", "quota")}
        head = {"session": self.session, "following": self.following}
        return {**whole, **head, "queued": queued, "waiting": waiting, "rejected": dict(self.rejected), "again": dict(self.again)}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Book:
        names = ("numbers", "missed", "drawn", "flat", "expired", "verified", "session", "following")
        lost = data["lost"] + data["queued"] + data["waiting"]
        kept = {name: data[name] for name in names}
        return Book(**kept, lost=lost, rejected=Counter(data["rejected"]), again=Counter(data["again"]))


@dataclass
class Bucket:
    """Lets `rate` a second through, and up to `burst` at once."""

    rate: float
    burst: float
    level: float
    at: float

    def allows(self, now: float) -> bool:
        self.level, self.at = min(self.burst, self.level + (now - self.at) * self.rate), now
        if self.level < 1:
            return False
        self.level -= 1
        return True


@dataclass
class Waiting:
    peer: str
    offer: Offer
    since: int


class Exchange:
    """One trainer's place in a swarm. `arrived` runs on the wire's thread and only queues; everything else on the trainer's."""

    def __init__(
        self,
        name: str,
        wire: Wire,
        *,
        held_out: frozenset[str] = frozenset(),
        past: Mapping[str, Any] | None = None,
        rate: float | None = RATE,
        clock: Callable[[], float] = time.monotonic,
    ):
        """`past` is the tally of an earlier life: no peer's share is forgotten, and what waited then is lost."""
        self.name, self.wire, self.held_out, self.rate, self.clock = name, wire, held_out, rate, clock
        self.sent = self.published = self.unshared = 0
        self.books: dict[str, Book] = {}
        self.nobody: Counter[str] = Counter()
        self.outbox: list[bytes] = []
        self._queues: dict[str, deque[bytes]] = {}
        self._buckets: dict[str, Bucket] = {}
        self._waiting: list[Waiting] = []
        self._seen: OrderedDict[str, str] = OrderedDict()
        self._late: OrderedDict[bytes, None] = OrderedDict()
        self._lock = threading.Lock()
        if past is not None:
            self.published, self.unshared, self.nobody = past["published"], past["unshared"], Counter(past["nobody"])
            self.books = {peer: Book.from_json(book) for peer, book in past["peers"].items()}
        wire.listen(self.arrived, self.refused)

    # Out.

    def publish(self, groups: Sequence[Group], scores: Scores, step: int, source: Source, renderer: Renderer) -> None:
        """Our own graded groups, flat ones included, into the outbox: `flush` sends them, once they are committed."""
        for group in groups:
            if group.role != "solve":
                continue
            shared = shareable(group, scores, step, source, renderer)
            body = b"" if shared is None else write(shared)
            if shared is None or len(body) > BYTES or shared.content in self._seen:
                self.unshared += 1
                continue
            self._remember(shared.content, self.wire.id)
            self.outbox.append(HEAD.pack(self.wire.session, self.sent) + body)
            self.sent += 1
            self.published += 1

    def flush(self) -> None:
        for body in self.outbox:
            self.wire.send(body)
        self.outbox.clear()

    # In, on the wire's thread.

    def refused(self, why: str) -> None:
        with self._lock:
            self.nobody[why] += 1

    def arrived(self, peer: str, body: bytes) -> None:
        with self._lock:
            if peer not in self.books and len(self.books) >= PEERS:
                self.nobody["crowded"] += 1
                return
            book = self.books.setdefault(peer, Book())
            if len(body) < HEAD.size:
                book.again["malformed"] += 1
                return
            session, number = HEAD.unpack_from(body)
            known = hashlib.sha256(body).digest()
            if session < book.session or (session == book.session and number < book.following):
                book.again["replayed" if known in self._late else "stale"] += 1
                return
            following = book.following if session == book.session else 0
            book.numbers += number + 1 - following
            book.missed += number - following
            book.session, book.following = session, number + 1
            self._late[known] = None
            if len(self._late) > LATE:
                self._late.popitem(last=False)
            if self._floods(peer):
                book.rejected["flooding"] += 1
                return
            queue = self._queues.setdefault(peer, deque())
            queue.append(body[HEAD.size :])
            while len(queue) > QUEUE or sum(map(len, queue)) > QUEUED:
                queue.popleft()
                book.rejected["over quota"] += 1

    def _floods(self, peer: str) -> bool:
        if self.rate is None:
            return False
        now = self.clock()
        return not self._buckets.setdefault(peer, Bucket(self.rate, BURST, BURST, now)).allows(now)

    # In, on the trainer's.

    async def offered(self, ctx: Ctx, sampler: Sampler, keep: int) -> list[Offer]:
        now = ctx.progress.step
        for waiting in [w for w in self._waiting if now - w.since > keep]:
            self._leave(waiting, "expired")
        known = families(ctx.source)
        found: dict[tuple[str, str], tuple[Shared, Group]] = {}
        for peer, body in self._next():
            try:
                shared = read(body)
                content = shared.content
                if why := "replayed" if (peer, content) in found else self._known(peer, content):
                    raise Rejected(why)
                found[peer, content] = (shared, self._group(shared, peer, known, ctx, sampler))
            except Rejected as rejected:
                self._reject(peer, rejected.why)
        scores = await grading.grade(ctx.source, [group for _, group in found.values()]) if found else Scores()
        for (peer, content), (shared, group) in found.items():
            verdicts = [scores.get(rollout, "outcome") for rollout in group.rollouts]
            outcomes = tuple(verdict for verdict in verdicts if verdict is not None)
            if len(outcomes) < len(verdicts):
                self._reject(peer, "ungraded")
            elif any(abs(verdict - c.outcome) > SAME for verdict, c in zip(outcomes, shared.rollouts, strict=True)):
                self._reject(peer, "wrong reward")
            elif why := self._known(peer, content):  # since it was read: it came with it
                self._reject(peer, why)
            else:
                self._remember(content, peer)
                self._waiting.append(Waiting(peer, Offer(group, outcomes), now))
                with self._lock:
                    self.books[peer].verified += 1
        return [waiting.offer for waiting in self._waiting]

    def settle(self, drawn: Sequence[Offer], flat: Sequence[Offer]) -> None:
        for offers, place in ((drawn, "drawn"), (flat, "flat")):
            gone = {offer.group.id for offer in offers}
            for waiting in [w for w in self._waiting if w.offer.group.id in gone]:
                self._leave(waiting, place)

    def tally(self) -> dict[str, Any]:
        """Everything that is counted, since the run began: it stands in each commit and on each metrics line."""
        with self._lock:
            waits = Counter(waiting.peer for waiting in self._waiting)
            books = {p: b.to_json(len(self._queues.get(p, ())), waits[p]) for p, b in sorted(self.books.items())}
            about = {"name": self.name, "id": self.wire.id, "published": self.published, "unshared": self.unshared}
            return {**about, "peers": books, "nobody": dict(self.nobody)}

    def _next(self) -> list[tuple[str, bytes]]:
        """What is looked at now: each peer's newest messages, as many as its quota; older ones are over it."""
        with self._lock:
            taken = {peer: list(queue) for peer, queue in sorted(self._queues.items())}
            self._queues.clear()
            for peer, bodies in taken.items():
                over = max(0, len(bodies) - self.books[peer].quota)
                if over:
                    self.books[peer].rejected["over quota"] += over
                    taken[peer] = bodies[over:]
        return [(peer, body) for peer, bodies in taken.items() for body in bodies]

    def _known(self, peer: str, content: str) -> str:
        """Why a group is none that is new. What was refused is not remembered, else a copy with a lie in it would keep the true one out;
        and nobody is charged for what somebody else sent first: the copy may be theirs."""
        first = self._seen.get(content)
        return "" if first is None else "replayed" if first == peer else "copied"

    def _remember(self, content: str, peer: str) -> None:
        self._seen.setdefault(content, peer)
        if len(self._seen) > SEEN:
            self._seen.popitem(last=False)

    def _leave(self, waiting: Waiting, place: str) -> None:
        self._waiting.remove(waiting)
        with self._lock:
            book = self.books[waiting.peer]
            setattr(book, place, getattr(book, place) + 1)

    def _reject(self, peer: str, why: str) -> None:
        with self._lock:
            self.books[peer].rejected[why] += 1

    def _group(self, shared: Shared, peer: str, known: dict[str, Source], ctx: Ctx, sampler: Sampler) -> Group:
        if shared.task.key in self.held_out:
            raise Rejected("held out", shared.task.key)
        task = rebuild(shared.task, known)
        if task.id in self.held_out:
            raise Rejected("held out", task.id)
        if len(shared.rollouts) > 2 * sampler.group_size:
            raise Rejected("too long", f"{len(shared.rollouts)} rollouts")
        renderer = ctx.policies["actor"].renderer
        sampling: Sampling = getattr(sampler, "sampling", Sampling())
        most: int = getattr(sampler, "max_tokens", 1024)
        prompt = Segment("prompt", renderer.prompt(task.prompt), "0")
        author = Author(f"peer {peer}", shared.step, sampling)
        place = f"swarm/{peer}/{shared.content[:32]}"
        rollouts: list[Rollout] = []
        for number, completion in enumerate(shared.rollouts):
            segment = Segment("teacher", tokens(completion, renderer, sampling, most), f"0.{number}", author)
            stop = "finished" if completion.ended else "length"
            rollouts.append(
                Rollout((Row.of(prompt, segment),), f"{place}/{number}", stop, provenance=f"swarm {peer}", text=completion.text)
            )
        return Group(task, tuple(rollouts), FOREIGN, place)


def tokens(completion: Completion, renderer: Renderer, sampling: Sampling, most: int) -> tuple[int, ...]:
    """A foreign text in our own tokens, with the one that ends it where it ended."""
    plain = renderer.plain(completion.text)
    if plain is None:
        raise Rejected("garbage", "special tokens, or text that its tokens do not give back")
    written = renderer.reply(completion.text) if completion.ended else plain
    if len(written) > most:
        raise Rejected("too long", f"{len(written)} tokens")
    if sampling.allowed is not None and not set(written) <= set(sampling.allowed):
        raise Rejected("garbage", "tokens that are never drawn here")
    return written


def shareable(group: Group, scores: Scores, step: int, source: Source, renderer: Renderer) -> Shared | None:
    """A group as others may use it; None where its task has no address, a verdict is missing, or its text is not all there is to it."""
    where = address(group.task, source)
    verdicts = [scores.get(rollout, "outcome") for rollout in group.rollouts]
    plain = all(
        len(r.rows) == 1 and [s.kind for s in r.rows[0].segments] == ["prompt", "action"] and (r.text or r.stop in ENDED)
        for r in group.rollouts
    )
    if where is None or not plain or len(group.rollouts) < 2 or any(verdict is None for verdict in verdicts):
        return None
    if not all(readable(r.text) and renderer.plain(r.text) is not None for r in group.rollouts):
        return None
    pairs = zip(group.rollouts, verdicts, strict=True)
    return Shared(where, tuple(Completion(r.text, r.stop in ENDED, verdict or 0.0) for r, verdict in pairs), step)
