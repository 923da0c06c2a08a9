"""Ranks that torchrun started: `torchrun --nproc-per-node 2 -m strop train …`. Rank 0 is the driver and a rank; the others follow.

Every process is given the same command line, so each makes the same recipe and loads the model itself. From then on rank 0 says what is
done: it broadcasts each command, and all ranks do it. Whoever fails ends its process, and torchrun ends the others.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from strop.learners import wire
from strop.learners.rank import Rank, Ranks
from strop.method import Method
from strop.recipe import Recipe

MEETING = timedelta(minutes=10)
"""The longest that one rank waits for another inside a command."""
STEP = timedelta(days=2)
"""The longest that the others wait for rank 0's next command: it samples and grades meanwhile."""
COMMANDS = ("evaluate", "backward", "clip", "apply", "weights", "state", "restore")


class Session:
    """The processes of one torchrun, connected."""

    def __init__(self, device: str):
        cuda = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
        if cuda:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=MEETING)
        self.mesh: DeviceMesh = init_device_mesh("cuda" if cuda else "cpu", (dist.get_world_size(),))
        self.commands: Any = dist.new_group(backend="gloo", timeout=STEP)
        self.rank: Rank | None = None
        self.inside = False
        """A command is being done. If it fails here, the others are still in it and hear no further one."""

    def learner(self, policy: Any, method: Method, recipe: Recipe) -> Ranks:
        """On rank 0: the learner of the run."""
        self.rank = Rank(recipe, method, self.mesh)
        return Ranks(policy, method, recipe, self.call)

    def call(self, command: str, *arguments: Any) -> Any:
        self.inside = True
        self._broadcast(wire.encode(command, arguments))
        answer = getattr(self.rank, command)(*arguments)
        self.inside = False
        return answer

    def follow(self, recipe: Recipe) -> None:
        """On the other ranks: do as rank 0 says, until it says no more."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is rank 0's to answer
        self.rank = Rank(recipe, recipe.resolved(), self.mesh)
        while data := self._broadcast(b""):
            command, arguments = wire.decode(data)
            if command not in COMMANDS:
                raise ValueError(f"rank {dist.get_rank()} was told {command!r}, which is no command")
            getattr(self.rank, command)(*arguments)

    def end(self) -> None:
        if dist.get_rank() == 0 and not self.inside:
            self._broadcast(b"")
        if not self.inside:
            dist.destroy_process_group()

    def _broadcast(self, data: bytes) -> bytes:
        """Rank 0's bytes, to everybody."""
        size = torch.tensor(len(data))
        dist.broadcast(size, 0, group=self.commands)
        body = torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.empty(int(size), dtype=torch.uint8)
        if size:
            dist.broadcast(body, 0, group=self.commands)
        return body.numpy().tobytes()


@contextmanager
def session(device: str) -> Iterator[Session]:
    made = Session(device)
    try:
        yield made
    finally:
        made.end()
