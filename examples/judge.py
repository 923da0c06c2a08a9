"""A judge to look at: pico, taught which of two results of a modular sum is right; and pairs of results that it has not seen.

strop train examples/judge.py --out runs/verdict
python examples/judge.py > sums.jsonl        then        strop judge sums.jsonl --policy judge=runs/verdict …

About four minutes on two cores. docs/judge.md shows what `strop judge` then says of it.
"""

import json

from strop.methods.sft import SFT
from strop.recipe import Recipe
from strop.tasks.verdict import Verdict

RECIPE = Recipe(method=SFT.but("sft-verdict"), task="verdict", steps=300, lr=1e-3, eval_tasks=100, eval_samples=4)

if __name__ == "__main__":
    for i in range(200):
        needs = Verdict().task("test", 0, i).needs
        (a, b, modulus), candidates, right = needs["sum"], [str(n) for n in needs["candidates"]], int(needs["answer"]) - 1
        print(json.dumps({"prompt": f"({a}+{b})%{modulus}", "chosen": candidates[right], "rejected": candidates[1 - right]}))
