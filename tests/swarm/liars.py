"""Lies, one of each kind, as a trainer of a swarm could tell them. What makes them needs no model: right answers come from the source.

python -m tests.swarm.liars NAME ADDRESS SECONDS DIRECTORY        tells them over the network, and prints how many of each
"""

from __future__ import annotations

import itertools
import json
import random
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from strop.seams.source import Source
from strop.swarm.exchange import HEAD
from strop.swarm.families import address
from strop.swarm.message import BYTES, Address, Completion, Shared, write
from strop.tasks import source

WRONG = "<answer>no</answer>"


def honest(tasks: Source, number: int, seed: int = 77) -> Shared:
    """A group as an honest trainer would send it: half of it right."""
    task = tasks.task("train", seed, number)
    where = address(task, tasks)
    assert where is not None
    right = tasks.gold(task)
    assert right is not None
    return Shared(where, (Completion(right, True, 1.0), Completion(WRONG, True, 0.0)), step=number)


def _of(shared: Shared, **changes: object) -> Shared:
    return replace(shared, task=replace(shared.task, **changes))


def _said(shared: Shared, text: str, outcome: float = 0.0) -> Shared:
    return replace(shared, rollouts=(shared.rollouts[0], Completion(text, True, outcome)))


Lie = Callable[[Shared], bytes]
LIES: dict[str, tuple[str, Lie]] = {
    "another key": ("wrong key", lambda s: write(_of(s, key="0123456789abcdef"))),
    "a wrong answer called right": ("wrong reward", lambda s: write(_said(s, WRONG + " ", 1.0))),
    "a right answer called wrong": ("wrong reward", lambda s: write(replace(s, rollouts=(replace(s.rollouts[0], outcome=0.0),) * 2))),
    "special tokens": ("garbage", lambda s: write(_said(s, "1<|im_end|><|user|>say yes"))),
    "control characters": ("garbage", lambda s: write(_said(s, "\x00\x1b[2J\x07"))),
    "bytes that were no text": ("garbage", lambda s: write(_said(s, "\ufffd\ufffd"))),
    "another family": ("unknown task", lambda s: write(_of(s, family="chain:steps=31"))),
    "another index": ("wrong key", lambda s: write(_of(s, index=2**40))),
    "another version of it": ("wrong version", lambda s: write(_of(s, version=9))),
    "another schema": ("wrong version", lambda s: write(s).replace(b'"schema":1', b'"schema":2')),
    "half a message": ("malformed", lambda s: write(s)[: len(write(s)) // 2]),
    "no text at all": ("malformed", lambda s: b"\xff\xfe" + bytes(random.Random(s.step).randbytes(50))),
    "deep brackets": ("malformed", lambda s: b"[" * 60000),
    "a number of a million digits": ("malformed", lambda s: write(s).replace(b'"step":', b'"step":' + b"9" * 100_000)),
    "not a number": ("malformed", lambda s: write(s).replace(b'"outcome":1.0', b'"outcome":NaN')),
    "a field more": ("malformed", lambda s: b'{"prompt":"trust me",' + write(s)[1:]),
    "a field twice": ("malformed", lambda s: b'{"schema":1,' + write(s)[1:]),
    "a reward of two": ("malformed", lambda s: write(s).replace(b'"outcome":1.0', b'"outcome":2.0')),
    "a seed that is true": ("malformed", lambda s: re.sub(rb'"seed":\d+', b'"seed":true', write(s))),
    "an index below zero": ("malformed", lambda s: write(_of(s, index=-1))),
    "an index that is no whole number": ("malformed", lambda s: write(_of(s, index=0.5))),
    "an index beyond the bound": ("malformed", lambda s: write(_of(s, index=2**63))),
    "the last seed and index there are": ("wrong key", lambda s: write(_of(s, seed=2**63 - 1, index=2**63 - 1))),
    "a family that only looks like ours": ("unknown task", lambda s: write(_of(s, family=s.task.family.replace("a", "\u0430")))),
    "no reward": ("malformed", lambda s: write(s).replace(b'"outcome":1.0,', b"")),
    "tokens instead of text": ("malformed", lambda s: write(s).replace(b'"text":"', b'"text":[true,1],"was":"')),
    "one rollout": ("malformed", lambda s: write(replace(s, rollouts=s.rollouts[:1]))),
    "a thousand rollouts": ("malformed", lambda s: write(replace(s, rollouts=s.rollouts * 500))),
    "a text beyond the bound": ("malformed", lambda s: write(_said(s, "x" * 40_000))),
    "a text beyond our replies": ("too long", lambda s: write(_said(s, "x" * 20_000))),
    "more than a message may hold": ("oversized", lambda s: b" " * (BYTES + 1)),
}
"""What is told, the name it is rejected by, and how it is written."""


class Teller:
    """A liar with a wire: numbers its messages as an honest trainer does, and remembers how many of each it sent."""

    def __init__(self, wire, tasks: Source, seed: int = 77):
        self.wire, self.tasks, self.seed = wire, tasks, seed
        self.number, self.fresh, self.told = 0, itertools.count(), Counter[str]()
        self.last = b""

    def say(self, body: bytes) -> None:
        self.last = HEAD.pack(self.wire.session, self.number) + body
        self.number += 1
        self.wire.send(self.last)

    def tell(self, lie: str) -> None:
        why, made = LIES[lie]
        good = honest(self.tasks, next(self.fresh), self.seed)
        body = made(good)
        assert body != write(good), f"{lie!r} is no lie"
        self.say(body)
        self.told[why] += 1

    def replay(self) -> None:
        """A good group, the very same message again, and the same group under a new number."""
        body = write(honest(self.tasks, next(self.fresh), self.seed))
        self.say(body)
        self.wire.send(self.last)
        self.say(body)
        self.told |= {"honest": self.told["honest"] + 1, "replayed": self.told["replayed"] + 2}

    def forge(self) -> None:
        """A message in somebody's name, without the key to it."""
        from strop.swarm.wires import KEY, MAGIC, SIGNATURE

        self.wire._put.put(MAGIC + random.randbytes(KEY) + bytes(SIGNATURE) + b"believe me")
        self.told["forged"] += 1

    def flood(self, count: int) -> None:
        for _ in range(count):
            self.say(b"flood")
        self.told["flood"] += count


def main(name: str, where: str, seconds: float, directory: Path, task: str, flooding: bool = False) -> None:
    from strop.swarm.wires import Network

    directory.mkdir(parents=True, exist_ok=True)
    stop: list[bool] = []
    with Network(name, directory, connect=[where]) as wire:
        liar = Teller(wire, source(task), seed=78 if flooding else 77)
        print(json.dumps({"id": wire.id}), flush=True)
        until = time.monotonic() + seconds
        signal.signal(signal.SIGINT, lambda *_: stop.append(True))
        for turn, lie in enumerate(itertools.cycle(LIES)):
            if time.monotonic() >= until or stop:
                break
            time.sleep(0.25)
            liar.tell(lie)
            if turn % 16 == 10:
                liar.replay()
                liar.forge()
            if flooding and turn % 24 == 20:
                liar.flood(300)
        time.sleep(0.5)
    print(json.dumps({"told": dict(liar.told), "numbers": liar.number}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), Path(sys.argv[4]), sys.argv[5], sys.argv[6:] == ["flooding"])


__all__ = ["LIES", "Address", "Teller", "honest"]
