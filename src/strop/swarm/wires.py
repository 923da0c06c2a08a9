"""Wires: how bytes travel between trainers. `Room` inside one process, in order and at once; `Network` over zenoh, signed.

zenoh (Eclipse) finds peers on a local network by itself, or by an address; once two have met, each hears of the others, and nobody is
in the middle. What it does not do is to say who wrote a message, so every one is signed (Ed25519) with a key that stays in the run's
directory. A peer is called by the hash of its public key: nobody can spend, or spoil, somebody else's name.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from strop import durable
from strop.swarm.message import BYTES

MAGIC = b"strop/1\n"
KEY, SIGNATURE = 32, 64
MOST = len(MAGIC) + KEY + SIGNATURE + 16 + BYTES
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Room:
    """Trainers of one process. What one sends is with all others when `send` returns, so rounds in a fixed order are deterministic."""

    def __init__(self) -> None:
        self.doors: list[Door] = []

    def enter(self, name: str) -> Door:
        self.doors.append(Door(self, name))
        return self.doors[-1]


class Door:
    """One trainer's wire in a room; names are trusted here."""

    def __init__(self, room: Room, name: str):
        self.room, self.id, self.session = room, name, 0
        self.arrived: Callable[[str, bytes], None] = lambda peer, body: None

    def send(self, body: bytes) -> None:
        for door in self.room.doors:
            if door is not self:
                door.arrived(self.id, body)

    def listen(self, arrived: Callable[[str, bytes], None], refused: Callable[[str], None]) -> None:
        self.arrived = arrived


class Network:
    """A swarm by its name, on this machine, a local network, or wherever the addresses lead."""

    def __init__(self, name: str, directory: Path, connect: Sequence[str] = (), listen: Sequence[str] = ()):
        self._config = configured(name, connect, listen)
        self.name, self._key = name, signing_key(directory)
        self.public = self._key.public_key().public_bytes_raw()
        self.id, self.session = peer_id(self.public), later(directory)
        self.reached_at = listen
        self._zenoh: Any = None

    def __enter__(self) -> Network:
        import zenoh

        zenoh.init_log_from_env_or("error")
        try:
            self._zenoh = zenoh.open(self._config)
        except zenoh.ZError as error:
            where = f" at {', '.join(self.reached_at)}" if self.reached_at else ""
            raise ValueError(
                f"swarm {self.name!r}: cannot open{where} ({str(error).splitlines()[0][:200]}). "
                "Addresses look like tcp/192.168.1.5:7447; is that port free?"
            ) from error
        self._put = self._zenoh.declare_publisher(
            self._at(self.id), congestion_control=zenoh.CongestionControl.BLOCK, reliability=zenoh.Reliability.RELIABLE
        )
        return self

    def __exit__(self, *why: object) -> None:
        self._zenoh.close()

    def _at(self, last: str) -> str:
        return f"strop/swarm/{self.name}/{last}"

    def send(self, body: bytes) -> None:
        self._put.put(MAGIC + self.public + self._key.sign(signed(self.name, body)) + body)

    def listen(self, arrived: Callable[[str, bytes], None], refused: Callable[[str], None]) -> None:
        """Size, then signature, then the exchange: nothing is parsed before."""

        def heard(sample: Any) -> None:
            if len(sample.payload) > MOST:
                refused("oversized")
                return
            try:
                peer, body = opened(self.name, sample.payload.to_bytes())
            except ValueError as error:
                refused(str(error))
                return
            if peer != self.id:
                arrived(peer, body)

        self._subscriber = self._zenoh.declare_subscriber(self._at("*"), heard)


def configured(name: str, connect: Sequence[str], listen: Sequence[str]) -> Any:
    """zenoh's configuration, or a refusal that says what to do: all are peers, one that cannot be reached yet is tried again, and a
    message far beyond our bound never reaches Python."""
    if not NAME.fullmatch(name):
        raise ValueError(f"swarm {name!r}: a name has up to 64 letters, digits, dots, dashes or underscores")
    for module in ("zenoh", "cryptography"):
        if importlib.util.find_spec(module) is None:
            raise ModuleNotFoundError(f"--swarm needs {module}: pip install 'strop[swarm]'", name=module)
    import zenoh

    config = zenoh.Config()
    wanted: dict[str, Any] = {
        "mode": "peer",
        "connect/endpoints": list(connect),
        "connect/exit_on_failure": False,
        "connect/retry": {"period_init_ms": 200, "period_max_ms": 4000, "period_increase_factor": 2},
        "scouting/multicast/enabled": not connect,
        "transport/link/rx/max_message_size": 4 * MOST,
        **({"listen/endpoints": list(listen)} if listen else {}),
    }
    for key, value in wanted.items():
        try:
            config.insert_json5(key, json.dumps(value))
        except zenoh.ZError as error:
            raise ValueError(f"swarm {name!r}: {key} cannot be {value}. Addresses look like tcp/192.168.1.5:7447.") from error
    return config


def peer_id(public: bytes) -> str:
    return hashlib.sha256(public).hexdigest()[:16]


def signed(name: str, body: bytes) -> bytes:
    """What a signature is of: a message of one swarm is none of another."""
    return MAGIC + name.encode() + b"\n" + body


def opened(name: str, data: bytes) -> tuple[str, bytes]:
    """(who signed it, what), or a ValueError that says `malformed` or `forged`."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    start = len(MAGIC) + KEY + SIGNATURE
    if len(data) < start or not data.startswith(MAGIC):
        raise ValueError("malformed")
    public, signature, body = data[len(MAGIC) :][:KEY], data[len(MAGIC) + KEY : start], data[start:]
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, signed(name, body))
    except (InvalidSignature, ValueError) as error:
        raise ValueError("forged") from error
    return peer_id(public), body


def later(directory: Path) -> int:
    """The clock, or past this run's last session where the clock was set back: else others would call all that it sends stale."""
    path = directory / "swarm.session"
    last = int(path.read_text()) if path.exists() else 0
    durable.write(path, str(now := max(time.time_ns(), last + 1)).encode())
    return now


def signing_key(directory: Path) -> Any:
    """This run's own, made once and readable by its owner alone: a run that is resumed is the same peer."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    path = directory / "swarm.key"
    if not path.exists():
        beside = path.with_suffix(".part")
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(os.urandom(KEY))
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    return Ed25519PrivateKey.from_private_bytes(path.read_bytes()[:KEY])
