"""elements: what a screen shows, as text, and what can be done to it. One grammar, for screens that are made up and for pages in a browser.

    zu 3f           label, number and kind, and a value if it has one        [3] textbox "zu" = ""
    qa 4t+                                                                   [4] checkbox "qa" on
    @ho             where one is                                             in "ho"
    >write 3 x      >click 4      >choose 5 b      >scroll down      >done

A skin has words of its own for kinds of elements, and for actions where they are not unified. What a page says is flattened: an element is
a line, whatever stands in it, and no control character is left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from strop.seams.world import Tool

KINDS = ("button", "field", "menu", "toggle")
"""What can be acted on: clicked; written into; one of several chosen; flipped by a click."""
UNIFIED = ("click", "write", "choose", "scroll", "done")
"""The actions: on an element by its number, on the screen, and the last word."""
LONGEST = 80
"""Characters of a label or value that are shown."""


class Skin(NamedTuple):
    """How a platform speaks."""

    letters: str
    """Of KINDS, in short trees."""
    words: tuple[str, ...]
    """Of KINDS, in long ones."""
    verbs: tuple[str, ...]
    """Its own words for UNIFIED."""


SKINS = {
    "web": Skin("bfmt", ("button", "textbox", "combobox", "checkbox"), ("click", "type", "select", "scroll", "done")),
    "desktop": Skin("BFMT", ("push button", "entry", "list box", "check box"), ("press", "enter", "pick", "wheel", "close")),
    "phone": Skin("tesw", ("Button", "EditText", "Spinner", "Switch"), ("tap", "input", "spin", "swipe", "finish")),
    "panel": Skin("kdlx", ("key", "slot", "dial", "lamp"), ("hit", "fill", "turn", "slide", "leave")),
}
"""By their names."""


class Element(NamedTuple):
    """Something on a screen."""

    kind: str
    """Of KINDS; `text` is read and has no number, every other word is a kind of page's own, which is clicked."""
    label: str
    """What it is called."""
    value: str = ""
    """What it holds: a text, an option, `+` or `-`."""
    options: tuple[str, ...] = ()
    """Of a menu."""


class Screen(NamedTuple):
    """All that is seen at once."""

    elements: tuple[Element, ...]
    """In the order of reading; those that are no text have numbers from 1 on."""
    title: str
    """Of the screen."""
    focus: str = ""
    """The label of what was touched last, where it has the focus."""
    above: bool = False
    """Whether there is more, which scrolling up shows."""
    below: bool = False
    """Whether there is more, which scrolling down shows."""

    @property
    def numbered(self) -> tuple[Element, ...]:
        """Those that can be acted on: the first is number 1."""
        return tuple(one for one in self.elements if one.kind != "text")


def flat(text: str, longest: int = LONGEST) -> str:
    """A text on one line, without control characters, cut where it is too long.

    >>> flat("a\\n\\tb\\x1b[31m")
    'a b [31m'
    """
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text[: 8 * longest]).split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def tree(screen: Screen, skin: str = "web", short: bool = False) -> str:
    """A screen as text, a line an element; its last line says where one is."""
    lines, number = list[str](), 0
    for one in screen.elements:
        if one.kind == "text":
            lines.append(flat(one.label, 4 * LONGEST) if short else f'text "{flat(one.label, 4 * LONGEST)}"')
            continue
        number += 1
        lines.append(_short(one, number, skin) if short else _long(one, number, skin))
    at = flat(screen.focus or screen.title)
    if short:
        more = f"{'^' * screen.above}{'v' * screen.below}"
        return "\n".join((*lines, f"@{at} {more}".rstrip()))
    where = [f'in "{flat(screen.title)}"', *([f'at "{flat(screen.focus)}"'] if screen.focus else [])]
    where += ["more above"] * screen.above + ["more below"] * screen.below
    return "\n".join((*lines, "; ".join(where)))


def _short(one: Element, number: int, skin: str) -> str:
    letter = SKINS[skin].letters[KINDS.index(one.kind)] if one.kind in KINDS else one.kind
    return f"{flat(one.label)} {number}{letter}{flat(one.value)}"


def _long(one: Element, number: int, skin: str) -> str:
    word = SKINS[skin].words[KINDS.index(one.kind)] if one.kind in KINDS else one.kind
    said = f'[{number}] {word} "{flat(one.label)}"'
    if one.kind in ("toggle", "radio"):
        return f"{said} {'on' if one.value == '+' else 'off'}"
    if one.kind in ("field", "menu"):
        said += f' = "{flat(one.value)}"'
    return said + (f" of {', '.join(map(flat, one.options[:16]))}" if one.kind == "menu" and one.options else "")


# ------------------------------------------------------------------------------------------------ actions

NUMBER = {"type": "integer", "minimum": 1, "maximum": 999}
TEXT = {"type": "string", "maxLength": 400, "pattern": r"^[^\x00-\x1f\x7f-\x9f]*$(?!\n)"}
ASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "click": ("Clicks the element of a number.", {"number": NUMBER}),
    "write": ("Writes a text into a field, in place of what it holds.", {"number": NUMBER, "text": TEXT}),
    "choose": ("Chooses an option of a menu.", {"number": NUMBER, "option": TEXT}),
    "scroll": ("Shows what is above or below.", {"way": {"enum": ["up", "down"], "type": "string"}}),
    "done": ("Says that the goal is reached.", {}),
}


@lru_cache(16)
def actions(skin: str = "") -> Mapping[str, Tool]:
    """The tools of the grammar, {action: tool}: unified, or in the words of a skin."""
    words = SKINS[skin].verbs if skin else UNIFIED
    return {
        action: Tool(word, about, {"properties": asked, "required": [*asked], "additionalProperties": False})
        for (action, (about, asked)), word in zip(ASKS.items(), words, strict=True)
    }


@lru_cache(16)
def meanings(skin: str = "") -> Mapping[str, str]:
    """Which action a word is."""
    return {tool.name: action for action, tool in actions(skin).items()}


class Refused(ValueError):
    """Why an action comes to nothing."""


def numbered(elements: Sequence[Element], number: int, action: str) -> Element:
    """The element of a number, as far as an action can be done to it."""
    if not 1 <= number <= len(elements):
        raise Refused(f"no {number}")
    one, fits = elements[number - 1], {"write": "field", "choose": "menu"}
    if action in fits and one.kind != fits[action]:
        raise Refused(f"{number} is no {fits[action]}")
    return one
