"""What a tracker has of a run: {step: {metric: value}}, by the library's own reader; a step that is there twice is an error."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path


def read(kind: str, run: Path, store: Path, names: list[str]) -> dict[str, list[tuple[int, float]]]:
    """Of each metric the points (step, value), as often as they are there."""
    return {"tensorboard": tensorboard, "wandb": wandb, "trackio": trackio, "mlflow": mlflow}[kind](run, store, names)


def about(run: Path) -> dict:
    return json.loads((run / "track" / "about.json").read_text())


def tensorboard(run: Path, store: Path, names: list[str]) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    found.Reload()
    return {name: [(point.step, point.value) for point in found.Scalars(name)] for name in names}


def mlflow(run: Path, store: Path, names: list[str]) -> dict[str, list[tuple[int, float]]]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{store}/mlflow.db")
    experiment = client.get_experiment_by_name("strop")
    (found,) = client.search_runs([experiment.experiment_id], f"tags.`strop.run` = '{about(run)['id']}'")
    history = {name: client.get_metric_history(found.info.run_id, name.replace("@", "_at_")) for name in names}
    return {name: [(point.step, point.value) for point in points] for name, points in history.items()}


def trackio(run: Path, store: Path, names: list[str]) -> dict[str, list[tuple[int, float]]]:
    code = (
        "import json, sys\nfrom trackio.sqlite_storage import SQLiteStorage\n"
        "print(json.dumps([{k: v for k, v in line.items() if k != 'timestamp'} for line in SQLiteStorage.get_logs('strop', sys.argv[1])]))"
    )
    name = f"{run.name}-{about(run)['id'][:6]}"
    said = subprocess.run([sys.executable, "-c", code, name], capture_output=True, text=True, check=True, timeout=120)
    lines = json.loads(said.stdout)
    return {name: [(line["step"], line[name]) for line in lines if name in line] for name in names}


def wandb(run: Path, store: Path, names: list[str]) -> dict[str, list[tuple[int, float]]]:
    """Of every offline file that `wandb sync` would send."""
    rows = [row for file in (run / "wandb").glob("offline-run-*/*.wandb") for row in _wandb_rows(file)]
    return {name: [(int(row["_step"]), row[name]) for row in rows if name in row] for name in names}


def _wandb_rows(file: Path) -> Iterator[dict]:
    """History rows: wandb's own records; around them a log of LevelDB's form (wandb's reader of it is no Python)."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, whole = file.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            record = Record.FromString(whole)
            whole = b""
            if record.WhichOneof("record_type") == "history":
                items = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
                yield {"_step": record.history.step.num, **items}
