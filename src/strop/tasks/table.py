"""Rows of files as finite sources: questions with answers, pairs, judged replies. Who reads the files is `strop.tasks.adapters`.

A row's answer is compared by math-verify or as a text; whether a task is for training or testing depends on its question alone, up to case
and white space, so a question that appears twice, in two files or with two answers, is never on both sides.
"""

from __future__ import annotations

import copy
import importlib.util
import math
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

from strop.durable import hash_of
from strop.records import Incident, Task, digest
from strop.seams.part import nearest
from strop.seams.signal import SIDES
from strop.seams.source import Graded, Split, split_of
from strop.seams.traces import SCORED, said
from strop.tasks import parse
from strop.tasks.worker import MissingExtra, Outcome, pool

INSTRUCTION = "\n\nGive only the final answer between <answer> and </answer>."

Judge = Callable[[list[dict[str, Any]]], list[Outcome]]


def need(module: str, extra: str, otherwise: str = "") -> None:
    """Refuse early, with the install line, when an optional library is missing."""
    if importlib.util.find_spec(module) is None:
        raise MissingExtra(f"{module} is not installed: pip install 'strop[{extra}]'{otherwise}", name=module)


# ---------------------------------------------------------------------------------------------- grading


def grade_texts(texts: Sequence[str], item: Callable[[int, str, bool], dict[str, Any]], judge: Judge) -> list[Graded]:
    """Grade each text strictly and leniently with as few scorings as that takes: where the strict parse reads, both agree.

    `item(number, answer, loose)` is what the judge needs for an answer of text number `number`.
    """
    strict = [parse.strict(text) for text in texts]
    found = [(answer, False) if answer is not None else parse.lenient(text) for (answer, _), text in zip(strict, texts, strict=True)]
    asked = [number for number, (answer, _) in enumerate(found) if answer]
    outcomes = dict(zip(asked, judge([item(number, *found[number]) for number in asked]), strict=True))
    return [graded(why, outcomes.get(number, Outcome(0.0, "an empty answer"))) for number, (_, why) in enumerate(strict)]


def graded(unread: str, outcome: Outcome) -> Graded:
    """Channels of one text. `unread` says why the strict parse found nothing: then `outcome` is 0 whatever the scorer met."""
    if not outcome.incident:
        return Graded({"outcome": 0.0 if unread else outcome.value, "lenient": outcome.value}, unread or outcome.reason)
    channels = ["lenient"] if unread else ["outcome", "lenient"]
    incidents = tuple(Incident("", channel, outcome.incident) for channel in channels)
    return Graded({"outcome": 0.0 if unread else None, "lenient": None}, unread, incidents)


# ------------------------------------------------------------------------------------- files with rows


GRADERS = ("math", "exact")

MARK = re.compile(r"^#### ", re.MULTILINE)
"""Before the answer in GSM8K's rows, whose texts are worked solutions."""

WORD = re.compile(r"[^\W\d_]{3,}(?:[\s'-]+[^\W\d_]+)*")
"""Letters alone, too many for a product of variables."""
NUMBER = re.compile(r"[-+]?\$?\d[\d,]*(\.\d+)?%?")
"""Answers that every grader reads, so that nobody has to be asked."""


@dataclass(frozen=True)
class Columns:
    """How a row becomes a task."""

    prompt: str = "prompt"
    answer: str = "answer"
    after: str = ""
    grader: str = "math"
    instruct: str = "yes"

    def __post_init__(self) -> None:
        if self.grader not in GRADERS:
            raise ValueError(f"grader is 'math' or 'exact', got {self.grader!r}. {nearest(self.grader, GRADERS)}")
        if self.instruct not in ("yes", "no"):
            raise ValueError(f"instruct is 'yes' or 'no', got {self.instruct!r}")
        if self.grader == "math":
            need("math_verify", "math", ", or compare texts with grader=exact")

    def read(self, row: Any, where: str) -> tuple[str, str]:
        """(prompt, answer) of a row; `where` names it in what is wrong with it."""
        if not isinstance(row, Mapping):
            raise ValueError(f"{where} is no object with fields but {type(row).__name__}")
        prompt, answer = self._field(row, "prompt", where), self._field(row, "answer", where)
        if not isinstance(prompt, str) or not prompt.strip():
            raise ValueError(f"{where}: field {self.prompt!r} must be a text that is not empty, got {str(prompt)[:40]!r}")
        endless = isinstance(answer, float) and not math.isfinite(answer)
        if isinstance(answer, bool) or not isinstance(answer, (str, int, float)) or endless or not str(answer).strip():
            raise ValueError(f"{where}: field {self.answer!r} must be a text or a number, got {str(answer)[:40]!r}")
        text = format(Decimal(str(answer)), "f") if isinstance(answer, float) else str(answer)  # no grader reads 1e-07 as a number
        try:
            (prompt + text).encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{where} holds {error.object[error.start]!r}, half a character, which no tokenizer reads") from None
        if not self.after and MARK.search(text):
            raise ValueError(f"{where}: the answer stands behind GSM8K's mark '####' and that of row 1 does not. Write all rows alike.")
        if self.after:
            if self.after not in text:
                raise ValueError(f"{where}: field {self.answer!r} has no mark {self.after!r} behind which the answer would stand")
            text = text.rpartition(self.after)[2]
            if not text.strip():
                raise ValueError(f"{where}: field {self.answer!r} has nothing behind its mark {self.after!r}")
        return prompt + (INSTRUCTION if self.instruct == "yes" else ""), text.strip()

    def work(self, row: Mapping[str, Any]) -> str:
        """What a row that was read has before the mark: the worked solution."""
        return str(row[self.answer]).rpartition(self.after)[0].strip() if self.after else ""

    def _field(self, row: Mapping[str, Any], role: str, where: str) -> Any:
        name = getattr(self, role)
        if name not in row:
            has = ", ".join(map(str, row)) or "nothing"
            raise ValueError(f"{where} has no field {name!r}; it has: {has}. Name it with --{role}-field FIELD, or ,{role}=FIELD in a task")
        return row[name]

    def marked(self, row: Any) -> Columns:
        """With GSM8K's mark, where the first row has it: then every row must."""
        text = row.get(self.answer) if isinstance(row, Mapping) else None
        return replace(self, after="####") if not self.after and isinstance(text, str) and MARK.search(text) else self


def columns(options: dict[str, str], kind: str, *more: str) -> Columns:
    """The options of a file source; those in `more` are the caller's."""
    known = [*Columns.__dataclass_fields__, *more]
    for key in options:
        if key not in known:
            raise ValueError(f"{kind} has no option {key!r}. {nearest(key, known)}")
    return Columns(**{key: value for key, value in options.items() if key not in more})


def spelled(prompt: str) -> str:
    """What two spellings of one question share: no case, and white space of one kind."""
    return " ".join(prompt.casefold().split())


def alike(rows: Iterable[Any], label: str, holds: Callable[[Any], bool], fields: str) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
    """Rows that all have these fields: number, place in words, values."""
    for count, row in enumerate(rows, start=1):
        number, content = row if isinstance(row, tuple) else (count, row)
        where = f"row {number} of {label}"
        if not holds(content):
            raise ValueError(f"{where} has no {fields}, which the first row has. Write all rows alike.")
        yield number, where, content


class Table:
    """Rows of a file as a finite source. Equal rows are one task; `size` counts the training split, `sizes` both.

    A seed is an order: index 0 to size - 1 visits every task of the split once, then the next pass begins in another order. One prompt in
    eight is held out; with `held_out`, (rows, label) of another file, those are, and training leaves out the questions that are among them.
    """

    def __init__(
        self,
        name: str,
        rows: Iterable[Any],
        how: Columns,
        label: str,
        held_out: tuple[Iterable[Any], str] | None = None,
        files: Sequence[Path] = (),
    ):
        self.name, self.how, self.label = name, how, label
        self.files = {str(file): hash_of(file) for file in files}
        self.left_out: dict[str, int] = {}
        self.held_out = ""
        self.work: dict[str, str] = {}
        """Worked solutions, by task."""
        self.rows, tasks = self._tasks(rows, label)
        if held_out is None:
            self.splits: dict[Split, list[Task]] = {s: [t for t in tasks if split_of(t.id) == s] for s in ("train", "test")}
        else:
            test = self._tasks(*held_out)[1]
            asked = {task.id[:8] for task in test}  # the half that is of the question alone
            self.splits = {"train": [task for task in tasks if task.id[:8] not in asked], "test": test}
            self._leave_out(f"are in {held_out[1]} too", len(tasks) - len(self.splits["train"]))
            self.held_out = held_out[1]
        self._count()

    def _tasks(self, rows: Iterable[Any], label: str) -> tuple[int, list[Task]]:
        """How many rows there are, and the different tasks among them; each answer is one that the grader reads."""
        found: dict[str, Task] = {}
        how, count = self.how, 0
        for count, row in enumerate(rows, start=1):
            number, content = row if isinstance(row, tuple) else (count, row)
            how = how.marked(content) if count == 1 else how
            task = self._task(*how.read(content, f"row {number} of {label}"), number, label)
            found.setdefault(task.id, task)
            if work := how.work(content):
                self.work.setdefault(task.id, work)
        if not count:
            raise ValueError(f"{label} has no rows")
        if how.grader == "math":
            check_answers([*found.values()], how.answer)
        return count, [*found.values()]

    def _task(self, prompt: str, answer: str, number: int, label: str) -> Task:
        needs = {"answer": answer, "grader": self.how.grader}
        return self._made(prompt, prompt, needs, number, label)

    def _made(self, question: str, prompt: str, needs: dict[str, Any], number: int, label: str) -> Task:
        """Its side is told by the question alone."""
        name = digest(spelled(question))[:8] + digest({"prompt": prompt, "source": self.name, **needs})[:8]
        return Task(prompt, needs, self.name, {"row": number, "file": label}, name)

    def _leave_out(self, why: str, count: int) -> None:
        if count:
            self.left_out[why] = self.left_out.get(why, 0) + count

    def _count(self) -> None:
        self.sizes = {split: len(tasks) for split, tasks in self.splits.items()}
        self.size: int | None = self.sizes["train"]
        self._orders: dict[tuple[Split, int, int], list[int]] = {}

    def fit(self, length: Callable[[str], int], most: int, strict: bool) -> Table:
        """Without the tasks whose prompt is longer than `most` tokens; where `strict`, there must be none."""
        fits = copy.copy(self)
        fits.left_out, fits.splits = dict(self.left_out), {}
        for split, tasks in self.splits.items():
            lengths = [length(task.prompt) for task in tasks]
            longest = max(range(len(tasks)), key=lengths.__getitem__, default=None)
            if strict and longest is not None and lengths[longest] > most:
                where = tasks[longest].meta
                raise ValueError(
                    f"row {where['row']} of {where['file']}: its prompt has {lengths[longest]} tokens and there is room for {most} beside "
                    f"the reply. Lower --max-tokens, or leave such rows out: --longest-prompt {most}."
                )
            fits.splits[split] = [task for task, tokens in zip(tasks, lengths, strict=True) if tokens <= most]
            fits._leave_out(f"have a prompt of more than {most} tokens", len(tasks) - len(fits.splits[split]))
        fits._count()
        if self.size and not fits.size:
            raise ValueError(f"{self.label}: every training row has a prompt of more than {most} tokens. Raise --longest-prompt.")
        return fits

    def contents(self) -> dict[str, Any]:
        """What a run's record keeps of its data."""
        return {"files": self.files, "rows": self.rows, **self.sizes, "left_out": self.left_out}

    def task(self, split: Split, seed: int, index: int) -> Task:
        if split not in self.splits or index < 0:
            raise ValueError(f"split is 'train' or 'test' and index 0 or more, got {split!r} and {index}")
        tasks = self.splits[split]
        if not tasks and self.held_out:
            what = "to train on: the file of held-out questions asks them too" if split == "train" else "held out"
            raise ValueError(f"{self.label} has {self.rows} rows, and with {self.held_out} held out none is left {what}.")
        if not tasks:
            way = "name a file of held-out questions, --eval-data FILE" if split == "test" else "give it more rows"
            raise ValueError(
                f"{self.name} has {self.rows} rows and none of them falls into {split!r} (one prompt in eight is for testing): {way}"
            )
        turn, place = divmod(index, len(tasks))
        return tasks[self._order(split, seed, turn)[place]]

    def _order(self, split: Split, seed: int, turn: int) -> list[int]:
        key = (split, seed, turn)
        if key not in self._orders:
            if len(self._orders) > 8:
                self._orders.clear()
            order = list(range(len(self.splits[split])))
            random.Random(digest([seed, turn])).shuffle(order)
            self._orders[key] = order
        return self._orders[key]

    def gold(self, task: Task) -> str | None:
        return f"<answer>{task.needs['answer']}</answer>"

    def example(self, task: Task) -> str:
        """The right answer behind the worked solution, where the file has one."""
        return "\n".join(filter(None, (self.work.get(task.id), f"<answer>{task.needs['answer']}</answer>")))

    def grade(self, task: Task, text: str) -> Graded:
        return self.grade_many([(task, text)])[0]

    def grade_many(self, pairs: Sequence[tuple[Task, str]]) -> list[Graded]:
        def item(number: int, answer: str, loose: bool) -> dict[str, Any]:
            return {"gold": pairs[number][0].needs["answer"], "answer": answer, "loose": loose}

        return grade_texts([text for _, text in pairs], item, exact if self.how.grader == "exact" else mathematical)


class PairTable(Table):
    """Rows of a file as tasks that carry their pair. `Pairs` learns from them."""

    def _tasks(self, rows: Iterable[Any], label: str) -> tuple[int, list[Task]]:
        """How many rows there are, and the different pairs among them. Two equal texts are no pair: such rows are left out, and counted."""
        found: dict[str, Task] = {}
        equal = 0
        given = [*alike(rows, label, holds_pair, "fields 'chosen' and 'rejected'")]
        for number, where, values in given:
            chosen, rejected = (a_text(values[side], f"{where}: field {side!r}") for side in SIDES)
            if chosen == rejected:
                equal += 1
                continue
            needs: dict[str, Any] = {"chosen": chosen, "rejected": rejected}
            prompt = a_text(self.how._field(values, "prompt", where), f"{where}: field {self.how.prompt!r}")
            if self.how.answer in values:
                prompt, needs["answer"] = self.how.read(values, where)
                needs["grader"] = self.how.grader
            task = self._made(prompt.removesuffix(INSTRUCTION), prompt, needs, number, label)
            found.setdefault(task.id, task)
        self._leave_out("hold the same text twice", equal)
        if not found:
            raise ValueError(f"{label} has no pairs" + (f": its {equal} rows hold the same text twice" if equal else ""))
        return len(given), [*found.values()]

    @property
    def ungraded(self) -> bool:
        """No row says which answer is right, so no reply can be graded."""
        return not any("answer" in task.needs for tasks in self.splits.values() for task in tasks)

    def gold(self, task: Task) -> str | None:
        return super().gold(task) if "answer" in task.needs else task.needs["chosen"]

    def example(self, task: Task) -> str:
        return task.needs["chosen"]

    def grade_many(self, pairs: Sequence[tuple[Task, str]]) -> list[Graded]:
        known = [pair for pair in pairs if "answer" in pair[0].needs]
        verdicts = iter(super().grade_many(known) if known else [])
        return [next(verdicts) if "answer" in task.needs else Graded({"outcome": None}) for task, _ in pairs]


class JudgedTable(Table):
    """Rows of a file that ask for a score of each of several `replies`, of which `scores` are the reference. `texts` are judgements that
    somebody wrote of them, where there are any: what `Written()` gives."""

    def _tasks(self, rows: Iterable[Any], label: str) -> tuple[int, list[Task]]:
        found: dict[str, Task] = {}
        given = [*alike(rows, label, holds_scores, "fields 'replies' and 'scores'")]
        for number, where, values in given:
            question = a_text(self.how._field(values, "prompt", where), f"{where}: field {self.how.prompt!r}")
            replies, scores, texts = (values.get(name, []) for name in ("replies", "scores", "texts"))
            whole = isinstance(scores, list) and all(
                isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in cast(list[Any], scores)
            )
            if not isinstance(replies, list) or not whole or not 2 <= len(cast(list[Any], replies)) == len(scores):
                raise ValueError(f"{where}: 'replies' are two texts or more, and 'scores' a whole number, 0 or more, for each of them")
            shown = [a_text(reply, f"{where}: a reply") for reply in cast(list[Any], replies)]
            told = [a_text(text, f"{where}: a judgement of 'texts'") for text in cast(list[Any], texts)]
            needs = {"question": question, "replies": shown, "scores": scores, "texts": told, "answer": " ".join(map(str, scores))}
            prompt = SCORED.question(question, shown, tuple(range(len(shown)))).text
            task = self._made(question, prompt, needs, number, label)
            found.setdefault(task.id, task)
        if not given:
            raise ValueError(f"{label} has no rows")
        return len(given), [*found.values()]

    def gold(self, task: Task) -> str | None:
        return "".join(f"<{SCORED.tag}>{score}</{SCORED.tag}>" for score in task.needs["scores"])

    def written(self, task: Task, rng: random.Random) -> str:
        if not task.needs["texts"]:
            raise ValueError(
                f"row {task.meta['row']} of {task.meta['file']} has no 'texts': name the policy that writes, Written(policy=…)"
            )
        return rng.choice(task.needs["texts"])

    def grade_many(self, pairs: Sequence[tuple[Task, str]]) -> list[Graded]:
        right = [said(text, SCORED.tag) == task.needs["scores"] for task, text in pairs]
        return [Graded({"outcome": float(one), "lenient": float(one)}, "" if one else "other scores") for one in right]


def a_text(value: Any, where: str) -> str:
    """A text, or the one message of a list of them, as preference data sets write it."""
    if isinstance(value, list) and len(cast(list[Any], value)) == 1 and isinstance(value[0], Mapping):
        value = cast(Mapping[str, Any], value[0]).get("content")
    if isinstance(value, list):
        raise ValueError(f"{where} holds {len(cast(list[Any], value))} messages: one question and one reply are learned from.")
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{where} must be a text that is not empty, got {str(value)[:40]!r}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{where} holds {error.object[error.start]!r}, half a character, which no tokenizer reads") from None
    return value


def mathematical(items: list[dict[str, Any]]) -> list[Outcome]:
    """math-verify's verdict; of a word, ours: to it letters are variables, and `Parsi` is the product that `Paris` is."""
    words = [WORD.fullmatch(item["gold"].strip()) is not None for item in items]
    asked = [item for item, word in zip(items, words, strict=True) if not word]
    theirs = iter(pool("math").score(asked) if asked else [])
    return [same_word(item) if word else next(theirs) for item, word in zip(items, words, strict=True)]


def same_word(item: Mapping[str, Any]) -> Outcome:
    """The same letters but for their case; of prose, its last words."""
    gold, said = (" ".join(item[side].casefold().split()).strip(" .!") for side in ("gold", "answer"))
    if item.get("loose"):
        said = said[-len(gold) :] if re.search(rf"(?<!\w){re.escape(gold)}$", said) else ""
    return Outcome(1.0) if said == gold else Outcome(0.0, "not the same word")


def exact(items: list[dict[str, Any]]) -> list[Outcome]:
    """The grader `exact`: the same text up to white space. Runs here: it executes nothing."""
    same = [str(i["gold"]).split() == str(i["answer"]).split() for i in items]
    return [Outcome(1.0) if equal else Outcome(0.0, "not the same text") for equal in same]


def check_answers(tasks: Sequence[Task], field: str, at_once: int = 64) -> None:
    """Refuse a row whose right answer math-verify reads no expression in: nobody could ever be right there."""
    asked = [task for task in tasks if not NUMBER.fullmatch(task.needs["answer"])]
    batches = [asked[start : start + at_once] for start in range(0, len(asked), at_once)]
    outcomes = pool("math").score([{"golds": [task.needs["answer"] for task in batch]} for batch in batches]) if batches else []
    for batch, outcome in zip(batches, outcomes, strict=True):
        if outcome.value == 1:
            continue
        if outcome.incident and len(batch) > 1:
            check_answers(batch, field, 1)
            continue
        task = batch[0] if outcome.incident else batch[int(outcome.reason)]
        why = f"cannot read ({outcome.incident})" if outcome.incident else "reads no number or expression in"
        raise ValueError(
            f"row {task.meta['row']} of {task.meta['file']}: math-verify {why} the answer {task.needs['answer'][:60]!r} of field "
            f"{field!r}. Mend the row, name another field, or compare texts: --grader exact."
        )


def holds_pair(row: Any) -> bool:
    """Does a row hold a better and a worse text?"""
    return isinstance(row, Mapping) and all(side in row for side in SIDES)


def holds_scores(row: Any) -> bool:
    """Does a row hold replies and what they are worth?"""
    return isinstance(row, Mapping) and "replies" in row and "scores" in row
