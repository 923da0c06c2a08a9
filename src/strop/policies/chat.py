"""Text to tokens and back for one model: its own chat template, a system message, and values for the template's variables."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from strop.seams.part import nearest


class ModelError(ValueError):
    """A model that cannot be used, and what to do about it."""


@dataclass(frozen=True)
class Chat:
    """What a prompt holds beside the task's words.

    >>> Chat.of("", "enable_thinking=false, style=short").options
    {'enable_thinking': False, 'style': 'short'}
    """

    system: str = ""
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Values for variables of the chat template; plain data."""

    @staticmethod
    def of(system: str, template: str) -> Chat:
        """`NAME=VALUE,…`; a value is read as JSON where it is JSON, else as text."""
        options: dict[str, Any] = {}
        for part in re.split(r",(?=\s*[A-Za-z_]\w*\s*=)", template) if template.strip() else []:
            name, equals, value = (piece.strip() for piece in part.partition("="))
            if not equals or not name.isidentifier():
                raise ValueError(f"template={template!r}: write NAME=VALUE with commas between, as in enable_thinking=false")
            if name in options:
                raise ValueError(f"template={template!r}: {name} is given twice")
            try:
                options[name] = json.loads(value)
            except ValueError:
                options[name] = value
        return Chat(system, options)


class ChatRenderer:
    """Writes prompts through the model's chat template; a later turn adds only its own tokens."""

    def __init__(self, tokenizer: Any, chat: Chat | None = None):
        self.tokenizer, self.chat = tokenizer, chat or Chat()
        self.eos = eos_ids(tokenizer)
        self._cache: dict[str, tuple[int, ...]] = {}
        self._between: tuple[str, str] | None = None

    def check(self) -> None:
        """Refuse what the template would pass over in silence: a variable it never reads, a system message it never writes."""
        if self.chat.options:
            read = variables(self.tokenizer.get_chat_template())
            taken = {*inspect.signature(self.tokenizer.apply_chat_template).parameters, "messages"}
            for name in self.chat.options:
                if name in taken:
                    raise ModelError(f"template: {name} is strop's to set; a recipe sets the template's own variables.")
                if name not in read:
                    raise ModelError(f"this model's chat template reads no variable {name!r}. {nearest(name, read - taken)}")
        shown = self._template(self._opened("?"), True)
        if self.chat.system.strip() not in shown:
            raise ModelError(
                "this model's chat template leaves the system message out. Say the same in the questions, or leave --system out."
            )

    def _opened(self, text: str) -> list[dict[str, str]]:
        system = [{"role": "system", "content": self.chat.system}] if self.chat.system else []
        return [*system, {"role": "user", "content": text}]

    def _template(self, messages: list[dict[str, str]], opening: bool) -> str:
        from jinja2 import TemplateError

        try:
            return self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=opening, **self.chat.options)
        except TemplateError as error:
            roles = "system, user" if self.chat.system else "user"
            raise ModelError(f"this model's chat template refuses a conversation of {roles}: {error}") from error

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def prompt(self, text: str) -> tuple[int, ...]:
        known = self._cache.get(text)
        if known is None:
            if len(self._cache) > 4096:
                self._cache.clear()
            known = self._cache[text] = self._encode(self._template(self._opened(text), True))
        return known

    def turn(self, text: str) -> tuple[int, ...]:
        before, after = self._turn_parts()
        return self._encode(before + text + after)

    def _turn_parts(self) -> tuple[str, str]:
        """What the template puts between a reply and the next one, proven once to leave the past as it was."""
        if self._between is None:
            said = [*self._opened("one"), {"role": "assistant", "content": "TWO"}, {"role": "user", "content": "THREE"}]
            first, whole = self._template(said[:-2], True), self._template(said, True)
            if not whole.startswith(first + "TWO") or "THREE" not in whole[len(first) :]:
                raise ModelError(
                    "this chat template rewrites earlier turns, so a multi-turn row cannot be grown by appending. "
                    "Use a template that keeps the past, or restart the row at each turn."
                )
            before, after = whole[len(first) + 3 :].split("THREE", 1)
            closing = self.tokenizer.decode([self.end])
            self._between = (before.removeprefix(closing), after)
        return self._between

    def reply(self, text: str) -> tuple[int, ...]:
        return (*self._encode(text), self.end)

    @cached_property
    def end(self) -> int:
        """Of the tokens that the model stops at, the one that its template writes behind a reply; Gemma's tokenizer names another."""
        behind = self._template([*self._opened("one"), {"role": "assistant", "content": "TWO"}], False).rpartition("TWO")[2].lstrip()
        return next((number for number in self.eos if behind.startswith(self.tokenizer.decode([number]))), self.eos[0])

    def text(self, tokens: Sequence[int]) -> str:
        ids = list(tokens)
        while ids and ids[-1] in self.eos:
            ids.pop()
        return self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)

    def plain(self, text: str) -> tuple[int, ...] | None:
        tokens = self._encode(text)
        special = {*self.eos, *self.tokenizer.all_special_ids}
        special |= {number for number, added in self.tokenizer.added_tokens_decoder.items() if added.special}
        back = self.tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return tokens if back == text and special.isdisjoint(tokens) else None


def variables(template: str) -> set[str]:
    """Every name that the template reads and that somebody else has to give."""
    from jinja2 import meta, nodes
    from jinja2.ext import Extension
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """The tag that transformers adds: what stands in it is a reply."""

        tags = {"generation"}  # noqa: RUF012 - jinja2's own way

        def parse(self, parser: Parser) -> list[nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    language = ImmutableSandboxedEnvironment(extensions=[Generation, "jinja2.ext.loopcontrols"])
    return meta.find_undeclared_variables(language.parse(template)) - language.globals.keys()


def eos_ids(tokenizer: Any, model: Any = None) -> tuple[int, ...]:
    """Ids that end a reply, the tokenizer's own first."""
    ids = [] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)]
    more = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    for extra in more if isinstance(more, list) else [more]:
        if extra is not None and extra not in ids:
            ids.append(int(extra))
    return tuple(ids)
