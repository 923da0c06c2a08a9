"""What a run learned, behind the two servers that users of this field run, asked by the clients that they have."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from strop import engines
from strop.cli import main
from strop.policies.causal import load
from strop.recipe import Recipe
from strop.records import Sampling
from strop.seams.context import Handle

QUESTIONS = [f"{a}+{b}-{c}+{a}=?" for a, b, c in ((11, 5, 3), (27, 41, 6), (8, 19, 2), (33, 7, 12), (14, 22, 9), (45, 3, 8))]
LONGEST = 24


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """The export of a run."""
    place = tmp_path_factory.mktemp("served")
    main(["train", "--task", "chain", "--steps", "2", "--tasks", "4", "--eval-tasks", "0", "--lr", "1e-5", "--out", str(place / "run")])
    main(["export", str(place / "run"), str(place / "model")])
    return place / "model"


@pytest.fixture(scope="module")
def answers(model) -> dict[str, str]:
    """What strop's engine says to the questions, greedily."""
    policy = load(str(model))
    handle = Handle(engines.build(policy, Recipe(slots=8)), policy.renderer)

    async def answer(question: str) -> str:
        node = await handle.generate(await handle.open(question, root=question), max=LONGEST, sampling=Sampling(temperature=0))
        return policy.tokenizer.decode(node.segment.tokens, skip_special_tokens=True)

    async def all_answers() -> list[str]:
        return list(await asyncio.gather(*map(answer, QUESTIONS)))

    said = {question: outside(text) for question, text in zip(QUESTIONS, asyncio.run(all_answers()), strict=True)}
    assert len(set(said.values())) > 1, "one answer to everything would prove little"
    return said


def outside(text: str) -> str:
    """What stands behind the thoughts, which some servers hand over apart."""
    return text.rpartition("</think>")[2].strip()


@contextmanager
def served(command: list[str], port: int, log: Path) -> Iterator[str]:
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    with log.open("w") as out, subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=env) as server:
        try:
            until = time.monotonic() + 300
            while True:
                assert server.poll() is None, log.read_text()[-3000:]
                assert time.monotonic() < until, log.read_text()[-3000:]
                try:
                    if httpx2.get(f"http://127.0.0.1:{port}/health", timeout=5).status_code == 200:
                        break
                except httpx2.HTTPError:
                    pass
                time.sleep(0.5)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()
            try:
                server.wait(60)
            except subprocess.TimeoutExpired:
                server.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def asked_by_openai(address: str, model: Path) -> dict[str, str]:
    import openai

    client = openai.OpenAI(base_url=address, api_key="none", timeout=120, max_retries=0)
    said: dict[str, str] = {}
    for question in QUESTIONS:
        told = client.chat.completions.create(
            model=str(model), messages=[{"role": "user", "content": question}], temperature=0, max_tokens=LONGEST
        )
        said[question] = told.choices[0].message.content or ""
    return said


def asked_by_lm_eval(address: str, model: Path, place: Path) -> dict[str, str]:
    (place / "rows.jsonl").write_text("".join(json.dumps({"question": q, "answer": "0"}) + "\n" for q in QUESTIONS))
    (place / "sums.yaml").write_text(
        f"""task: sums
dataset_path: json
dataset_kwargs: {{data_files: {{test: {place / "rows.jsonl"}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
target_delimiter: ""
generation_kwargs: {{do_sample: false, temperature: 0, max_gen_toks: {LONGEST}, until: ["<|im_end|>"]}}
metric_list: [{{metric: exact_match}}]
"""
    )
    args = f"model={model},base_url={address}/chat/completions,num_concurrent=1,tokenized_requests=False,tokenizer_backend=None"
    command = [sys.executable, "-m", "lm_eval", "--model", "local-chat-completions", "--model_args", args, "--tasks", "sums"]
    command += ["--include_path", str(place), "--apply_chat_template", "--output_path", str(place / "said"), "--log_samples"]
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(place / "home")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, env=env, cwd=place)
    assert done.returncode == 0, done.stderr[-3000:]
    (said,) = (place / "said").rglob("samples_sums_*.jsonl")
    return {line["doc"]["question"]: line["resps"][0][0] for line in map(json.loads, said.read_text().splitlines())}


def transformers_serve(model: Path, port: int) -> list[str]:
    name = Path(sys.executable).parent / "transformers"
    return [str(name), "serve", str(model), "--port", str(port), "--host", "127.0.0.1", "--device", "cpu", "--dtype", "float32"]


def vllm_serve(model: Path, port: int) -> list[str]:
    python = os.environ.get("VLLM_PYTHON")
    if not python:
        pytest.skip("VLLM_PYTHON names no Python with vllm")
    vllm = Path(python).parent / "vllm"
    return [str(vllm), "serve", str(model), "--port", str(port), "--host", "127.0.0.1", "--dtype", "float32", "--max-model-len", "256"]


@pytest.mark.full  # servers and clients that tests do not need
@pytest.mark.parametrize("serve", [transformers_serve, vllm_serve], ids=["transformers serve", "vllm serve"])
def test_clients_of_a_served_export_get_the_answers_that_strop_gets(serve, model, answers, tmp_path):
    port = free_port()
    with served(serve(model, port), port, tmp_path / "server.log") as address:
        for said in (asked_by_openai(address, model), asked_by_lm_eval(address, model, tmp_path)):
            assert {question: outside(text) for question, text in said.items()} == answers
