"""Write word problems of one step, with worked answers in GSM8K's schema: what a small base model sometimes solves.

    python scripts/make_problems.py OUT       OUT/train.jsonl and OUT/test.jsonl

No problem is in both, nor are the same numbers in the same form.
`strop train --data OUT/train.jsonl --eval-data OUT/test.jsonl --prompt-field question --answer-field answer --grader math` reads them.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

TRAIN, TEST = 1000, 200
PEOPLE = ("Ada", "Ben", "Carla", "Deniz", "Emil", "Fatima", "Goran", "Hana", "Ivo", "Jun", "Kofi", "Lena", "Mina", "Noor", "Olu", "Petra")
THINGS = ("apples", "books", "coins", "cards", "eggs", "keys", "marbles", "pencils", "shells", "stamps", "tickets", "stones")
FORMS = (
    ("{who} has {a} {thing} and gets {b} more. How many {thing} does {who} have now?", "+"),
    ("There are {a} {thing} in one box and {b} in another. How many {thing} are there in both?", "+"),
    ("{who} finds {a} {thing} in the morning and {b} in the evening. How many {thing} does {who} find that day?", "+"),
    ("{who} has {sum} {thing} and gives {b} away. How many {thing} does {who} have left?", "-"),
    ("Of {sum} {thing} on a table, {who} takes {b}. How many {thing} stay on the table?", "-"),
    ("{who} wants {sum} {thing} and has {b}. How many more {thing} does {who} need?", "-"),
    ("{who} has {a} bags with {b} {thing} in each. How many {thing} does {who} have?", "*"),
    ("Each of {a} children brings {b} {thing}. How many {thing} do they bring?", "*"),
)


def problems(seed: int = 0) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """To train on, and held out: a form with two numbers is in one of them alone, whoever has whatever things."""
    rng = random.Random(seed)
    facts = [(form, sign, a, b) for form, sign in FORMS for a in range(2, 13) for b in range(2, 13)]
    rng.shuffle(facts)
    return _told(facts[TEST:], TRAIN, rng), _told(facts[:TEST], TEST, rng)


def _told(facts: list[tuple[str, str, int, int]], count: int, rng: random.Random) -> list[dict[str, str]]:
    found: dict[str, str] = {}
    while len(found) < count:
        form, sign, a, b = facts[len(found) % len(facts)]
        question = form.format(who=rng.choice(PEOPLE), thing=rng.choice(THINGS), a=a, b=b, sum=a + b)
        work = {"+": f"{a} + {b} = {a + b}", "-": f"{a + b} - {b} = {a}", "*": f"{a} * {b} = {a * b}"}[sign]
        found.setdefault(question, f"{work}\n#### {work.rpartition(' ')[2]}")
    return [{"question": question, "answer": answer} for question, answer in found.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for name, part in zip(("train", "test"), problems(), strict=True):
        (out / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    print(f"{out}: {TRAIN} problems to train on, {TEST} held out")


if __name__ == "__main__":
    main()
