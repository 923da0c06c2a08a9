"""calculator: what stands in square brackets is computed; anything else that is no answer is an error, and costs a turn.

    [37*48-19]   ->   1757          [37**48]   ->   error: no sum          <answer>1757</answer>   ->   done

Only whole numbers, + - * and parentheses, read by a parser of its own: what a policy writes is never run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from strop.records import Task
from strop.seams.context import Handle
from strop.seams.world import Called, Reply, Said, Seat

LONGEST, LARGEST = 64, 10**12
CALL = re.compile(r"\[([^\[\]]*)\]")
TOKEN = re.compile(r"[0-9]{1,12}|[-+*()]")


@dataclass(frozen=True)
class Calculator:
    """One call a turn: the first bracket counts."""

    def start(self, task: Task, seat: Seat) -> dict[str, Any]:
        return {}

    async def reply(self, state: dict[str, Any], said: Said, ask: Mapping[str, Handle]) -> tuple[dict[str, Any], Reply]:
        if "<answer>" in said.text:
            return state, Reply("", done=True)
        found = CALL.search(said.text[: 4 * LONGEST])
        try:
            if found is None:
                raise ValueError("no call")
            value = computed(found[1])
        except ValueError as error:
            return state, Reply(f"error: {error}", calls=(Called("calculator", False, str(error)),))
        return state, Reply(str(value), calls=(Called("calculator", True),))


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
