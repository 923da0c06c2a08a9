"""The language in which a method prints itself: small enough to evaluate by hand, and the tests do.

A formula is lines `name = expression` in Python's syntax for expressions. A name's last letter says what it has one number per:

    x_T decision   x_W row   x_R rollout   x_G group   x (no letter) the whole batch or minibatch

Coarse numbers spread over the finer units they hold; assigning to `x_T` spreads to decisions. What is true is 1, what is false 0. The words
of the language are one table, `WORDS`; what a formula may read is another, `NAMES`. Statistics are over the decisions that the heading
above the lines selects (`decisions where …`); rollouts and groups that hold none of them still count, except in `active`.
"""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Callable, Iterable, Mapping
from typing import Any

UNITS = {"token": "T", "row": "W", "rollout": "R", "group": "G", "batch": ""}
"""Levels from the finest out, and the letter of what has one number per unit."""

WORDS: dict[str, str] = {
    "+ - * / % **": "arithmetic, element by element; a % b is what is left of a",
    "< <= > >= == and or not": "1 where true, 0 where false",
    "exp log sqrt abs cos": "element by element; `pi` and `inf` are numbers",
    "min(a, b), max(a, b)": "the smaller, the larger of two",
    "clip(x, low, high)": "min(max(x, low), high)",
    "where(c, a, b)": "a where c is true, else b; the other one is never looked at",
    "detach(x)": "x, but no gradient flows through it",
    "mean(x, level)": "mean over what each unit of the level holds: mean(reward_R, group); 0 where it holds nothing",
    "mean(x, level, c)": "the same over those where c is true; `sum`, `std`, `min` and `max` may be narrowed alike",
    "sum(x, level)": "their sum",
    "std(x, level)": "sqrt(mean((x - mean(x, level)) ** 2, level)): divided by n, not by n - 1",
    "min(x, level), max(x, level)": "their smallest, their largest; `level` is token, row, rollout, group or batch",
    "count(unit, level)": "how many units each unit of the level holds: count(token, rollout), count(rollout, group)",
    "active(unit, level)": "how many of them hold a decision at all; active(unit) is 1 for a unit that holds one",
    "behind(unit, level)": "of each unit, how many stand behind it in its unit of the level: behind(row, rollout)",
    "last(rollout)": "1 at the last decision of each rollout, rows in order",
    "next(x_T, end)": "x at the rollout's next decision; `end` at its last",
    "later_sum(x_T, decay)": "y with y = x + decay * (y at the rollout's next decision)",
    "nested_mean(x_R, keys_RD)": "x's mean over the rollout's group, and over each of its sub-groups that holds more than one: their mean",
    "same(x_R, group)": "how many of the group's rollouts have the same x as this one, itself among them",
    "alike(x_R, key_R)": "x's mean over the group's rollouts that have the same key as this one",
    'span("label")': "1 inside spans of that label",
}
"""Everything a formula may say."""

NAMES: dict[str, str] = {
    "logp_T": "log-probability of the decision under the policy as it moves",
    "old_logp_T": "its log-probability under the weights that start the update",
    "sampled_logp_T": "its log-probability as the engine recorded it while sampling",
    "reference_logp_T": "its log-probability under the frozen initial weights",
    "entropy_T": "entropy of the distribution the decision was drawn from, under the policy as it moves",
    "value_T": "the value head's number, as it moves",
    "logz_R": "the partition head's number for the rollout's prompt, as it moves",
    "old_value_T": "the value head's number under the weights that start the update",
    "age_T": "versions between the weights that wrote the decision and the learner's",
    "reward_R": "the rollout's reward",
    "truncated_R": "1 where the rollout was cut at its length limit",
    "length_R": "tokens the policy wrote",
    "nested_RD": "the sub-groups the rollout belongs to, outermost first: which ancestor it has at each depth of a tree",
    "chosen_R": "of a pair: 1 for the better text, 0 for the other",
    "running": "the mean of value_R over all minibatches so far, this one included",
    "earlier_sum": "the sum of value_R over the minibatches before this one",
    "earlier_count": "how many rollouts that was",
    "weight_R": "the weight its gate keeps a rollout with; 1 unless a gate says otherwise",
    "reward_T": "the rollout's reward at its last decision, until a link of the credit changes it",
    "reward_W": "the row's reward, as `by_row` gives it",
    "credit_R": "what the rollout earned",
    "credit_W": "what the row earned",
    "credit_T": "what the decision earned",
    "return_T": "the value head's target, as `gae` gives it",
    "score_T": "a step's score at its last decision, NaN elsewhere: `.reading(score_T=…)` says whose, or a link before gives it",
    "weight_T": "the correction's weight",
    "mask_T": "1 where the correction keeps the decision",
    "trains_T": "1 where a row trains the decision and the gate keeps its rollout",
    "trained_T": "trains_T and action_T: an action that is trained",
    "action_T": "1 where the policy wrote it",
    "forced_T": "1 where the sampler put it in the policy's mouth",
    "teacher_T": "1 where somebody else wrote it",
    "random_T": "a number in [0, 1), drawn anew per signal and minibatch from the run's keyed noise",
    "fraction": "how much of the run is done, 0 to 1",
    "step": "the number of the step, from 0",
}
"""What a formula may read without defining it, beside the channels `<channel>_R` of a reward and of a credit."""

FUNCTIONS = {"exp", "log", "sqrt", "abs", "cos"} | {word for form in WORDS for word in re.findall(r"(\w+)\(", form)}
RESERVED = FUNCTIONS | set(UNITS) | set(NAMES) | {"pi", "inf", "loss", "factor"}
"""Names that a signal may not take, since its own stands in the same text."""

Formula = str | Callable[..., str]


def fill(formula: Formula, constants: Mapping[str, Any]) -> str:
    """The formula with its constants in."""
    try:
        text = formula if isinstance(formula, str) else formula(**constants)
        filled = text.format_map({k: number(v) for k, v in constants.items()})
    except (KeyError, TypeError) as error:
        raise ValueError(f"its formula does not fit its constants {', '.join(constants)}: {type(error).__name__} {error}") from error
    return "\n".join(line.strip() for line in filled.strip().splitlines())


def reread(text: str, instead: Mapping[str, str]) -> str:
    """The formula on other data: names in their places, until a line gives one of them itself.

    >>> reread("a_R = reward_R - mean(reward_R, group)", {"reward_R": "format_R"})
    'a_R = format_R - mean(format_R, group)'
    """
    lines, left = list[str](), dict(instead)
    for line in text.splitlines() if left else ():
        name, _, expression = line.partition(" = ")
        if left:
            expression = re.sub(rf"\b({'|'.join(left)})\b", lambda found: left[found[1]], expression)
        left.pop(name.strip(), None)
        lines.append(f"{name} = {expression}")
    return "\n".join(lines) if instead else text


def number(value: Any) -> str:
    """As it stands in a formula: exact, and in brackets where a sign could be misread. A word (a level) stands bare."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    if isinstance(value, int | float):
        return f"({value!r})" if value < 0 else repr(value)
    return str(value)


def placeholders(formula: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(formula) if name}


def statements(text: str) -> list[tuple[str, ast.expr]]:
    """(name, expression) of each line; a line that is not of this form is refused."""
    found: list[tuple[str, ast.expr]] = []
    for line in text.splitlines():
        try:
            node = ast.parse(line.strip()).body
        except SyntaxError as error:
            raise ValueError(f"formula line {line.strip()!r} is no Python: {error.msg}") from None
        for statement in node:
            if not isinstance(statement, ast.Assign) or len(statement.targets) != 1 or not isinstance(statement.targets[0], ast.Name):
                raise ValueError(f"formula line {line.strip()!r}: write `name = expression`")
            found.append((statement.targets[0].id, statement.value))
    return found


def check(text: str, reads: Iterable[str], gives: Iterable[str]) -> None:
    """Refuses a formula that uses words outside the language, reads what its part does not, or leaves out what it gives."""
    known, made = set(reads) | set(UNITS) | {"pi", "inf", "weight_R"}, set[str]()
    for name, expression in statements(text):
        for node in ast.walk(expression):
            if isinstance(node, ast.Call) and not (isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS):
                raise ValueError(
                    f"formula of {name}: {ast.unparse(node.func)!r} is no word of the language ({', '.join(sorted(FUNCTIONS))})"
                )
            if isinstance(node, ast.Name) and node.id not in known | FUNCTIONS:
                raise ValueError(f"formula of {name} reads {node.id}, which its part does not read: {', '.join(sorted(known))}")
        known.add(name)
        made.add(name)
    missing = set(gives) - made
    if missing:
        raise ValueError(f"formula gives {', '.join(sorted(made))}, but not {', '.join(sorted(missing))}")


def glossary() -> str:
    """The two tables, as the documents show them."""
    return "\n".join(f"{word:32} {meaning}" for table in (WORDS, NAMES) for word, meaning in table.items())
