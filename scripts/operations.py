"""What a run learned of the problems that `make_problems.py` writes: to ask for the right operation, or to work it out?

python scripts/operations.py RUN [RUN ...]      over the first five and the last five steps of each
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from make_problems import FORMS

STEPS = 5
SIGNS = {"–": "-", "−": "-", "x": "*", "×": "*"}
WORKED = re.compile(r"(\d+)\s*([-+*/–−x×])\s*(\d+)")
ASKED = [(re.compile(re.sub(r"\\{\w+\\}", r"(?:[A-Za-z]+|(\\d+))", re.escape(form))), sign) for form, sign in FORMS]


def asked(question: str) -> tuple[str, set[str]]:
    """The operation that a question asks for, and its two numbers."""
    for form, sign in ASKED:
        if form.fullmatch(question):
            return sign, set(re.findall(r"\d+", question))
    raise ValueError(f"no form of make_problems.py: {question!r}")


def chose(question: str, reply: str) -> bool:
    """Whether a reply begins with the right operation on the question's numbers."""
    sign, numbers = asked(question)
    found = WORKED.search(reply)
    return found is not None and SIGNS.get(found[2], found[2]) == sign and {found[1], found[3]} == numbers


def counts(run: Path, steps: range, tokenizer: Any) -> tuple[int, int, int]:
    """Replies, those with the right operation, and those of them that are right."""
    from strop.directory import read_commit

    total = chosen = right = 0
    for step in steps:
        commit = read_commit(run, step)
        if commit is None:
            continue
        for rollout in (rollout for group in commit["groups"] for rollout in group["rollouts"]):
            prompt, reply = (tokenizer.decode(rollout["rows"][0]["segments"][i]["tokens"]) for i in (0, -1))
            question = prompt.rpartition("Question: ")[2].partition("\n")[0]
            total += 1
            if chose(question, reply):
                chosen += 1
                right += commit["rewards"][rollout["id"]] == 1
    return total, chosen, right


def main() -> None:
    from transformers import AutoTokenizer

    from strop.cli import table
    from strop.directory import read_metrics

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    rows: list[list[Any]] = []
    for run in parser.parse_args().runs:
        tokenizer, steps = AutoTokenizer.from_pretrained(sorted((run / "checkpoints").glob("[0-9]*"))[-1]), len(read_metrics(run))
        for name, some in (("first", range(min(STEPS, steps))), ("last", range(max(steps - STEPS, 0), steps))):
            total, chosen, right = counts(run, some, tokenizer)
            rows.append([run.name, f"{name} {len(some)} steps", total, chosen / total, right / chosen if chosen else None])
    print(table(rows, ["run", "of the", "replies", "right operation", "of those, right"]))


if __name__ == "__main__":
    main()
