"""What a run learned, asked by lm-eval through transformers alone: the same prompts, and the same answers."""

import asyncio
import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from strop import engines, pico
from strop.cli import main
from strop.directory import read_recipe
from strop.policies.causal import load
from strop.recipe import Recipe
from strop.records import Sampling
from strop.seams.context import Handle

ROOT = Path(__file__).parent.parent
PROBLEMS = runpy.run_path(str(ROOT / "scripts" / "make_problems.py"))
COUNT, LONGEST = 12, 24


def task(place: Path, about: dict, rows: list[dict], stop: tuple[str, ...]) -> None:
    """A task of lm-eval's over questions of one's own, with the run's worked examples; docs/real-models.md shows it."""
    (place / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shots = [{"question": question, "answer": reply} for question, reply in about.get("shots", [])]
    told = {
        "task": "words",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(place / "rows.jsonl")}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{answer}}",
        "target_delimiter": "",
        "num_fewshot": len(shots),
        "generation_kwargs": {"do_sample": False, "max_gen_toks": LONGEST, "until": list(stop)},
        "metric_list": [{"metric": "exact_match"}],
    }
    if shots:
        told["fewshot_config"] = {"sampler": "first_n", "samples": shots}
    (place / "words.yaml").write_text(yaml.safe_dump(told, sort_keys=False))


def asked(model: Path, place: Path) -> dict[str, str]:
    """{question: answer} by `lm_eval`, in a process without strop."""
    command = [sys.executable, "-m", "lm_eval", "--model", "hf", "--model_args", f"pretrained={model},dtype=float32", "--device", "cpu"]
    command += ["--tasks", "words", "--include_path", str(place), "--apply_chat_template", "--fewshot_as_multiturn", "--batch_size", "4"]
    command += ["--output_path", str(place / "said"), "--log_samples"]
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(place / "home")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500, check=False, env=env, cwd=place)
    assert done.returncode == 0, done.stderr[-3000:]
    (said,) = (place / "said").rglob("samples_words_*.jsonl")
    return {line["doc"]["question"]: line["resps"][0][0] for line in map(json.loads, said.read_text().splitlines())}


def written(run: Path, model: Path, rows: list[dict]) -> tuple[dict[str, str], tuple[str, ...]]:
    """The same by strop's engine, greedily."""
    about, recipe = read_recipe(run)
    policy = load(str(model), chat=recipe.prompts)
    policy.renderer.show(lambda question: [tuple(pair) for pair in about.get("shots", [])])
    handle = Handle(engines.build(policy, Recipe(slots=16)), policy.renderer)

    async def answer(question: str) -> str:
        node = await handle.open(question, root=question)
        node = await handle.generate(node, max=LONGEST, sampling=Sampling(temperature=0))
        return policy.renderer.text(node.segment.tokens)

    async def answers() -> list[str]:
        return list(await asyncio.gather(*(answer(row["question"]) for row in rows)))

    return {row["question"]: text for row, text in zip(rows, asyncio.run(answers()), strict=True)}, policy.renderer.stop


def agree(run: Path, place: Path, rows: list[dict]) -> None:
    main(["export", str(run), str(place / "export")])
    ours, stop = written(run, place / "export", rows)
    assert len(set(ours.values())) > 1, "one answer to everything would prove little"
    task(place, read_recipe(run)[0], rows, stop)
    assert {question: text.strip() for question, text in asked(place / "export", place).items()} == {q: t.strip() for q, t in ours.items()}


@pytest.mark.full  # lm-eval is not among what tests need
@pytest.mark.parametrize("prompts", [["--shots", "2", "--chat", "qa"], []], ids=["a base model with a format", "its own template"])
def test_lm_eval_gets_the_answers_that_strop_gets(prompts, tmp_path):
    pytest.importorskip("lm_eval")
    shutil.copytree(pico.path(), tmp_path / "model", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    if prompts:
        (tmp_path / "model" / "chat_template.jinja").unlink()
    sums = [(a, b) for a in range(11, 60) for b in range(2, 9, 3)]
    rows = [{"question": f"{a}+{b}=?", "answer": f"{a}+{b}={a + b}\n#### {a + b}"} for a, b in sums]
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    flags = [
        "--model",
        str(tmp_path / "model"),
        "--data",
        str(tmp_path / "sums.jsonl"),
        "--prompt-field",
        "question",
        "--answer-field",
        "answer",
    ]
    flags += ["--instruct", "no", "--tasks", "4", "--group", "8", "--steps", "2", "--eval-tasks", "0", "--method", "intuitor"]
    main(["train", *flags, *prompts, "--max-tokens", "24", "--lr", "1e-5", "--slots", "16", "--out", str(tmp_path / "run")])
    agree(tmp_path / "run", tmp_path, rows[::12])


@pytest.mark.full  # a model of 1 GB in float32, in a stage of its own
def test_real_weights_are_trained_killed_resumed_exported_and_read_by_lm_eval(tmp_path):
    import signal
    import time

    assert "STROP_WEIGHTS" in os.environ, "name the directory that scripts/weights.py wrote in STROP_WEIGHTS"
    for name, part in zip(("train", "test"), PROBLEMS["problems"](), strict=True):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    flags = ["--model", os.environ["STROP_WEIGHTS"], "--chat", "qa", "--shots", "4", "--instruct", "no", "--grader", "math"]
    flags += ["--data", str(tmp_path / "train.jsonl"), "--eval-data", str(tmp_path / "test.jsonl"), "--prompt-field", "question"]
    flags += ["--answer-field", "answer", "--tasks", "4", "--group", "4", "--max-tokens", str(LONGEST), "--steps", "3", "--eval-tasks", "0"]
    flags += ["--token-budget", "2048", "--slots", "32", "--checkpoint-every", "1", "--lr", "1e-5"]
    strop, run = [sys.executable, "-m", "strop"], tmp_path / "run"
    process = subprocess.Popen([*strop, "train", *flags, "--out", str(run)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 900
    while not (run / "groups" / "000001.json.gz").exists():
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    subprocess.run([*strop, "train", "--resume", str(run)], check=True, timeout=1500, capture_output=True)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1, 2]
    assert any(line["grad_norm"] > 0 for line in lines)
    rows = [json.loads(line) for line in (tmp_path / "test.jsonl").read_text().splitlines()][:COUNT]
    agree(run, tmp_path, [{**row, "answer": row["answer"].rpartition(" ")[2]} for row in rows])
