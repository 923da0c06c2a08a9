"""A way to write calls: the tool's name and one argument in square brackets, [get c].

strop train --method examples/own/calls.py --task wiki
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from strop.methods.grpo import GRPO
from strop.seams.episode import Episodes
from strop.seams.world import Broken, Call, Tool
from strop.worlds.calls import checked, each

BRACKET = re.compile(r"\[(\w{1,32}) ([^\[\]]{0,64})\]")


@dataclass(frozen=True)
class Brackets:
    """For tools of one argument, a text."""

    def shown(self, tools: Sequence[Tool]) -> str:
        return " ".join(f"[{tool.name} {next(iter(tool.schema['properties']))}]" for tool in tools)

    def written(self, call: Call) -> str:
        return f"[{call.tool} {next(iter(call.arguments.values()))}]"

    def read(self, text: str, tools: Sequence[Tool]) -> tuple[Call | Broken, ...]:
        def one(found: str) -> Call:
            name, _, argument = found.partition(" ")
            key = next((next(iter(tool.schema["properties"])) for tool in tools if tool.name == name), "")
            return checked(name, {key: argument}, tools)  # what the schema refuses is Broken, with the reason

        return each([" ".join(pair) for pair in BRACKET.findall(text)], one)


BRACKETS = GRPO.but("brackets", idea=("sampler",), sampler=Episodes(n=8, turns=6, max_tokens=12, observation=24, calls=Brackets()))
