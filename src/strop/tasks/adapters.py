"""Other people's tasks as sources: reasoning-gym and files of questions with answers.

    rg:NAME[,field=value]          reasoning-gym, an unlimited stream; fields are its configuration: rg:chain_sum,min_terms=3
    jsonl:PATH[,option=value]      one object a line
    parquet:PATH[,option=value]    one row a task
    hf:NAME[,option=value]         a Hugging Face data set by name, or a folder it was saved to

Options of the last three: `prompt` and `answer` name the columns, `after` is a mark behind which the answer stands (GSM8K's `####`
is found by itself), `grader` is `math` (math-verify, the default) or `exact` (the same text up to white space), `instruct=no` leaves
out the sentence that asks for `<answer>`; for files also `held_out`, another file whose rows are the test split; for `hf` also `split`
(default train) and `config`. Code of a data set is never run. Rows with `messages` are conversations (`strop.tasks.conversations`).

Whether a task is for training or testing depends on its prompt alone, up to case and white space, so a question which appears twice,
in two files or with two answers, is never on both sides.
Scoring of model text happens in `worker`; reasoning-gym also makes its problems there, unlocked
but without network, since its generators are trusted: strop's process stays free of its imports and its global state.

    python -m strop.tasks.adapters        the table of docs/reasoning-gym.md
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

from strop.records import Task, digest, unique
from strop.seams.part import nearest
from strop.seams.signal import SIDES
from strop.seams.source import Graded, Source, Split, split_of
from strop.tasks import blind
from strop.tasks.table import INSTRUCTION, Columns, JudgedTable, PairTable, Table, columns, grade_texts, holds_pair, holds_scores, need
from strop.tasks.worker import Limits, pool

ATTEMPTS = 400
"""Draws for one problem of a split: at one in eight, that all of them miss has a chance of 1e-23."""


def identity(prompt: str, content: Mapping[str, Any], source: str) -> str:
    """A task id whose first half, which decides the split, is a hash of the prompt alone, and whose second is of everything."""
    return digest(prompt)[:8] + digest({"prompt": prompt, "source": source, **content})[:8]


FIRST = {"rg": "chain_sum", "miniwob": "click-button"}


def adapter(kind: str, rest: str) -> Source:
    """The source that `kind:rest` names."""
    makers: dict[str, Callable[[str, dict[str, str]], Source]] = {"rg": gym, "jsonl": jsonl, "parquet": parquet, "hf": hugging_face}
    makers["miniwob"] = pages
    if kind not in makers:
        raise ValueError(f"no adapter {kind!r}; known are {', '.join(makers)}")
    name, options = split_options(rest)
    if not name:
        raise ValueError(f"{kind}: needs a name or a path, as in {kind}:{FIRST.get(kind, 'PATH')}")
    return makers[kind](name, options)


def pages(name: str, options: dict[str, str]) -> Source:
    """Pages of MiniWoB++."""
    from strop.tasks.miniwob import Pages

    if options:
        raise ValueError(f"miniwob:{name} has no options, got {', '.join(options)}")
    return Pages(name)


def split_options(text: str) -> tuple[str, dict[str, str]]:
    """`name,a=1,b=[2,3]` as a name and its options: a comma separates where a word and `=` follow it."""
    name, *parts = re.split(r",(?=\s*[A-Za-z_]\w*=)", text)
    options: dict[str, str] = {}
    for part in parts:
        key, _, value = part.partition("=")
        if key.strip() in options:
            raise ValueError(f"{name}: {key.strip()} is given twice")
        options[key.strip()] = value.strip()
    return name.strip(), options


# ---------------------------------------------------------------------------------------- reasoning-gym


def gym(name: str, options: dict[str, str]) -> Gym:
    """`rg:NAME`: values are read as JSON where they are JSON, else as text."""
    need("reasoning_gym", "gym")
    config: dict[str, Any] = {}
    for key, value in options.items():
        try:
            config[key] = json.loads(value)
        except ValueError:
            config[key] = value
    return Gym(name, config)


class Gym:
    """One data set of reasoning-gym, made and scored by reasoning-gym. Scores between 0 and 1 are its own partial credit.

    The problem at (split, seed, index) is the data set's first under a seed of its own, drawn again until it is of that split.
    """

    size: int | None = None

    def __init__(self, data_set: str, config: Mapping[str, Any] | None = None, limits: Limits | None = None):
        self.data_set, self.config = data_set, dict(config or {})
        self.name = ",".join([f"rg:{data_set}", *(f"{k}={json.dumps(v)}" for k, v in sorted(self.config.items()))])
        self.pool = pool("gym", limits)
        self._check()

    def _check(self) -> None:
        refusal = self._ask({"op": "check", "seed": 0})
        if refusal["why"] == "name":
            raise ValueError(f"reasoning-gym has no data set {self.data_set!r}. {nearest(self.data_set, refusal['known'])}")
        if refusal["why"] == "field":
            raise ValueError(f"rg:{self.data_set} has no field {refusal['unknown']!r}. {nearest(refusal['unknown'], refusal['known'])}")
        if refusal["why"]:
            raise ValueError(f"{self.name} cannot be made with these values: {refusal['error']}")

    def _ask(self, item: dict[str, Any]) -> Any:
        outcome = self.pool.one({"name": self.data_set, "config": self.config, **item})
        if outcome.incident:
            raise RuntimeError(f"{self.name} failed to make a problem: {outcome.incident}")
        return outcome.value

    def task(self, split: Split, seed: int, index: int) -> Task:
        for attempt in range(ATTEMPTS):
            own_seed = int(digest([self.name, split, seed, index, attempt])[:8], 16) % 2**31
            task = self._made(own_seed, {"seed": seed, "index": index})
            if split_of(task.id) == split:
                return task
        raise ValueError(f"{self.name} has too few different problems to fill the split {split!r}; make it harder")

    def _made(self, own_seed: int, place: Mapping[str, int]) -> Task:
        made = self._ask({"op": "make", "seed": own_seed})
        prompt = made["question"] + INSTRUCTION
        name = identity(prompt, {"answer": made["answer"]}, self.name)
        return Task(prompt, {"seed": own_seed, "answer": made["answer"]}, self.name, {"data_set": self.data_set, **place}, name)

    @property
    def graded_by(self) -> str:
        return f"reasoning-gym {version('reasoning-gym')}"

    def gold(self, task: Task) -> str | None:
        """None where reasoning-gym writes no solution."""
        answer = task.needs["answer"]
        return None if answer is None else f"<answer>{answer}</answer>"

    def grade(self, task: Task, text: str) -> Graded:
        return self.grade_many([(task, text)])[0]

    def grade_many(self, pairs: Sequence[tuple[Task, str]]) -> list[Graded]:
        def item(number: int, answer: str, loose: bool) -> dict[str, Any]:
            task = pairs[number][0]
            question = task.prompt.removesuffix(INSTRUCTION)
            return {"name": self.data_set, "config": self.config, "seed": task.needs["seed"], "question": question, "answer": answer}

        return grade_texts([text for _, text in pairs], item, self.pool.score)


def file_at(path: str, kind: str) -> Path:
    file = Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError(2, f"{kind}: there is no such file", str(file))
    return file


def jsonl(path: str, options: dict[str, str]) -> Table:
    return of_files("jsonl", path, options)


def parquet(path: str, options: dict[str, str]) -> Table:
    return of_files("parquet", path, options)


def of_files(kind: str, path: str, options: dict[str, str]) -> Table:
    how, file = columns(options, kind, "held_out"), file_at(path, kind)
    read = {"jsonl": json_rows, "parquet": parquet_rows}
    first = next(iter(read[kind](file, how)), None)
    content = first[1] if isinstance(first, tuple) else first
    made = kind_of(content)
    if "held_out" not in options:
        return made(f"{kind}:{file.name}", read[kind](file, how), how, file.name, files=[file])
    other = file_at(options["held_out"], "held_out")
    if other.resolve() == file.resolve():
        raise ValueError(f"{file.name} is named for training and for holding out. Leave the second out: one row in eight is held out then.")
    other_rows = read["parquet" if other.suffix == ".parquet" else "jsonl"](other, how)
    held_out = (other_rows, other.name if other.name != file.name else str(other))
    return made(f"{kind}:{file.name}", read[kind](file, how), how, file.name, held_out, [file, other])


def kind_of(row: Any) -> type[Table]:
    """What a file is, by its first row."""
    if isinstance(row, Mapping) and "messages" in row:
        from strop.tasks.conversations import Conversations

        return Conversations
    return PairTable if holds_pair(row) else JudgedTable if holds_scores(row) else Table


def json_rows(file: Path, how: Columns) -> Iterator[tuple[int, Any]]:
    with file.open("rb") as lines:
        for number, line in enumerate(iter(lambda: lines.readline(LONGEST + 1), b""), start=1):
            if len(line) > LONGEST:
                raise ValueError(f"row {number} of {file.name} has more than {LONGEST:,} bytes, which no model reads. Leave it out.")
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                said = f"its byte {error.object[error.start]:#04x} at {error.start} is none there"
                raise ValueError(f"row {number} of {file.name} is not UTF-8: {said}. Save the file as UTF-8.") from None
            if text.strip():
                try:
                    yield number, json.loads(text, object_pairs_hook=unique)
                except (ValueError, RecursionError) as error:
                    raise ValueError(f"row {number} of {file.name} is not JSON: {error}. A file holds one object a line.") from None


LONGEST = 4_000_000
"""Bytes of a row."""


def parquet_rows(file: Path, how: Columns) -> list[Any]:
    need("pyarrow", "data")
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(file) as reading:
            names = reading.schema_arrow.names
            wanted = [name for name in names if name in (how.prompt, how.answer, *SIDES, "messages", "tools")]
            if kind_of(dict.fromkeys(names)) is Table:
                check_columns(how, names, file.name)
            return [without_nulls(row) for batch in reading.iter_batches(columns=wanted) for row in batch.to_pylist()]
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{file.name} cannot be read as Parquet: {error}") from None


def without_nulls(value: Any) -> Any:
    """Arrow gives every struct the fields of all: those that a row did not have are taken out again."""
    if isinstance(value, dict):
        held = cast("dict[str, Any]", value)
        return {name: without_nulls(one) for name, one in held.items() if one is not None}
    return [without_nulls(one) for one in cast("list[Any]", value)] if isinstance(value, list) else value


def check_columns(how: Columns, names: Sequence[str], label: str) -> None:
    """Every row of a columnar file has the same fields: a missing one is missing from row 1."""
    how.read(dict.fromkeys(names, "x" + how.after + "x"), f"row 1 of {label}")


def hugging_face(name: str, options: dict[str, str]) -> Table:
    """`hf:NAME` from the hub, or from a folder written by `save_to_disk`. A data set's own script is never run."""
    how = columns(options, "hf", "split", "config")
    need("datasets", "data")
    split = options.get("split", "train")
    data = from_folder(Path(name).expanduser(), split) if Path(name).expanduser().is_dir() else from_hub(name, options.get("config"), split)
    label = f"{Path(name).name}[{split}]"
    made = kind_of(dict.fromkeys(data.column_names))
    if made is Table:
        check_columns(how, data.column_names, label)
    wanted = [
        one for one in data.column_names if one in (how.prompt, how.answer, *SIDES, "replies", "scores", "texts", "messages", "tools")
    ]
    rows = map(without_nulls, data.select_columns(wanted))
    return made(f"hf:{Path(name).name if Path(name).is_dir() else name},split={split}", rows, how, label)


def from_folder(folder: Path, split: str) -> Any:
    import datasets

    if not (folder / "state.json").exists() and not (folder / "dataset_dict.json").exists():
        return from_hub(str(folder), None, split)
    data = datasets.load_from_disk(str(folder))
    if isinstance(data, datasets.DatasetDict):
        if split not in data:
            raise ValueError(f"{folder.name} has no split {split!r}; it has: {', '.join(map(str, data))}. Name one with ,split=SPLIT")
        data = data[split]
    return data


def from_hub(name: str, config: str | None, split: str) -> Any:
    import datasets

    try:
        return datasets.load_dataset(name, config, split=split)
    except Exception as error:
        why = " ".join(str(error).split())[:300]
        raise ValueError(f"hf:{name} (split {split!r}) could not be loaded: {why}. Check the name, ,config= and ,split=") from None


# ------------------------------------------------------------------------------ table of reasoning-gym

EXAMPLES = {"composite": {"datasets": [{"name": "chain_sum", "weight": 1, "config": {}}]}}
"""Configurations for data sets that have no default one."""


PROBE = "<answer>__import__('os').mkdir('strop-probe')</answer>"
"""An answer that shows whether a scorer executes answers: the attempt is refused and named."""


@dataclass(frozen=True)
class Finding:
    """What a few training problems of a data set show."""

    name: str
    gold: float | None = None
    wrong: str = ""
    """Why gold does not score 1."""
    executes: bool = False
    """Whether the scorer runs the answer as code, which `worker` then refuses."""
    pays: Mapping[str, tuple[int, int]] = field(default_factory=dict[str, "tuple[int, int]"])
    """Wrong answers that scored 1: how often, of how many tries."""


def survey() -> list[Finding]:
    """One finding for every data set that reasoning-gym registers."""
    return [find(name) for name in pool("gym").one({"op": "names"}).value]


def find(name: str) -> Finding:
    try:
        source = Gym(name, EXAMPLES.get(name))
        tasks = [source.task("train", seed=0, index=index) for index in range(blind.TASKS)]
    except (ValueError, RuntimeError) as error:
        return Finding(name, wrong=str(error))
    executes = any("tried" in incident.why for incident in source.grade(tasks[0], PROBE).incidents)
    golds = [source.gold(task) for task in tasks]
    asked = blind.attempts(tasks, golds)
    scores = [marks["outcome"] for marks in source.grade_many([(attempt.task, attempt.text) for attempt in asked])]
    pays = blind.paid(list(zip(asked, scores, strict=True)))
    if golds[0] is None:
        return Finding(name, None, "reasoning-gym writes no solution", executes, pays)
    marks = source.grade(tasks[0], golds[0])
    wrong = "; ".join(i.why for i in marks.incidents[:1]) or ("" if marks["outcome"] == 1.0 else marks.reason)
    return Finding(name, marks["outcome"], wrong, executes, pays)


def table() -> str:
    """The survey in Markdown: the counts, those that fail with the reason, then all."""
    found = survey()
    good = sum(f.gold == 1.0 for f in found)
    unsafe = [f.name for f in found if f.executes]
    lines = ["# reasoning-gym through strop", "", "Printed by `python -m strop.tasks.adapters`."]
    lines += ["", f"reasoning-gym {version('reasoning-gym')}: {len(found)} data sets, gold = 1 in {good}, not in {len(found) - good}."]
    lines += ["", f"Scorers that execute the answer, in a locked process: {len(unsafe)} ({', '.join(unsafe)}).", ""]
    blindly = [f.name for f in found if blind.blindly(f.pays)]
    lines += [
        f"Graders that pay for what answers nothing: {len(blindly)} ({', '.join(blindly)}).",
        "`strop train --task rg:NAME` looks at the grader of its data set, as it is configured, and refuses such a one;",
        "`--unchecked` trains all the same.",
        "",
        f"Tried on {blind.TASKS} tasks each, wherever it is not the right answer: {', '.join(map(repr, blind.CONSTANTS))},",
        "the other tasks' answers and the question's own words. Where another task's answer is paid now and then, a task has many right",
        "ones.",
        "",
    ]
    lines += ["| data set | gold scores | pays 1 for | what is wrong |", "|---|---|---|---|"]
    for f in sorted(found, key=lambda f: (f.gold == 1.0, not blind.blindly(f.pays))):
        paid = ", ".join(f"{what} ({got} of {of})" for what, (got, of) in f.pays.items())
        lines.append(f"| {f.name} | {'none' if f.gold is None else f'{f.gold:g}'} | {paid} | {f.wrong} |")
    return "\n".join(lines)


if __name__ == "__main__":
    need("reasoning_gym", "gym")
    print(table())
