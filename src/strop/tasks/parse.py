"""Where the answer stands in a text, for other people's tasks: strict and lenient.

Wider than the procedural sources' parse: answers here may be boxed, span lines and be long (a whole sudoku).
Both readings are linear in the text.
"""

from __future__ import annotations

import re

LONGEST = 8192
"""Characters of an answer that are handed to a scorer."""

TAIL = 4 * LONGEST
"""Characters from the end of a text that the lenient reading looks at."""

PHRASE = re.compile(r"answer(?: is)?[ \t]*[:=]?[ \t*]*", re.IGNORECASE)


def last_box(text: str) -> str | None:
    r"""Content of the last closed \boxed{…}, braces balanced; None without one."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    depth = 0
    for position in range(start + 6, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return text[start + 7 : position]
    return None


def strict(text: str) -> tuple[str | None, str]:
    r"""(answer, "") of a text that answers after its thinking, once, in `<answer>…</answer>` or else in \boxed{}; or (None, why not)."""
    final = text.rpartition("</think>")[2]
    if "<think>" in final:
        return None, "thinking is not over"
    if final.count("<answer>") > 1:
        return None, "more than one <answer>"
    if "<answer>" in final:
        answer, closed, _ = final.partition("<answer>")[2].partition("</answer>")
        if not closed:
            return None, "<answer> is not closed"
    else:
        boxed = last_box(final)
        if boxed is None:
            return None, "no <answer> and no closed \\boxed{}"
        answer = boxed
    if len(answer) > LONGEST:
        return None, f"an answer of more than {LONGEST} characters"
    return answer.strip(), ""


def lenient(text: str) -> tuple[str, bool]:
    r"""(best candidate, loose): the last tag, closed or not, the last box, what follows "answer is", or the last line.

    `loose` says that the candidate is prose in which an answer may stand. An empty text gives an empty candidate.
    """
    tail = text[-TAIL:]
    if "<answer>" in tail:
        return tail.rpartition("<answer>")[2].partition("</answer>")[0].strip()[:LONGEST], False
    if (boxed := last_box(tail)) is not None:
        return boxed.strip()[:LONGEST], False
    lines = [line.strip() for line in tail.replace("</think>", "\n").splitlines() if line.strip()]
    last = lines[-1] if lines else ""
    if found := list(PHRASE.finditer(last)):
        return last[found[-1].end() :].strip(" *")[:LONGEST], True
    return last[:LONGEST], True
