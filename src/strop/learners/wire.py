"""Commands as bytes: JSON for what is plain, tensors beside it in safetensors' format. Nothing here can run code when it is read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from strop.batch import Batch, Packed
from strop.records import Sampling
from strop.seams.index import Index
from strop.seams.layout import Piece


def encode(command: str, arguments: Sequence[Any]) -> bytes:
    tensors: dict[str, Tensor] = {}
    text = json.dumps([command, [_plain(value, tensors) for value in arguments]])
    return len(text.encode()).to_bytes(8, "little") + text.encode() + save(tensors)


def decode(data: bytes) -> tuple[str, list[Any]]:
    end = 8 + int.from_bytes(data[:8], "little")
    command, arguments = json.loads(data[8:end])
    tensors = load(data[end:])
    return command, [_real(value, tensors) for value in arguments]


def _plain(value: Any, tensors: dict[str, Tensor]) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if isinstance(value, tuple | frozenset):
        return {type(value).__name__: [_plain(item, tensors) for item in value]}
    if isinstance(value, Path):
        return {"path": str(value.resolve())}
    if isinstance(value, Batch):
        return {"batch": {name: _plain(held, tensors) for name, held in _fields(value).items()}}
    if isinstance(value, dict):
        return {"dict": {name: _plain(held, tensors) for name, held in value.items()}}
    raise TypeError(f"no rank can be told of a {type(value).__name__}")


def _real(value: Any, tensors: dict[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, held),) = value.items()
    if kind == "tensor":
        return tensors[held]
    if kind in ("tuple", "frozenset"):
        return {"tuple": tuple, "frozenset": frozenset}[kind](_real(item, tensors) for item in held)
    if kind == "path":
        return Path(held)
    read = {name: _real(item, tensors) for name, item in held.items()}
    return _batch(read) if kind == "batch" else read


def _fields(batch: Batch) -> dict[str, Any]:
    rest = {name: value for name, value in vars(batch).items() if name not in ("rows", "index", "samplings", "labels")}
    return {
        **rest,
        "rows": tuple((row.tokens, row.at, tuple(tuple(piece) for piece in row.pieces)) for row in batch.rows),
        "index": tuple(vars(batch.index).values()),
        "samplings": json.dumps([sampling.to_json() for sampling in batch.samplings]),
        "labels": dict(batch.labels),
    }


def _batch(held: dict[str, Any]) -> Batch:
    samplings = tuple(Sampling.from_json(sampling) for sampling in json.loads(held["samplings"]))
    rows = tuple(Packed(tokens, at, tuple(Piece(*piece) for piece in pieces)) for tokens, at, pieces in held["rows"])
    return Batch(**{**held, "rows": rows, "index": Index(*held["index"]), "samplings": samplings})
