"""A run's directory: what stands in it, read and checked.

recipe.json      what was asked for, with fingerprints and versions
own/             the user's files that its method and its source are made of, by hash
metrics.jsonl    one line a step: the source of truth
groups/          one file a step, written before the update: tokens, log-probabilities, scores, fates, states
checkpoints/     Hugging Face format, with optimiser, heads and the state of every part, under one hash; in policies/NAME/ the same of a
                 policy that is trained beside the actor
eval/            held-out results before and after
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, cast

import torch
from torch import Tensor

from strop import __version__, durable, own, shape
from strop.method import Method
from strop.methods import known
from strop.policies import gguf
from strop.recipe import Recipe
from strop.records import Group, Scores, canonical
from strop.seams.part import nearest
from strop.seams.policy import Policy
from strop.tasks import place_of

KEEP_CHECKPOINTS = 2
PROGRAM = "program.json"
"""In the directory of a program: what it is, and which of its stages are done."""
HANDED = "initial"
"""There: the weights of policies that were handed over and are no recipe's model."""
BEFORE = ("own", HANDED, "recipe.json.part", f"{PROGRAM}.part")
"""What is written before a run or a program stands."""


class RunError(ValueError):
    """A run directory that cannot be used, and what to do about it."""


@dataclass(frozen=True)
class Recording:
    """A run whose committed groups another one learns from, instead of sampling its own."""

    directory: Path
    steps: int
    foreign: bool = False
    """Another method moved the weights that drew them, so the learner's own log-probabilities are measured."""


def locked(directory: Path) -> durable.Lock:
    """Held while a run writes there: a killed process leaves nothing behind."""
    try:
        return durable.locked(directory)
    except OSError as error:
        raise RunError(f"another process is training in {directory}. Wait for it, stop it, or name another place: --out DIR.") from error


def make(directory: Path, folders: Sequence[str]) -> durable.Lock:
    """A new one, or refused where something stands already."""
    if directory.is_file() or any(_stands(directory, p) for p in directory.rglob("*")):
        raise RunError(f"{directory} exists already. Go on with it: strop train --resume {directory}. Or name another: --out DIR.")
    try:
        for name in folders:
            (directory / name).mkdir(parents=True, exist_ok=True)
        durable.sync_directory(directory)
    except OSError as error:
        raise RunError(f"cannot write to {directory}: {error.strerror}. Choose another place with --out DIR.") from error
    return locked(directory)


FOLDERS = ("", "groups", "checkpoints", "eval")
"""Of a run's directory."""


@contextmanager
def beginning(directory: Path, folders: Sequence[str] = FOLDERS) -> Iterator[durable.Lock]:
    """A new directory, until it says what it holds: what fails before that leaves nothing there."""
    there = directory.exists()
    lock = make(directory, folders)
    try:
        yield lock
    except BaseException:
        if not any(_stands(directory, path) for path in directory.rglob("*")):
            for name in {*folders, *BEFORE} - {""}:
                shutil.rmtree(directory / name, ignore_errors=True)
            with suppress(OSError):
                if not there:
                    directory.rmdir()
        raise


def _stands(directory: Path, path: Path) -> bool:
    """Not so folders, and what is written before recipe.json or program.json stands: of a run that was killed there, which never began."""
    return not path.is_dir() and path.relative_to(directory).parts[0] not in BEFORE


def read_about(directory: Path) -> dict[str, Any]:
    """What recipe.json says."""
    if not (directory / "recipe.json").exists():
        if (directory / PROGRAM).exists():
            places = ", ".join(str(place) for place in stages(directory))
            raise RunError(f"{directory} holds a program, and one run is asked for. The runs of its stages: {places or 'none yet'}.")
        raise RunError(f"{directory} holds no run (no recipe.json). `strop runs` lists the runs there are.")
    return shape.read(directory / "recipe.json", shape.ABOUT)


def read_program(directory: Path) -> dict[str, Any]:
    """What program.json says."""
    if not (directory / PROGRAM).exists():
        raise RunError(f"{directory} holds no program ({PROGRAM}).")
    return shape.read(directory / PROGRAM, shape.WHOLE)


def read_result(directory: Path) -> dict[str, Any]:
    """What a run ended with; empty where it is not over."""
    path = directory / "result.json"
    return shape.read(path, shape.RESULT) if path.exists() else {}


def stages(directory: Path) -> list[Path]:
    """The runs of a program's stages that were begun, in order."""
    found = [place for place in directory.iterdir() if place.name.partition("-")[0].isdigit() and (place / "recipe.json").exists()]
    return sorted(found, key=lambda place: int(place.name.partition("-")[0]))


def runs(directory: Path) -> list[Path]:
    """The directories of runs in which the steps of a run, or of a program's stages, stand."""
    return stages(directory) if (directory / PROGRAM).exists() else [directory]


def last(directory: Path) -> Path:
    """The run whose weights are the latest: itself; of a program its last stage that was begun."""
    found = runs(directory)
    if not found:
        raise RunError(f"{directory} holds a program of which no stage was begun. Go on with it: strop train --resume {directory}")
    return found[-1]


def read_recipe(directory: Path, method: Method | None = None) -> tuple[dict[str, Any], Recipe]:
    """What recipe.json says, and the recipe in it."""
    about = read_about(directory)
    try:
        recipe = Recipe(**{**about["recipe"], "task": task_of(directory, about)})
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise RunError(f"{directory / 'recipe.json'} cannot be read: {error}") from error
    if model := about.get("stage", {}).get("model"):
        recipe = recipe.but(model=str(directory.parent / model))  # wherever the program lies now
    if method is not None:
        recipe = recipe.but(method=method)
    elif "asked" in about or not known(str(recipe.method)):
        raise RunError(
            f"{directory} was made by {recipe.method!r}, which is no name of strop's. `strop train --resume {directory}` rebuilds it from "
            "what the run kept, as `saved.brought(directory)` does for `resume(directory, **brought)`."
        )
    return about, recipe


# The user's files.


def keep(directory: Path, files: Mapping[Path, Mapping[str, Path]]) -> list[dict[str, Any]]:
    """Copies of the user's files under own/, and what recipe.json says of them: the folder they came from and their hashes."""
    said: list[dict[str, Any]] = []
    for number, (folder, held) in enumerate(files.items()):
        place = directory / "own" / str(number)
        for name, file in held.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place / name)
        said.append({"folder": str(folder), "kept": f"own/{number}", "sha256": own.hashes(held)})
    return said


def opened(directory: Path, about: Mapping[str, Any]) -> dict[str, Path]:
    """{folder they came from: where they are read} of the user's files: there, if they are what they were, else as the run kept them."""
    found: dict[str, Path] = {}
    for entry in about.get("files", ()):
        folder, kept = Path(entry["folder"]), directory / entry["kept"]
        there = {name: folder / name for name in entry["sha256"]}
        if all(file.is_file() for file in there.values()) and own.hashes(there) == entry["sha256"]:
            found[entry["folder"]] = folder
            continue
        for name, was in entry["sha256"].items():
            if not (kept / name).is_file() or own.hashes({name: kept / name})[name] != was:
                raise RunError(f"{kept / name} is not the file that the run kept (sha256 {was[:12]}…). Put the old file back.")
        found[entry["folder"]] = kept
    return found


def modules(directory: Path, about: Mapping[str, Any]) -> list[ModuleType]:
    """The user's files, loaded."""
    places = opened(directory, about)
    return [module for entry in about.get("files", ()) for module in own.modules(places[entry["folder"]], entry["sha256"])]


def changed_since(directory: Path, about: Mapping[str, Any]) -> list[str]:
    """The user's files that are no longer what they were when the run began; it goes on with those it kept."""
    entries = [(Path(entry["folder"]), name, was) for entry in about.get("files", ()) for name, was in entry["sha256"].items()]
    return [str(f / name) for f, name, was in entries if (f / name).is_file() and own.hashes({name: f / name})[name] != was]


def task_of(directory: Path, about: Mapping[str, Any]) -> str:
    """The recipe's task; where it is a place, that of the file as the run reads it."""
    task = about["recipe"].get("task", "")
    where = place_of(task) if isinstance(task, str) else None
    if where is None:
        return task
    folders = [f for f in opened(directory, about).items() if where.file.is_relative_to(f[0])]
    return str(where.at(folders[0][1] / where.file.relative_to(folders[0][0]))) if folders else task


def write_about(directory: Path, about: Mapping[str, Any]) -> None:
    durable.write(directory / "recipe.json", (json.dumps(about, indent=2, sort_keys=True) + "\n").encode())


def check_method(directory: Path, about: Mapping[str, Any], method: Method) -> None:
    """The method that a run was made by is the one its recipe gives today."""
    if method.fingerprint != about["fingerprint"]["method"]:
        if odd := _other_bodies(about.get("resolved", {}).get("parts"), method.describe()):
            steps = len(read_metrics(directory))
            raise RunError(
                f"your file changed since step {steps} of {directory}: {' and '.join(odd)} computes something else now. Put the file "
                f"back ({directory / 'recipe.py'}), or start a new run."
            )
        raise RunError(
            f"{directory} was made by method {about['fingerprint']['method']}, but this version of strop builds {method.fingerprint} "
            "from the same recipe. Resume it with the version named in its recipe.json, or start a new run."
        )


def _other_bodies(was: Any, now: Any) -> list[str]:
    """The user's own parts, by name, that stand where they stood and have another body."""
    if isinstance(was, dict) and isinstance(now, dict):
        old, new = cast(dict[str, Any], was), cast(dict[str, Any], now)
        if "body" in old and "part" in old and old["part"] == new.get("part") and old["body"] != new.get("body"):
            return [str(old["part"]).rpartition(".")[2]]
        return list(dict.fromkeys(name for key in old if key in new for name in _other_bodies(old[key], new[key])))
    if isinstance(was, list) and isinstance(now, list):
        pairs = zip(cast(list[Any], was), cast(list[Any], now), strict=False)
        return list(dict.fromkeys(name for a, b in pairs for name in _other_bodies(a, b)))
    return []


def check_policy(directory: Path, about: Mapping[str, Any]) -> None:
    """The run's policy can be made again from what stands there: it is a language model's, and nobody handed it over."""
    if was := about.get("policy"):
        raise RunError(
            f"{directory} trained a policy of its own kind ({was}) that was handed to it, as a claim's world does, so no command can make "
            "it again. Whoever made it goes on with it: strop claim run CLAIM, or strop.run.resume(directory, policy=…)."
        )


def check_data(directory: Path, about: Mapping[str, Any]) -> None:
    """The files a run draws and starts from are the ones it began with, byte for byte."""
    files: dict[str, str] = {**about.get("data", {}).get("files", {})}
    if "gguf" in about:
        model = about["recipe"]["model"]
        files[str(gguf.file_of(Path(model)) or model)] = about["gguf"]["sha256"]
    for name, was in files.items():
        if not Path(name).is_file():
            raise RunError(f"{directory} reads {name}, which is gone. Put the file back.")
        if (now := durable.hash_of(Path(name))) != was:
            raise RunError(
                f"{directory} reads {name}, which has changed since the run began: its sha256 was {was[:12]}… and is {now[:12]}…. "
                "Put the old file back, or start a new run."
            )


def check_recipe(directory: Path, about: Mapping[str, Any], recipe: Recipe) -> None:
    """What recipe.json asks for is what it asked for when the run began."""
    recipe = recipe.but(model=about["recipe"]["model"])
    if "files" not in about or recipe.fingerprint == about["fingerprint"]["recipe"]:  # earlier versions told own tasks apart by no content
        return
    now, was = recipe.describe(), about["resolved"]
    odd = [
        f"{name} is {now[name]!r} and was {was.get(name)!r}"
        for name in now
        if name not in ("method", "parts") and now[name] != was.get(name)
    ]
    raise RunError(
        f"{directory / 'recipe.json'} was changed since the run began: {'; '.join(odd) or 'its fingerprint is another'}. Put the old "
        "value back, or start a new run."
    )


def check_lines(directory: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """The lines that are kept are those of steps 0, 1, …, once each."""
    for number, line in enumerate(lines):
        if line.get("step") != number:
            raise RunError(
                f"{directory / 'metrics.jsonl'}: line {number + 1} is of step {line.get('step')}, and step {number} is due there. "
                f"Cut it off after line {number}: what follows is computed again."
            )


def drew_itself(about: Mapping[str, Any]) -> bool:
    """Of what recipe.json says: did the run learn from rollouts that its own weights and arithmetic drew?"""
    return about.get("own", not about.get("replay", {}).get("foreign"))


def as_threaded(directory: Path) -> None:
    """Compute with as many threads as the run did: sums over another number of threads have other bits."""
    torch.set_num_threads(read_about(directory)["threads"])


def recorded_steps(directory: Path) -> int:
    """How many steps from the first on are committed."""
    step = 0
    while commit_path(directory, step).exists():
        step += 1
    return step


def commit_path(directory: Path, step: int) -> Path:
    return directory / "groups" / f"{step:06d}.json.gz"


def read_commit(directory: Path, step: int) -> dict[str, Any] | None:
    """What a step committed; None where it committed nothing."""
    path = commit_path(directory, step)
    if not path.exists():
        return None
    try:
        record = shape.read(path, shape.COMMIT)
        for group in record["groups"]:
            Group.from_json(group)
    except ValueError as error:
        raise RunError(f"{path} is damaged ({error}). Delete it and what follows it to sample these steps again.") from error
    if record["step"] != step:
        raise RunError(f"{path} holds step {record['step']}: it was moved. Put it back under its own name.")
    return record


def digest_of(body: str) -> str:
    """Of what a step committed, as it stands on its metrics line."""
    return hashlib.sha256(body.encode()).hexdigest()[:16]


def committed(directory: Path) -> Iterator[dict[str, Any]]:
    """What each step of a run learned from, held to the digest on its line."""
    for line in read_metrics(directory):
        path, record = commit_path(directory, line["step"]), read_commit(directory, line["step"])
        if record is None:
            raise RunError(f"{path} is gone, and its step was learned from. Put it back.")
        if digest_of(canonical({name: record[name] for name in ("groups", "scores", "fates", "rewards")})) != line["digest"]["groups"]:
            raise RunError(f"{path} was changed since its step was learned from. Put the old file back.")
        yield record


def sampled(*directories: Path) -> tuple[list[Group], Scores]:
    """All that a run's steps committed. Ids say the step, since a task may come again; of several runs also whose."""
    groups, values, spans = list[Group](), dict[str, Any](), dict[str, Any]()
    for directory in directories:
        for record in committed(directory):
            made, known = as_earlier(record)
            if len(directories) > 1:
                known = known.under({f"{directory.name}/{unit}": unit for unit in known.values})
                made = [group.within(directory.name) for group in made]
            groups += made
            values |= known.values
            spans |= known.spans
    return groups, Scores(values, spans=spans)


def as_earlier(record: Mapping[str, Any]) -> tuple[list[Group], Scores]:
    """What a step committed, under ids that say the step."""
    known = Scores.from_json(record["scores"])
    groups = [Group.from_json(group).within(str(record["step"])) for group in record["groups"]]
    return groups, known.under({f"{record['step']}/{unit}": unit for unit in known.values})


Kept = tuple[Policy, Mapping[str, Tensor]]
"""A policy and its optimiser."""


def checkpoint(
    directory: Path,
    actor: Kept,
    state: Mapping[str, Any],
    beside: Mapping[str, Kept] = MappingProxyType({}),
    memory: tuple[Mapping[str, Any], Mapping[str, Tensor]] | None = None,
) -> Path:
    """Another one beside the last, as a directory any Hugging Face library can load, with what it takes to go on."""
    final = directory / "checkpoints" / f"{state['step']:06d}"
    new = final.with_name(final.name + ".part")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    durable.point("write")
    _write(new, *actor)
    for name, kept in beside.items():
        _write(place_beside(new, name), *kept)
    if memory is not None:
        _keep_memory(new, *memory)
    (new / "state.json").write_text(canonical(state))
    durable.point("write")
    durable.seal(new)
    durable.publish(new, final)
    for old in sorted(p for p in final.parent.iterdir() if p.name.isdigit())[:-KEEP_CHECKPOINTS]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def _write(place: Path, policy: Policy, optimiser: Mapping[str, Tensor]) -> None:
    from safetensors.torch import save_file

    place.mkdir(parents=True, exist_ok=True)
    policy.export(place)
    durable.point("torn")
    save_file({name: t.detach().contiguous() for name, t in optimiser.items()}, place / "optimiser.safetensors")
    if policy.heads:
        save_file({k: v.contiguous() for k, v in policy.heads.state_dict().items()}, place / "heads.safetensors")


MEMORY = "memory"


def _keep_memory(checkpoint: Path, said: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    from safetensors.torch import save_file

    (checkpoint / f"{MEMORY}.json").write_text(canonical(said))
    durable.point("torn")
    save_file({name: t.contiguous() for name, t in tensors.items()}, checkpoint / f"{MEMORY}.safetensors")


def remembered(checkpoint: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What a checkpoint holds of a memory."""
    from safetensors.torch import load_file

    said = shape.read(checkpoint / f"{MEMORY}.json", dict)
    return said, load_file(checkpoint / f"{MEMORY}.safetensors")


def place_beside(checkpoint: Path, name: str) -> Path:
    """Where a checkpoint holds a policy that is trained beside the actor."""
    return checkpoint / "policies" / name


def held(checkpoint: Path, name: str) -> Path:
    """What a checkpoint holds of one of its policies; of the actor where none is named."""
    if name in ("", "actor"):
        return checkpoint
    if not (place := place_beside(checkpoint, name)).is_dir():
        there = sorted(one.name for one in place.parent.iterdir()) if place.parent.is_dir() else []
        raise RunError(
            f"{checkpoint} holds no policy {name!r} beside the actor. {nearest(name, there) if there else 'It holds the actor.'}"
        )
    return place


def one_of(text: str) -> tuple[Path, str]:
    """RUN, or RUN:NAME for one of its policies beside the actor: the directory and the name; empty where none is named."""
    where, colon, name = text.rpartition(":")
    return (Path(where), name) if colon and name.isidentifier() and Path(where).is_dir() else (Path(text), "")


def good_checkpoints(directory: Path, say: Callable[[str], None] = lambda said: None) -> list[Path]:
    """Those whose hash is right, by step."""
    good: list[Path] = []
    for path in sorted(p for p in (directory / "checkpoints").glob("*") if p.name.isdigit()):
        if durable.whole(path):
            good.append(path)
        else:
            say(f"note: checkpoint {path.name} is damaged and is not used.")
    return good


def read_metrics(directory: Path) -> list[dict[str, Any]]:
    """The lines of a run; of a program those of its stages one after another, numbered on, each with its `stage`."""
    if not (directory / PROGRAM).exists():
        return _lines(directory / "metrics.jsonl")
    found: list[dict[str, Any]] = []
    for place in stages(directory):
        before = len(found)
        found += [{**line, "step": before + line["step"], "stage": place.name} for line in _lines(place / "metrics.jsonl")]
    return found


def _lines(path: Path) -> list[dict[str, Any]]:
    shape.lines(path, found := durable.lines(path))
    return found


def cut_metrics(path: Path, steps: int) -> None:
    """Keep the lines of the first `steps` steps; a torn last line goes too."""
    kept: list[bytes] = []
    for line in path.read_bytes().splitlines() if path.exists() else []:
        try:
            if json.loads(line)["step"] < steps:
                kept.append(line)
        except (ValueError, KeyError, TypeError, RecursionError):
            break
    durable.write(path, b"".join(line + b"\n" for line in kept))


def versions() -> dict[str, str]:
    import transformers

    return {"strop": __version__, "torch": torch.__version__, "transformers": transformers.__version__, "python": platform.python_version()}


def plain(recipe: Recipe) -> dict[str, Any]:
    values = {f.name: getattr(recipe, f.name) for f in fields(recipe)}
    return {**values, "method": recipe.method if isinstance(recipe.method, str) else recipe.method.name}
