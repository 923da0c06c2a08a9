"""A model card: what the weights are, how their prompts are written, what they were trained on, and how to make them again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from strop.directory import read_result
from strop.recipe import Recipe
from strop.tasks.table import INSTRUCTION

SHOWN = ("pass@1", "pass@8", "greedy", "majority", "lenient", "length", "cut", "likelier", "margin", "nats a token")


def card(
    run: Path,
    about: Mapping[str, Any],
    recipe: Recipe,
    step: int,
    dtype: str,
    prompt: str,
    stop: Sequence[str],
    metrics: Sequence[Mapping[str, Any]],
    policy: str = "",
) -> Iterator[str]:
    """Lines of Markdown, with the little header that the hub reads. `policy`: the one beside the actor whose weights these are."""
    name, marks = about["resolved"]["method"], about["fingerprint"]
    yield from ("---", "library_name: transformers", "pipeline_tag: text-generation", "tags: [strop, reinforcement-learning]", "---", "")
    yield from (f"# {run.name}", "") if not policy else (f"# {run.name}, the policy {policy}", "")
    model = f"`{Path(recipe.model).name}`"
    if read := about.get("gguf"):
        model = f"`{read['file']}` ({read['family']}, {read['quantisation']}, licence {read['licence']}), read into float32,"
    yield f"{model} after {step} steps of {name} on {_task(about, recipe)}, seed {recipe.seed}. Weights in {dtype}."
    yield from ("", "## Figures", "", *_figures(run, step, recipe, metrics, policy), "")
    yield from (
        "## Prompts",
        "",
        "Trained on prompts of this form, written by the chat template that is saved here:",
        "",
        "```",
        prompt,
        "```",
    )
    if stop:
        texts = " or ".join(f"`{json.dumps(text, ensure_ascii=False)}`" for text in stop)
        yield from (
            "",
            f"A reply ends at an end token or with {texts}, which is no part of the answer: give it as `stop` to a server,",
        )
        yield f"or as `stop_strings={json.dumps(list(stop), ensure_ascii=False)}, tokenizer=tokenizer` to `generate`."
    if recipe.shots:
        yield from ("", f"{recipe.shots} worked examples stand before each question, always these.")
    if recipe.template:
        yield from ("", f"with the template's variables `{recipe.template}`; pass the same when you ask it.")
    if recipe.data and recipe.instruct == "yes":
        yield from ("", f"Each question ends with: “{INSTRUCTION.strip()}”")
    if "data" in about:
        yield from ("", "## Data", "", *_data(about["data"]))
    yield from ("", "## How it was made", "", "```toml", *_toml(recipe), "```", "")
    made = [f"method {marks['method']}", f"recipe {marks['recipe']}", *(f"{k} {v}" for k, v in about["versions"].items())]
    yield f"{', '.join(made)}. Every constant of the method stands in `strop.json`; `strop explain` prints its formula."


def record(about: Mapping[str, Any], stop: Sequence[str] = ()) -> dict[str, Any]:
    """What another program needs to know exactly what was done, without the places of files on the machine that did it."""
    data = about.get("data")
    return {
        **{name: about[name] for name in ("method", "fingerprint", "versions")},
        **({"gguf": about["gguf"]} if "gguf" in about else {}),
        **({"stop_strings": list(stop)} if stop else {}),
        **({"data": {**data, "files": {Path(name).name: digest for name, digest in data["files"].items()}}} if data else {}),
    }


def _task(about: Mapping[str, Any], recipe: Recipe) -> str:
    return f"`{Path(recipe.data).name}`" if recipe.data else f"`{about['resolved']['task']}`"


def _figures(run: Path, step: int, recipe: Recipe, metrics: Sequence[Mapping[str, Any]], policy: str) -> Iterator[str]:
    """Held-out figures where the run ended with these weights, else the last training steps alone."""
    result = {} if policy else read_result(run)  # which is the actor's
    if result.get("steps") == step and result.get("after"):
        before, after = result.get("before") or {}, result["after"]
        what = f"{after['tasks']} questions x {after['samples']} replies" if "samples" in after else f"{after['tasks']} pairs"
        yield from (f"Held out, {what}, 95 % intervals over {'questions' if 'samples' in after else 'pairs'}:", "")
        yield from ("| | before | after |", "|---|---|---|")
        yield from (f"| {n} | {_value(before, n)} | {_value(after, n)} |" for n in SHOWN if after.get(n) is not None)
        for name, value in (result.get("rise") or {}).items():
            if name != "interval":
                low, high = result["rise"]["interval"]
                yield from ("", f"Rise of {name}: {value:+.3f} [{low:+.3f}, {high:+.3f}].")
        yield ""
    else:
        yield from ("These weights were not evaluated on held-out questions.", "")
    if lines := [line for line in metrics if line["step"] < step][-5:]:
        known = [said["reward"] for line in lines if (said := line["policies"][policy] if policy else line)["reward"] is not None]
        kind = f"{policy}/decoded" if policy else "decoded"
        mean = f"{sum(known) / len(known):.3f}" if known else "unknown"
        yield f"Mean training reward of the last {len(lines)} steps: {mean}; {lines[-1]['bill'].get(kind, 0)} tokens written in all."


def _value(side: Mapping[str, Any], name: str) -> str:
    if side.get(name) is None:
        return "-"
    low_high = side.get("interval", {}).get(name)
    return f"{side[name]:.3f}" + (f" [{low_high[0]:.3f}, {low_high[1]:.3f}]" if low_high else "")


def _data(data: Mapping[str, Any]) -> Iterator[str]:
    yield f"{data['rows']} rows, {data['train']} trained on, {data['test']} held out."
    yield from (f"- left out: {count} that {why}" for why, count in data["left_out"].items())
    yield from (f"- `{Path(name).name}`, sha256 `{digest}`" for name, digest in data["files"].items())


def _toml(recipe: Recipe) -> Iterator[str]:
    """The fields that are not at their defaults, as a recipe file; files by their names, since places differ."""
    plain = Recipe()
    for f in fields(recipe):
        value = getattr(recipe, f.name)
        if value is None or value == getattr(plain, f.name):
            continue
        value = value if isinstance(value, str | int | float) else value.name
        shown = Path(str(value)).name if f.name in ("data", "eval_data", "model") else value
        yield f"{f.name} = {json.dumps(shown, ensure_ascii=False)}"
