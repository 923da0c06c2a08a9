"""Text to tokens and back for one model: a chat template, a system message, worked examples, values for the template's variables.

The template is the model's own. A base model has none: then it is one of `formats/` or a file of the user's, and it says with
`{% set stop_strings = ["…"] %}` what ends a reply, since no token does.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from itertools import cycle
from pathlib import Path
from typing import Any

from strop.policies import rendering
from strop.records import digest
from strop.seams.part import nearest

FORMATS = ("qa", "plain")
"""Chat templates for models that have none: `formats/NAME.jinja`."""
LONGEST = 1 << 18
"""Bytes of a template file."""


class ModelError(ValueError):
    """A model that cannot be used, and what to do about it."""


class NoTemplate(ModelError):
    """It has no chat template, and nothing was named in its place."""


def first_line(error: BaseException) -> str:
    """What another library's error says, short enough for a line of ours."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


@dataclass(frozen=True)
class Chat:
    """What a prompt holds beside the task's words.

    >>> Chat.of("", "enable_thinking=false, style=short").options
    {'enable_thinking': False, 'style': 'short'}
    """

    system: str = ""
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Values for variables of the chat template; plain data."""
    form: str = ""
    """What stands in the place of the model's own template: a name among `FORMATS`, or a template."""
    tools: tuple[Mapping[str, Any], ...] = ()
    """What may be called, as the template is told of it: then what answers a reply is a tool."""

    @staticmethod
    def of(system: str, template: str, form: str = "") -> Chat:
        """`NAME=VALUE,…`; a value is read as JSON where it is JSON, else as text."""
        if form and form not in FORMATS:
            if "{{" not in form and "{%" not in form:
                raise ValueError(f"no chat format {form!r}. {nearest(form, FORMATS)} Or name a file with a template: FILE.jinja")
            parsed(form)
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
            except RecursionError:
                raise ValueError(f"template: the value of {name} is nested too deeply to be read as JSON") from None
        return Chat(system, options, form)


def opened(chat: str) -> str:
    """A recipe's chat format as it is kept: a file's name becomes its content, so that a run needs no file that may change."""
    if not chat.endswith((".jinja", ".jinja2", ".j2")):
        return chat
    file = Path(chat).expanduser()
    if not file.is_file():
        raise FileNotFoundError(2, "there is no such template file", str(file))
    if file.stat().st_size > LONGEST:
        raise ValueError(f"{file} has {file.stat().st_size} bytes, and a chat template at most {LONGEST}.")
    try:
        text = file.read_text()
    except UnicodeDecodeError:
        raise ValueError(f"{file} is no text in UTF-8, so it holds no chat template.") from None
    if "{{" not in text and "{%" not in text:
        raise ValueError(f"{file} writes nothing of a conversation: a chat template is jinja2, as in src/strop/policies/formats/qa.jinja.")
    return text


class ChatRenderer:
    """Writes prompts through a chat template; a later turn adds only its own tokens."""

    def __init__(self, tokenizer: Any, chat: Chat | None = None):
        self.tokenizer, self.chat = tokenizer, chat or Chat()
        if self.chat.form:
            tokenizer.chat_template = self._form()  # saved with the tokenizer, so whatever is exported carries it
        self.eos = eos_ids(tokenizer)
        self.shots: Callable[[str], Sequence[tuple[str, str]]] = lambda question: ()
        """Worked examples, (question, reply), that stand before a question."""
        self._cache: dict[str, tuple[int, ...]] = {}
        self._telling: dict[str, ChatRenderer] = {}
        self._between: tuple[str, str, str] | None = None

    def _form(self) -> str:
        """The format's template; one of strop's own begins as this tokenizer begins every text."""
        if self.chat.form not in FORMATS:
            return self.chat.form
        return ("{{- bos_token -}}\n" if self._begins else "") + _format(self.chat.form)

    @property
    def _begins(self) -> bool:
        bos = getattr(self.tokenizer, "bos_token_id", None)
        return bos is not None and self.tokenizer("x")["input_ids"][:1] == [bos]

    @property
    def stop(self) -> tuple[str, ...]:
        """Texts that end a reply, where the template names some."""
        return stop_strings(self.tokenizer.get_chat_template())

    def show(self, shots: Callable[[str], Sequence[tuple[str, str]]]) -> None:
        """Worked examples before each question, from here on."""
        self.shots = shots
        self._cache.clear()

    def telling(self, tools: Sequence[Mapping[str, Any]]) -> ChatRenderer:
        """The same template, told of tools."""
        key = digest([dict(tool) for tool in tools])
        if key not in self._telling:
            if not self.tells_tools:
                raise ModelError(
                    "this model's chat template tells of no tools. Write them into the question: --calls hermes, calls=Hermes()."
                )
            if len(self._telling) > 256:
                self._telling.clear()
            made = self._telling[key] = ChatRenderer(self.tokenizer, replace(self.chat, tools=tuple(tools)))
            made.shots = self.shots
        return self._telling[key]

    @property
    def _answers(self) -> str:
        """Who says what stands behind a reply."""
        return "tool" if self.chat.tools else "user"

    def check(self) -> None:
        """Refuse what the template would pass over in silence: a variable it never reads, a system message or a question it never writes;
        and of a format, what would leave a prompt without a beginning or a reply without an end."""
        if self.chat.form:
            self._check_form()
        if self.chat.options:
            read = variables(self.tokenizer.get_chat_template())
            taken = {*inspect.signature(self.tokenizer.apply_chat_template).parameters, "messages"}
            for name in self.chat.options:
                if name in taken:
                    raise ModelError(f"template: {name} is strop's to set; a recipe sets the template's own variables.")
                if name not in read:
                    raise ModelError(f"this model's chat template reads no variable {name!r}. {nearest(name, read - taken)}")
        text = "What is 2 + 3?"
        shown = self._template(self._opened(text), True)
        if text not in shown:
            raise ModelError(
                "this model's chat template leaves the question out, so every task would have one prompt. Mend the template beside the "
                "model (chat_template.jinja): it writes {{ message.content }} for each message."
            )
        if self.chat.system.strip() not in shown:
            raise ModelError(
                "this model's chat template leaves the system message out. Say the same in the questions, or leave --system out."
            )

    def _check_form(self) -> None:
        template = self.tokenizer.get_chat_template()
        if lacking := needed(template) - {*self._values(True), "messages"}:
            name = min(lacking)
            raise ModelError(
                f"the chat format reads {name!r}, which nobody gives. It has messages (each with a role and a content) and "
                f"add_generation_prompt; give one of your own with --template {name}=VALUE."
            )
        text = "What is 2 + 3?"
        shown = self._template(self._opened(text), True)
        if text not in shown:
            raise ModelError("the chat format leaves the question out: write {{ message.content }} for each message of role 'user'.")
        if self._begins and not shown.startswith(self.tokenizer.bos_token):
            raise ModelError(
                f"this tokenizer begins every text with {self.tokenizer.bos_token}, and the chat format does not: let it begin with "
                "{{ bos_token }}."
            )
        if not self.stop and not any(mark in self._behind() for mark in self._ends()):
            raise ModelError(
                "no reply would end: the chat format writes no end token behind one and names no text that ends it. Add to it, as in "
                '{% set stop_strings = ["\\nQuestion:"] %}, what stands where the next question begins.'
            )

    def _opened(self, text: str, shots: Sequence[tuple[str, str]] = ()) -> list[dict[str, str]]:
        said = [{"role": "system", "content": self.chat.system}] if self.chat.system else []
        for question, reply in shots:
            said += [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]
        return [*said, {"role": "user", "content": text}]

    def _values(self, opening: bool) -> dict[str, Any]:
        """What transformers gives a template beside the messages."""
        plain = {"tools": [*self.chat.tools] or None, "documents": None, "add_generation_prompt": opening}
        return {**self.tokenizer.special_tokens_map, **plain, **self.chat.options}

    def _template(self, messages: list[dict[str, str]], opening: bool) -> str:
        template = self.tokenizer.get_chat_template()
        try:
            if template.removeprefix("{{- bos_token -}}\n") in _ours():
                return self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=opening, **self.chat.options)
            return _render(template, messages, self._values(opening))
        except rendering.Unrendered as error:
            roles = ", ".join(dict.fromkeys(message["role"] for message in messages))
            whose = "the chat format" if self.chat.form else "this model's chat template"
            raise ModelError(f"{whose} refuses a conversation of {roles}: {error}") from error

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def prompt(self, text: str, *more: str) -> tuple[int, ...]:
        if more:
            return self._written(text, *more)
        known = self._cache.get(text)
        if known is None:
            if len(self._cache) > 4096:
                self._cache.clear()
            known = self._cache[text] = self._written(text)
        return known

    def _written(self, *texts: str) -> tuple[int, ...]:
        """A conversation's tokens."""
        return self._with(texts, lambda texts: self._shown(*texts))

    def _shown(self, text: str, *more: str) -> str:
        shots = self.shots(text)
        turns = [{"role": role, "content": said} for role, said in zip(cycle(("assistant", self._answers)), more, strict=False)]
        written = self._template([*self._opened(text, shots), *turns], True)
        for _, reply in shots:
            if reply not in written:
                raise ModelError(
                    "this model's chat template rewrites earlier replies, so worked examples would lose their work. Write prompts in "
                    "another format: --chat qa. Or leave --shots out."
                )
        return written

    def turn(self, text: str) -> tuple[int, ...]:
        _, before, after = self._turn_parts()
        if any(name in text for name in self._names):
            return (*self._encode(before), *self._characters(text), *self._encode(after))
        return self._encode(before + text + after)

    def conversation(self, said: Sequence[tuple[str, str]]) -> tuple[int, ...]:
        """A whole conversation of somebody else's, (role, text) in order, with the opening of the reply. Its own system message stands in
        the place of the recipe's; worked examples stand before it."""
        (system, *said) = said if said[0][0] == "system" else [("system", self.chat.system), *said]
        question = next((text for role, text in said if role == "user"), "")
        shots = [part for shot in self.shots(question) for part in zip(("user", "assistant"), shot, strict=True)]
        whole = [*([system] if system[1] else []), *shots, *said]
        roles, texts = zip(*whole, strict=True)
        return self._with(texts, lambda texts: self._template(_messages(roles, texts), True))

    def turns(self, said: Sequence[tuple[str, str]]) -> tuple[int, ...]:
        """What closes a reply, what is said then by whoever says it, (role, text) in order, and the next opening: only the new tokens."""
        roles, texts = zip(*said, strict=True)
        if roles == (self._answers,):
            return self.turn(*texts)
        lead, *_ = self._turn_parts()

        def after(texts: Sequence[str]) -> str:
            first = self._opened("one")
            before = self._template(first, True) + lead + "TWO"
            whole = self._template([*first, {"role": "assistant", "content": "TWO"}, *_messages(roles, texts)], True)
            if not whole.startswith(before) or any(text.strip() not in whole for text in texts):
                raise ModelError(f"this model's chat template leaves out or rewrites what {' and '.join(dict.fromkeys(roles))} say.")
            return self._behind_reply(whole[len(before) :])

        return self._with(texts, after)

    def _with(self, texts: Sequence[str], written: Callable[[Sequence[str]], str]) -> tuple[int, ...]:
        """Tokens of these texts as they are written. The name of a token in one is no token: such texts are written apart."""
        if not any(name in text for text in texts for name in self._names):
            return self._encode(written(texts))
        stands = [f"{digest(text)}{i}" for i, text in enumerate(texts)]
        tokens, rest = list[int](), written(stands)
        for stand, text in zip(stands, texts, strict=True):
            before, _, rest = rest.partition(stand)
            tokens += (*self._encode(before), *self._characters(text))
        return (*tokens, *self._encode(rest))

    @cached_property
    def _names(self) -> tuple[str, ...]:
        """Of special tokens: what templates are made of."""
        special = {*self.tokenizer.all_special_tokens}
        return (*special, *(added.content for added in self.tokenizer.added_tokens_decoder.values() if added.special))

    def _characters(self, text: str) -> tuple[int, ...]:
        """What stands there, letter by letter where it is the name of a token."""
        return tuple(self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])

    def _turn_parts(self) -> tuple[str, str, str]:
        """What the template puts before a reply, and between it and the next one, proven once to leave the past as it was."""
        if self._between is None:
            said = [*self._opened("one"), {"role": "assistant", "content": "TWO"}, {"role": self._answers, "content": "THREE"}]
            first, whole = self._template(said[:-2], True), self._template(said, True)
            lead = whole[len(first) :].partition("TWO")[0]
            if self.chat.tools and "THREE" not in whole:
                raise ModelError("this model's chat template leaves out what a tool answers. Let a user say it: --calls hermes.")
            if not whole.startswith(first + lead + "TWO") or lead.strip() or "THREE" not in whole[len(first) :]:
                raise ModelError(
                    "this chat template rewrites earlier turns, so a multi-turn row cannot be grown by appending. "
                    "Use a template that keeps the past, or restart the row at each turn."
                )
            before, after = whole[len(first + lead) + 3 :].split("THREE", 1)
            self._between = (lead, self._behind_reply(before), after)
        return self._between

    def _behind_reply(self, text: str) -> str:
        """What stands behind a reply, without what ends it: that was written already."""
        if self.stop:
            closing = next((text[: text.index(one) + len(one)] for one in self.stop if one in text), "")
        else:
            closing = self.tokenizer.decode([self.end])
        return text.removeprefix(closing)

    @cached_property
    def forgets(self) -> str:
        """What the template leaves out of earlier replies: `turns` where it writes them otherwise, `thoughts`, or nothing."""
        try:
            self._turn_parts()
            thought = {"role": "assistant", "content": "<think>\nONE\n</think>\n\nTWO"}
            whole = self._template([*self._opened("zero"), thought, {"role": self._answers, "content": "THREE"}], True)
        except ModelError:
            return "turns"
        return "" if "ONE" in whole else "thoughts"

    @cached_property
    def tells_tools(self) -> bool:
        """Whether the template knows of tools."""
        return "tools" in variables(self.tokenizer.get_chat_template())

    @cached_property
    def marks(self) -> tuple[str, ...]:
        """What opens a user's turn and a reply, where it holds the name of a token: nobody but the template writes it."""
        try:
            _, before, after = self._turn_parts()
        except ModelError:
            return ()
        opens = (before.strip(), after.removeprefix(self.tokenizer.decode([self.end])).strip())
        return tuple(dict.fromkeys(mark for mark in opens if any(name in mark for name in self._names)))

    def reply(self, text: str) -> tuple[int, ...]:
        if not self.stop:
            return (*self._encode(text), self.end)
        lead, *_ = self._turn_parts()
        return self._encode((text if text.startswith(lead) else lead + text) + self.stop[0])

    @cached_property
    def end(self) -> int:
        """Of the tokens that the model stops at, the one that its template writes behind a reply; Gemma's tokenizer names another."""
        behind = self._behind().lstrip()
        return next((number for number in self.eos if behind.startswith(self.tokenizer.decode([number]))), self.eos[0])

    def _behind(self) -> str:
        """What the template writes behind a reply."""
        return self._template([*self._opened("one"), {"role": "assistant", "content": "TWO"}], False).rpartition("TWO")[2]

    def _ends(self) -> list[str]:
        return [self.tokenizer.decode([number]) for number in self.eos]

    def text(self, tokens: Sequence[int]) -> str:
        ids = list(tokens)
        while ids and ids[-1] in self.eos:
            ids.pop()
        written = self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return written[: min((at for text in self.stop if (at := written.find(text)) >= 0), default=len(written))]

    def plain(self, text: str) -> tuple[int, ...] | None:
        tokens = self._encode(text)
        special = {*self.eos, *self.tokenizer.all_special_ids}
        special |= {number for number, added in self.tokenizer.added_tokens_decoder.items() if added.special}
        back = self.tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return tokens if back == text and special.isdisjoint(tokens) else None


def _messages(roles: Sequence[str], texts: Sequence[str]) -> list[dict[str, str]]:
    return [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)]


def templated(tokenizer: Any, name: str, chat: Chat | None) -> ChatRenderer:
    """What writes prompts for a model, or what to do where it has no template."""
    if not getattr(tokenizer, "chat_template", None) and not (chat and chat.form):
        raise NoTemplate(
            f"model {name!r} has no chat template, as base models have none, so nothing says how its prompts are written. Name a format: "
            "--chat qa --shots 4 writes questions and answers, four worked ones first; --chat plain the bare texts; or --chat FILE.jinja."
        )
    return ChatRenderer(tokenizer, chat)


_render = rendering.Rendering()


@cache
def _format(name: str) -> str:
    return (Path(__file__).parent / "formats" / f"{name}.jinja").read_text()


@cache
def _ours() -> frozenset[str]:
    """Templates that strop brings: they are rendered here, those of others where they can be stopped."""
    from strop import pico

    return frozenset((*map(_format, FORMATS), (pico.path() / "chat_template.jinja").read_text()))


def parsed(template: str) -> Any:
    """The template's syntax tree; nothing of it is computed, as compiling would."""
    from jinja2 import TemplateError

    try:
        return rendering.language().parse(template)
    except (TemplateError, RecursionError) as error:
        raise ModelError(f"a chat template that jinja2 cannot read: {first_line(error)}") from None


def variables(template: str) -> set[str]:
    """Every name that the template reads and that somebody else has to give."""
    try:
        return _render.variables(template)
    except rendering.Unrendered as error:
        raise ModelError(f"a chat template that cannot be compiled: {error}") from error


def needed(template: str) -> set[str]:
    """Those without which it writes nothing sensible: it neither asks whether they are there nor says what to take instead."""
    from jinja2 import nodes

    tree = parsed(template)
    asked = [test.node for test in tree.find_all(nodes.Test) if test.name in ("defined", "undefined", "none")]
    asked += [filtered.node for filtered in tree.find_all(nodes.Filter) if filtered.name in ("default", "d")]
    return variables(template) - {name.name for name in asked if isinstance(name, nodes.Name)}


@cache
def stop_strings(template: str) -> tuple[str, ...]:
    """What ends a reply, where the template says so: `{% set stop_strings = ["…"] %}`, outside of everything else."""
    from jinja2 import nodes

    if "stop_strings" not in template:
        return ()
    for node in parsed(template).body:
        if isinstance(node, nodes.Assign) and isinstance(node.target, nodes.Name) and node.target.name == "stop_strings":
            items = node.node.items if isinstance(node.node, nodes.List | nodes.Tuple) else [node.node]
            texts = [item.value for item in items if isinstance(item, nodes.Const) and isinstance(item.value, str) and item.value]
            if not texts or len(texts) < len(items):
                raise ModelError('stop_strings of a chat format is a list of texts that are not empty, as in ["\\nQuestion:"].')
            return tuple(texts)
    return ()


def eos_ids(tokenizer: Any, model: Any = None) -> tuple[int, ...]:
    """Ids that end a reply, the tokenizer's own first."""
    ids = [] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)]
    more = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    for extra in more if isinstance(more, list) else [more]:
        if extra is not None and (isinstance(extra, bool) or not isinstance(extra, int)):
            raise ModelError(f"generation_config.json says eos_token_id = {str(extra)[:40]!r}, and that is the number of a token.")
        if extra is not None and extra not in ids:
            ids.append(extra)
    return tuple(ids)
