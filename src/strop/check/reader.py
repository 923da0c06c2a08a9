"""Reads what `strop explain` prints and computes it: syntax trees, numpy and loops over units. It imports nothing of strop.

Numbers are complex so that a derivative comes along: with logp_T moved by i*h*d, the imaginary part of the loss is h times its slope
along d, exact to rounding. What is compared, clipped or detached looks at real parts only.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import numpy as np

LETTERS = "TWRG"
LEVELS = {"token": "T", "row": "W", "rollout": "R", "group": "G", "batch": ""}
ASSIGNED = re.compile(r"^    ([A-Za-z_]\w*) = (.+)$")
HEADING = re.compile(r"^(\S.*), decisions where (.+):$")


@dataclass
class Value:
    """Numbers of one kind of unit; the letter of the batch is empty."""

    letter: str
    numbers: np.ndarray


def truth(x: np.ndarray) -> np.ndarray:
    return np.real(x) != 0


class Reader:
    def __init__(self, parents: dict[str, list[int]], names: dict[str, Value], labels: dict[str, np.ndarray]):
        """`parents`: for each decision its row ("T"), each row its rollout ("W"), each rollout its group ("R"), each group 0 ("G")."""
        self.parents, self.names, self.labels = parents, dict(names), labels
        self.sizes = {letter: len(parents[letter]) for letter in LETTERS} | {"": 1}
        self.scope = np.ones(self.sizes["T"], dtype=bool)

    def read(self, text: str, here: np.ndarray, noise: dict[str, np.ndarray]) -> dict[str, Value]:
        """Every name the text defines. `here`: which decisions the minibatch holds; `noise`: random_T of each signal."""
        everything = np.ones(self.sizes["T"], dtype=bool)
        aside = False
        for line in text.splitlines():
            if not line.startswith(" "):
                self.scope, aside = everything, line.startswith("reward, for rollouts of role ")  # no batch of the exams has any
            if aside:
                continue
            if heading := HEADING.match(line):
                if signal := re.match(r"signal (\w+),", line):
                    self.names["random_T"] = Value("T", noise[signal[1]])
                chosen = truth(self.spread(self.compute(heading[2]), "T"))
                self.scope = chosen & here if "each minibatch" in line else chosen
            elif said := ASSIGNED.match(line):
                name, value = said[1], self.compute(said[2])
                letter = name[-1] if name[-2:-1] == "_" and name[-1] in LETTERS else ""
                self.names[name] = Value(letter, self.spread(value, letter))
        return self.names

    def compute(self, expression: str) -> Value:
        with np.errstate(all="ignore"):
            return self.visit(ast.parse(expression, mode="eval").body)

    # Units.

    def up(self, unit: int, fine: str, coarse: str) -> int:
        for letter in LETTERS[LETTERS.index(fine) :] if fine else "":
            if letter == coarse:
                return unit
            unit = self.parents[letter][unit]
        return unit if coarse else 0

    def spread(self, value: Value, letter: str) -> np.ndarray:
        if value.letter == letter:
            return value.numbers
        return np.array([value.numbers[self.up(i, letter, value.letter)] for i in range(self.sizes[letter])], dtype=complex)

    def alike(self, *values: Value) -> tuple[str, list[np.ndarray]]:
        finest = min((v.letter for v in values), key=lambda letter: LETTERS.index(letter) if letter else 9)
        return finest, [self.spread(v, finest) for v in values]

    def held(self, letter: str) -> np.ndarray:
        """Units that hold a decision of the scope."""
        found = np.zeros(self.sizes[letter], dtype=bool)
        for t in np.flatnonzero(self.scope):
            found[self.up(int(t), "T", letter)] = True
        return found

    def groups(self, fine: str, coarse: str) -> list[list[int]]:
        """For each coarse unit the fine ones it holds; of decisions only those in scope."""
        members: list[list[int]] = [[] for _ in range(self.sizes[coarse])]
        for i in range(self.sizes[fine]):
            if fine != "T" or self.scope[i]:
                members[self.up(i, fine, coarse)].append(i)
        return members

    # The tree.

    def visit(self, node: ast.expr) -> Value:
        if isinstance(node, ast.Constant):
            return Value("", np.array([complex(cast(Any, node.value))]))
        if isinstance(node, ast.Name):
            numbers = {"pi": np.pi, "inf": np.inf}
            return Value("", np.array([complex(numbers[node.id])])) if node.id in numbers else self.names[node.id]
        if isinstance(node, ast.UnaryOp):
            inner = self.visit(node.operand)
            return Value(inner.letter, -inner.numbers if isinstance(node.op, ast.USub) else (~truth(inner.numbers)).astype(complex))
        if isinstance(node, ast.BinOp):
            letter, (a, b) = self.alike(self.visit(node.left), self.visit(node.right))
            done = {ast.Add: np.add, ast.Sub: np.subtract, ast.Mult: np.multiply, ast.Div: np.divide, ast.Pow: np.power}
            if isinstance(node.op, ast.Pow) and not np.imag(b).any() and (np.real(b) == 2).all():
                return Value(letter, a * a)
            if isinstance(node.op, ast.Mod):
                return Value(letter, np.mod(np.real(a), np.real(b)).astype(complex))
            return Value(letter, done[type(node.op)](a, b))
        if isinstance(node, ast.BoolOp):
            letter, parts = self.alike(*(self.visit(v) for v in node.values))
            join = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
            return Value(letter, join.reduce([truth(p) for p in parts]).astype(complex))
        if isinstance(node, ast.Compare):
            letter, sides = self.alike(*(self.visit(v) for v in (node.left, *node.comparators)))
            tests = {ast.Lt: np.less, ast.LtE: np.less_equal, ast.Gt: np.greater, ast.GtE: np.greater_equal, ast.Eq: np.equal}
            pairs = zip(node.ops, sides, sides[1:], strict=False)
            return Value(letter, np.logical_and.reduce([tests[type(op)](np.real(a), np.real(b)) for op, a, b in pairs]).astype(complex))
        assert isinstance(node, ast.Call), ast.dump(node)
        assert isinstance(node.func, ast.Name)
        return self.call(node.func.id, node.args)

    def call(self, word: str, given: list[ast.expr]) -> Value:
        level = next((LEVELS[a.id] for a in given[1:2] if isinstance(a, ast.Name) and a.id in LEVELS), None)
        if word in ("mean", "sum", "std") or (word in ("min", "max") and level is not None):
            assert level is not None
            return self.statistic(word, self.visit(given[0]), level, self.visit(given[2]) if len(given) > 2 else None)
        if word == "span":
            assert isinstance(given[0], ast.Constant)
            return Value("T", self.labels.get(str(given[0].value), np.zeros(self.sizes["T"])).astype(complex))
        if word == "nested_mean":
            return self.nested_mean(self.visit(given[0]), self.visit(given[1]))
        if word == "same":
            return self.same(self.visit(given[0]))
        if word == "alike":
            return self.alike_mean(self.visit(given[0]), self.visit(given[1]))
        if word in ("count", "active", "last", "behind"):
            units = [LEVELS[a.id] for a in given if isinstance(a, ast.Name)]
            return self.counted(word, *units)
        values = [self.visit(a) for a in given]
        if word == "next":
            return self.following(values[0], values[1])
        if word == "later_sum":
            return self.later_sum(values[0], values[1])
        letter, x = self.alike(*values)
        return Value(letter, ELEMENTWISE[word](*x))

    def statistic(self, word: str, x: Value, level: str, only: Value | None) -> Value:
        chosen = None if only is None else truth(self.spread(only, x.letter))
        found = []
        for members in self.groups(x.letter, level):
            mine = [x.numbers[i] for i in members if chosen is None or chosen[i]]
            if not mine:
                found.append({"min": np.inf, "max": -np.inf}.get(word, 0.0))
            elif word in ("min", "max"):
                found.append((min if word == "min" else max)(mine, key=lambda v: v.real))
            else:
                total = sum(mine)
                center = total / len(mine)
                spread = np.sqrt(sum((v - center) ** 2 for v in mine) / len(mine)) if word == "std" else 0
                found.append({"sum": total, "mean": center, "std": spread}[word])
        return Value(level, np.array(found, dtype=complex))

    def nested_mean(self, x: Value, keys: Value) -> Value:
        """Of each rollout: the mean of the means over its group and over those who share its first keys, one key more each time."""
        x_R, found = self.spread(x, "R"), []
        for members in self.groups("R", "G"):
            for r in members:
                lines = [members]
                for depth, key in enumerate(keys.numbers[r]):
                    lines.append([s for s in members if keys.numbers[s][depth : depth + 1] == (key,)])
                means = [sum(x_R[s] for s in line) / len(line) for line in lines[:1] + [line for line in lines[1:] if len(line) > 1]]
                found.append(sum(means) / len(means))
        return Value("R", np.array(found, dtype=complex))

    def same(self, x: Value) -> Value:
        x_R, found = self.spread(x, "R"), np.zeros(self.sizes["R"], dtype=complex)
        for members in self.groups("R", "G"):
            for r in members:
                found[r] = sum(x_R[s] == x_R[r] for s in members)
        return Value("R", found)

    def alike_mean(self, x: Value, key: Value) -> Value:
        x_R, key_R, found = self.spread(x, "R"), self.spread(key, "R"), np.zeros(self.sizes["R"], dtype=complex)
        for members in self.groups("R", "G"):
            for r in members:
                mine = [x_R[s] for s in members if key_R[s] == key_R[r]]
                found[r] = sum(mine) / len(mine)
        return Value("R", found)

    def counted(self, word: str, unit: str, level: str | None = None) -> Value:
        if word == "last":
            found = np.zeros(self.sizes["T"], dtype=complex)
            for members in self.groups("T", unit):
                found[members[-1:]] = 1
            return Value("T", found)
        if level is None:
            return Value(unit, self.held(unit).astype(complex))
        if word == "behind":
            found = np.zeros(self.sizes[unit], dtype=complex)
            for members in self.groups(unit, level):
                found[members] = range(len(members) - 1, -1, -1)
            return Value(unit, found)
        held = self.held(unit)
        counts = [sum(bool(held[i]) if word == "active" else 1 for i in members) for members in self.groups(unit, level)]
        return Value(level, np.array(counts, dtype=complex))

    def following(self, x: Value, end: Value) -> Value:
        x_T, found = self.spread(x, "T"), self.spread(end, "T").copy()
        for members in self.groups("T", "R"):
            for now, after in pairwise(members):
                found[now] = x_T[after]
        return Value("T", found)

    def later_sum(self, x: Value, decay: Value) -> Value:
        x_T, factor_T = self.spread(x, "T"), self.spread(decay, "T")
        found = np.zeros_like(x_T)
        for members in self.groups("T", "R"):
            carried = 0.0
            for t in reversed(members):
                carried = found[t] = x_T[t] + factor_T[t] * carried
        return Value("T", found)


def smaller(a: Any, b: Any) -> Any:
    return np.where(a.real <= b.real, a, b)


def larger(a: Any, b: Any) -> Any:
    return np.where(a.real >= b.real, a, b)


ELEMENTWISE = {
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "cos": np.cos,
    "abs": lambda x: np.where(x.real < 0, -x, x),
    "min": smaller,
    "max": larger,
    "clip": lambda x, low, high: smaller(larger(x, low), high),
    "where": lambda c, a, b: np.where(truth(c), a, b),
    "detach": lambda x: x.real.astype(complex),
}
