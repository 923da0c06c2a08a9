"""Four trackers. Each is a library's own interface, and the answer to which steps it has."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from strop.tracking.lines import Entry, Tracker

PROJECT = "strop"


class TensorBoard:
    """Event files in the run's directory, one for each of its lives. A step is one event, and a torn event is none."""

    def __init__(self, run: Path, settled: Mapping[str, Any], about: Mapping[str, Any]):
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self.place, self.about = run / "tensorboard", about
        self.there = self._read()
        self.writer = EventFileWriter(str(self.place))

    def has(self) -> set[int]:
        return set(self.there)

    def _read(self) -> set[int]:
        from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

        files = sorted(self.place.glob("*tfevents*"))
        return {event.step for file in files for event in EventFileLoader(str(file)).Load() if event.summary.value}

    def log(self, entry: Entry) -> None:
        summary = _proto("summary")
        values = [summary.Summary.Value(tag=name, simple_value=value) for name, value in entry.values.items()]
        if not entry.step:
            text = "\n".join(f"    {name} = {value}" for name, value in self.about.items())  # indented: markdown shows it as it is
            shown = summary.SummaryMetadata(plugin_data=summary.SummaryMetadata.PluginData(plugin_name="text"))
            tensor = _proto("tensor").TensorProto(dtype=_proto("types").DT_STRING, string_val=[text.encode()])
            values.append(summary.Summary.Value(tag="recipe", metadata=shown, tensor=tensor))
        event = _proto("event").Event(step=entry.step, wall_time=entry.at, summary=summary.Summary(value=values))
        self.writer.add_event(event)
        self.writer.flush()

    def close(self, done: bool) -> None:
        self.writer.close()


def _proto(name: str) -> Any:
    return import_module(f"tensorboard.compat.proto.{name}_pb2")


class WandB:
    """Offline unless WANDB_MODE says otherwise. Offline files cannot be added to, so a resumed run writes its own again, whole, in place of
    the earlier one: there is one to send, with each step once. Online the server says how far it is."""

    def __init__(self, run: Path, settled: Mapping[str, Any], about: Mapping[str, Any]):
        import wandb  # pyright: ignore[reportMissingImports]

        mode: Any = os.environ.get("WANDB_MODE", "offline")
        for earlier in (run / "wandb").glob(f"offline-run-*-{settled['id']}"):
            shutil.rmtree(earlier)
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=settled["id"],
            name=run.resolve().name,
            dir=run,
            config=dict(about),
            mode=mode,
            resume=None if mode == "offline" else "allow",
            settings=wandb.Settings(console="off", silent=True, disable_git=True, disable_code=True, x_disable_stats=True),
        )

    def has(self) -> set[int]:
        return set(range(self.run.step))

    def log(self, entry: Entry) -> None:
        self.run.log({**entry.values, "_timestamp": entry.at}, step=entry.step, commit=True)

    def close(self, done: bool) -> None:
        self.run.finish(exit_code=0 if done else 1)


class Trackio:
    """A local file of trackio's own, or the Space or server that TRACKIO_SPACE_ID or TRACKIO_SERVER_URL names."""

    def __init__(self, run: Path, settled: Mapping[str, Any], about: Mapping[str, Any]):
        import trackio  # pyright: ignore[reportMissingImports]

        name = f"{run.resolve().name}-{settled['id'][:6]}"  # it finds a run again by its name
        self.run = trackio.init(PROJECT, name, config=dict(about), resume="allow", embed=False, auto_log_gpu=False, auto_log_cpu=False)
        self.logged = set[int]()

    def has(self) -> set[int]:
        from trackio.sqlite_storage import SQLiteStorage  # pyright: ignore[reportMissingImports]

        if not self.run._is_local:
            return set(range(self.run._next_step))
        return {line["step"] for line in SQLiteStorage.get_logs(PROJECT, self.run.name, run_id=self.run.id)}

    def log(self, entry: Entry) -> None:
        self.run.log(dict(entry.values), step=entry.step)
        self.logged.add(entry.step)

    def close(self, done: bool) -> None:
        self.run.finish()
        if self.run._is_local and (lost := self.logged - self.has()):  # it warns where it cannot write, and goes on
            raise OSError(f"trackio did not keep {len(lost)} steps")


class MLflow:
    """The server that MLFLOW_TRACKING_URI names, else a file beside where the run began. A step is one batch."""

    def __init__(self, run: Path, settled: Mapping[str, Any], about: Mapping[str, Any]):
        from mlflow import MlflowClient  # pyright: ignore[reportMissingImports]
        from mlflow.entities import Param  # pyright: ignore[reportMissingImports]
        from mlflow.exceptions import MlflowException  # pyright: ignore[reportMissingImports]

        self.client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or settled["mlflow"])
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        try:
            experiment = self.client.create_experiment(name)
        except MlflowException:
            found = self.client.get_experiment_by_name(name)
            if found is None:
                raise
            experiment = found.experiment_id
        earlier = self.client.search_runs([experiment], f"tags.`strop.run` = '{settled['id']}'")
        made = earlier[0] if earlier else self.client.create_run(experiment, tags={"strop.run": settled["id"]}, run_name=run.resolve().name)
        self.id = made.info.run_id
        self.client.update_run(self.id, status="RUNNING")
        known = made.data.params
        self.client.log_batch(self.id, params=[Param(named(k), str(v)[:500]) for k, v in about.items() if named(k) not in known])

    def has(self) -> set[int]:
        return {point.step for point in self.client.get_metric_history(self.id, "step")}

    def log(self, entry: Entry) -> None:
        from mlflow.entities import Metric  # pyright: ignore[reportMissingImports]

        values, at = {**entry.values, "step": float(entry.step)}, round(entry.at * 1000)
        self.client.log_batch(self.id, metrics=[Metric(named(name), value, at, entry.step) for name, value in values.items()])

    def close(self, done: bool) -> None:
        self.client.set_terminated(self.id, "FINISHED" if done else "KILLED")


def named(name: str) -> str:
    """As MLflow allows: pass@1 is pass_at_1."""
    return re.sub(r"[^\w\-. :/]", "_", name.replace("@", "_at_"))


TRACKERS: Mapping[str, Callable[[Path, Mapping[str, Any], Mapping[str, Any]], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WandB,
    "trackio": Trackio,
    "mlflow": MLflow,
}
