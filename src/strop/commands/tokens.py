"""Add tokens to a model: texts that it reads and writes as one token each. What it says of all else stays as it was.

Examples:
    strop tokens pico pico-tags '<Parallel>' '</Parallel>' '<Path>' '</Path>' '<Summary>' '</Summary>'     each begins as the mean of all
    strop tokens Qwen/Qwen3-0.6B prm '<+>' '<->' --like '<extra>=<|endoftext|>'                     one begins as a copy of another token
    strop train --model pico-tags --method parallel-r1                                                      then train it as any other
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from strop.cli import Usage, answer, table


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="pico, a directory, a GGUF file or a hub id")
    parser.add_argument("directory", metavar="DIR", type=Path, help="where the new model goes; not there yet, or empty")
    parser.add_argument("tokens", metavar="TEXT", nargs="*", help="a token that begins as the mean of all")
    parser.add_argument("--like", metavar="TEXT=TOKEN", action="append", default=[], help="one that begins as a copy of a token; several")


def run(args: argparse.Namespace) -> int:
    wanted = dict.fromkeys(args.tokens, "")
    for pair in args.like:
        text, equals, like = pair.rpartition("=")
        if not equals or not text or not like:
            raise Usage(f"--like {pair!r}: written TEXT=TOKEN, the new token and the one that it begins as")
        wanted[text] = like
    if not wanted or len(wanted) < len(args.tokens) + len(args.like):
        raise Usage("name each new token once" if wanted else "name a token to add: strop tokens MODEL DIR TEXT")
    out: Path = args.directory
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise Usage(f"{out} is there already. Name a directory that is not.")
    from strop import durable
    from strop.policies.causal import load
    from strop.policies.chat import Chat, NoTemplate
    from strop.policies.tokens import widen

    try:
        policy = load(args.model)
    except NoTemplate:
        policy = load(args.model, chat=Chat.of("", "", "plain"))
        policy.tokenizer.chat_template = None  # as it came
    ids = widen(policy, wanted)
    beside = out.with_name(out.name + ".part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    policy.export(beside)
    durable.publish(beside, out)
    size = sum(p.stat().st_size for p in out.rglob("*") if p.is_file())
    rows = [[text, ids[text], like or "the mean of all"] for text, like in wanted.items()]
    said = {"directory": str(out), "model": args.model, "tokens": ids, "bytes": size}
    told = table(rows, ["token", "id", "begins as"])
    answer(args, said, f"{out}: {args.model} with {len(ids)} more tokens, {size / 1e6:.1f} MB\n\n{told}")
    return 0
