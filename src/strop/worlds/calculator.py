"""calculator: what stands in square brackets is computed; anything else that is no answer is an error, and costs a turn.

    [37*48-19]   ->   1757          [37**48]   ->   error: no sum          <answer>1757</answer>   ->   done

Only whole numbers, + - * and parentheses, read by a parser of its own: what a policy writes is never run.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from strop.records import Task
from strop.seams.sampler import Reply

LONGEST, LARGEST = 64, 10**12
CALL = re.compile(r"\[([^\[\]]*)\]")
TOKEN = re.compile(r"[0-9]{1,12}|[-+*()]")


@dataclass(frozen=True)
class Calculator:
    """One call a turn: the first bracket counts."""

    def start(self, task: Task) -> dict[str, Any]:
        return {}

    async def reply(self, state: dict[str, Any], action: str) -> tuple[dict[str, Any], Reply]:
        if "<answer>" in action:
            return state, Reply("", done=True, facts={"tool": "", "ok": True})
        found = CALL.search(action[: 4 * LONGEST])
        try:
            value = computed(found[1]) if found else None
        except ValueError as error:
            return state, Reply(f"error: {error}", facts={"tool": "calculator", "ok": False})
        if value is None:
            return state, Reply("error: no call", facts={"tool": "calculator", "ok": False})
        return state, Reply(str(value), facts={"tool": "calculator", "ok": True})


def computed(text: str) -> int:
    """
    >>> computed("2*(3+4)-5")
    9
    """
    if len(text) > LONGEST:
        raise ValueError("too long")
    tokens = TOKEN.findall(text)
    if not tokens or "".join(tokens) != "".join(text.split()):
        raise ValueError("no sum")
    value, rest = _sum(tokens)
    if rest:
        raise ValueError("no sum")
    return value


def _sum(tokens: list[str]) -> tuple[int, list[str]]:
    value, rest = _product(tokens)
    while rest and rest[0] in "+-":
        other, after = _product(rest[1:])
        value, rest = value + other if rest[0] == "+" else value - other, after
    return value, rest


def _product(tokens: list[str]) -> tuple[int, list[str]]:
    value, rest = _number(tokens)
    while rest and rest[0] == "*":
        other, rest = _number(rest[1:])
        value *= other
        if abs(value) > LARGEST:
            raise ValueError("too large")
    return value, rest


def _number(tokens: list[str]) -> tuple[int, list[str]]:
    if not tokens:
        raise ValueError("no sum")
    if tokens[0] == "(":
        value, rest = _sum(tokens[1:])
        if not rest or rest[0] != ")":
            raise ValueError("open bracket")
        return value, rest[1:]
    if not tokens[0].isdigit():
        raise ValueError("no sum")
    return int(tokens[0]), tokens[1:]
