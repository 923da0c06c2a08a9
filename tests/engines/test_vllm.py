"""The vLLM engine against a real vLLM on a CPU: one server, which strop started, for all tests."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from strop import engines
from strop.cli import main
from strop.directory import read_metrics
from strop.engines.vllm import VllmEngine
from strop.engines.wires import Started, VllmError
from strop.lab import parity
from strop.policies import adapters
from strop.policies.causal import load
from strop.recipe import Recipe
from strop.records import Sampling
from strop.run import create
from strop.tripwires import Tripped

from . import vllms

pytestmark = [
    pytest.mark.full,
    vllms.NEEDED,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
SMALL = Recipe(task="chain", steps=3, tasks=4, group=4, max_tokens=24, eval_tasks=0, slots=32, checkpoint_every=100)


@pytest.fixture(scope="module")
def owner() -> Iterator[VllmEngine]:
    """Holds the server; the tests reach it by its address, as a user's own."""
    engine = engines.build(load("pico", device="cpu"), SMALL.but(engine=f"vllm:python={vllms.python()}"))
    assert isinstance(engine, VllmEngine)
    yield engine
    engine.close()


@pytest.fixture
def there(owner: VllmEngine) -> str:
    assert isinstance(owner.wire, Started)
    return f"vllm:{owner.wire.url}"


@pytest.fixture
def policy():
    return load("pico", device="cpu")


@pytest.fixture
def engine(policy, there: str) -> Iterator[VllmEngine]:
    made = engines.build(policy, SMALL.but(engine=there))
    assert isinstance(made, VllmEngine)
    yield made
    made.close()


def shaken(policy, by: float = 0.01, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in policy.parameters().values():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * by)


PROMPT = "What is 3 + 4 - 2 + 8 - 1? Think first, then give the number and nothing else."


async def some(engine: VllmEngine, policy, *, n: int = 8, most: int = 32, sampling: Sampling = Sampling(), stop: tuple[str, ...] = ()):
    root = await engine.open(policy.renderer.prompt(PROMPT), root="test")
    return list(await asyncio.gather(*(engine.generate(root, max=most, sampling=sampling, stop=stop) for _ in range(n))))


@pytest.mark.parametrize("name", parity.SAMPLINGS)
def test_vllm_embedded_and_learner_give_the_same_tokens_the_same_log_probabilities(name, engine, policy):
    embedded = engines.build(policy, SMALL)
    found = asyncio.run(parity.compare(engine, embedded, policy, parity.SAMPLINGS[name], draws=200))
    assert found["tokens"] > 100
    assert max(found["sampled"], found["scored"], found["embedded"]) < 2e-4
    assert found["ids"] > 2
    assert found["tv"] <= found["chance"]


def test_parity_tells_a_vllm_that_was_told_of_no_temperature(engine, policy, monkeypatch):
    write = engine.wire.write
    monkeypatch.setattr(engine.wire, "write", lambda tokens, sampling, adapter: write(tokens, {**sampling, "temperature": 1.0}, adapter))
    found = asyncio.run(parity.compare(engine, engines.build(policy, SMALL), policy, Sampling(temperature=0.5), draws=200))
    assert found["sampled"] > 0.1
    assert found["tv"] > found["chance"]


def test_a_vllm_action_ends_as_an_embedded_one_would(engine, policy):
    def ended(tokens: tuple[int, ...], stop: tuple[str, ...], most: int) -> str | None:
        if tokens[-1] in engine.eos_ids:
            return "finished"
        text = policy.tokenizer.decode(list(tokens), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return "stop" if any(s in text for s in stop) else "length" if len(tokens) == most else None

    seen = set[str]()
    for stop, most in (((), 12), (("1", "</think>"), 40), (("<answer>",), 40)):
        for node in asyncio.run(some(engine, policy, most=most, stop=stop, n=16)):
            tokens = node.segment.tokens
            assert ended(tokens, stop, most) == node.stop
            assert all(ended(tokens[:n], stop, most) is None for n in range(1, len(tokens)))
            seen.add(str(node.stop))
    assert seen == {"finished", "stop", "length"}


def test_a_vllm_draw_is_keyed_by_step_root_and_ordinal_and_not_by_when_it_is_awaited(engine, policy):
    async def twice():
        root = await engine.open(policy.renderer.prompt(PROMPT), root="keyed")
        first, second = engine.generate(root, max=24), engine.generate(root, max=24)
        b, a = await second, await first
        again = await engine.open(policy.renderer.prompt(PROMPT), root="keyed")
        return a, b, await engine.generate(again, max=24), await engine.generate(again, max=24)

    a, b, c, d = asyncio.run(twice())
    assert (a.path, b.path) == ((0, 0), (0, 1))
    assert (a.segment.tokens, b.segment.tokens) == (c.segment.tokens, d.segment.tokens)
    drawn = [n.segment.tokens for n in asyncio.run(some(engine, policy))]
    engine.begin(7)
    assert [n.segment.tokens for n in asyncio.run(some(engine, policy))] != drawn


def test_vllm_computes_a_groups_prompt_once_and_forgets_it_at_a_delivery(engine, policy):
    def prefilled() -> int:
        before = engine.counters.prefilled
        asyncio.run(some(engine, policy, n=4, most=2))
        return engine.counters.prefilled - before

    length = len(policy.renderer.prompt(PROMPT))
    assert length > 64  # two blocks of the cache
    engine.deliver(1)
    first, second = prefilled(), prefilled()
    assert length <= first < 4 * length
    assert second <= 4 * (length - 64)
    engine.deliver(2)
    assert prefilled() == first


def test_a_vllm_fork_builds_on_a_written_action(engine, policy):
    async def fork():
        (node,) = await some(engine, policy, n=1, most=20)
        turn = await engine.extend(node, policy.renderer.turn("And minus 1?"), kind="observation")
        return list(await asyncio.gather(*(engine.generate(turn, max=8) for _ in range(3))))

    nodes = asyncio.run(fork())
    assert [len(n.path) for n in nodes] == [4, 4, 4]
    assert parity.far([n.segment.logp for n in nodes], parity.learner_says(policy, nodes)) < 2e-4


# Deliveries.


def test_a_vllm_delivery_arrives_whole_under_its_label_and_is_computed_with(engine, policy):
    before = asyncio.run(some(engine, policy))
    shaken(policy)
    engine.deliver(5)
    after = asyncio.run(some(engine, policy))
    assert {n.segment.author.version for n in after} == {5}
    assert parity.far([n.segment.logp for n in after], parity.learner_says(policy, after)) < 2e-4
    assert parity.far([n.segment.logp for n in before], parity.learner_says(policy, before)) > 1e-2


def test_a_skipped_vllm_delivery_is_caught_by_its_label(engine, policy, monkeypatch, tmp_path, there):
    run = create(SMALL.but(engine=there), tmp_path / "run")

    def skipped(version: int) -> None:
        run.engine.version, run.engine.label = version, f"{run.engine.who}/{version}"

    monkeypatch.setattr(run.engine, "deliver", skipped)
    with pytest.raises(VllmError, match=r"computed with weights \w+/0, not with the last delivery, \w+/1\. Either a delivery was skipped"):
        run.train()


def test_a_skipped_vllm_delivery_that_lies_about_its_label_is_caught_by_the_canary(monkeypatch, tmp_path, there):
    run = create(SMALL.but(engine=there), tmp_path / "run")
    wire = run.engine.wire
    held = {}

    async def lie(file, digests, label):
        await wire._post("/update_weight_version", {"new_version": label})
        return [{"checksum": held["sum"]}]

    from strop.engines import vllm

    real = vllm.checksum

    def remembered(digests):
        held["sum"] = real(digests)
        return held["sum"]

    monkeypatch.setattr(vllm, "checksum", remembered)
    monkeypatch.setattr(wire, "load", lambda file, digests, label: (remembered(digests), lie(file, digests, label))[1])
    with pytest.raises(Tripped) as tripped:
        run.train()
    assert tripped.value.names[0] in ("undelivered-weights", "stale-weights")
    assert len(read_metrics(run.directory)) == 1


def test_half_a_vllm_delivery_is_refused_by_the_worker_and_the_old_weights_stay(engine, policy, monkeypatch):
    before = asyncio.run(some(engine, policy))
    every = list(policy.weights())
    monkeypatch.setattr(policy, "weights", lambda: iter(every[: len(every) // 2]))
    with pytest.raises(VllmError, match=f"half a delivery: {len(every) - len(every) // 2} of {len(every)} tensors are missing"):
        engine.deliver(1)
    engine.begin(0)
    assert [n.segment.tokens for n in asyncio.run(some(engine, policy))] == [n.segment.tokens for n in before]


def test_a_vllm_delivery_damaged_on_its_way_is_refused_by_the_worker(engine, monkeypatch):
    load_ = engine.wire.load

    async def damaged(file: Path, digests, label):
        tensors = load_file(file)
        tensors["model.norm.weight"] += 1
        save_file(tensors, file)
        return await load_(file, digests, label)

    monkeypatch.setattr(engine.wire, "load", damaged)
    with pytest.raises(VllmError, match=r"a damaged delivery: 1 of \d+ tensors are not what was sent, first model\.norm\.weight"):
        engine.deliver(1)


def test_a_vllm_delivery_of_some_new_and_some_old_tensors_is_caught_by_the_canary(monkeypatch, tmp_path, there):
    run = create(SMALL.but(engine=there), tmp_path / "run")
    policy = run.policy
    old = {name: tensor.clone() for name, tensor in policy.weights()}
    half = set(list(old)[::2])
    monkeypatch.setattr(policy, "weights", lambda: ((n, old[n] if n in half else p.detach()) for n, p in policy.model.named_parameters()))
    with pytest.raises(Tripped, match="near no earlier version of it"):
        run.train()


def test_two_runs_on_one_vllm_server_are_told_apart(engine, policy, there):
    other = engines.build(load("pico", device="cpu"), SMALL.but(engine=there))
    with pytest.raises(VllmError, match="another run delivers to the same server"):
        asyncio.run(some(engine, policy))
    other.close()


# Training.


def test_training_through_vllm_measures_the_mismatch_corrects_it_and_resumes(tmp_path, there):
    run = create(SMALL.but(engine=there), tmp_path / "run")
    run.train()
    assert run.method.correction.name == "truncated"
    for line in read_metrics(run.directory):
        assert 0 < line["sampler"]["largest"] - 1 < 1e-3
        assert line["bill"]["measured"] > 0
        assert line["watch"]["canary"]["engine"] == pytest.approx(line["watch"]["canary"]["learner"], abs=1e-4)
    from strop.run import resume

    (run.directory / "checkpoints" / "000003" / "hash").write_text("torn")
    again = resume(run.directory, say=lambda _: None)
    again.train()
    assert [line["digest"] for line in read_metrics(run.directory)][-1]["weights"] == run.digest_weights()


# LoRA.


LORA = SMALL.but(lora=8, lr=1e-3)


def with_adapter():
    policy = load("pico", device="cpu")
    policy.adapter = adapters.adapt(policy.model, LORA.lora, LORA.lora_targets, 0)
    return policy


def shaken_adapter(policy, by: float) -> None:
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in policy.parameters().values():
            parameter.add_(torch.randn_like(parameter) * by)


@pytest.fixture(scope="module")
def lora_owner() -> Iterator[VllmEngine]:
    engine = engines.build(with_adapter(), LORA.but(engine=f"vllm:python={vllms.python()}"))
    assert isinstance(engine, VllmEngine)
    yield engine
    engine.close()


@pytest.mark.parametrize("form", ["adapter", "merged"])
def test_vllm_gets_lora_as_an_adapter_where_it_was_started_for_that_and_merged_where_not(form, request):
    server = request.getfixturevalue({"adapter": "lora_owner", "merged": "owner"}[form])
    policy = with_adapter()
    engine = engines.build(policy, LORA.but(engine=f"vllm:{server.wire.url}"))
    assert engine.lora == form
    before = asyncio.run(some(engine, policy))
    shaken_adapter(policy, 0.05)
    engine.deliver(1)
    assert engine.lora == form
    after = asyncio.run(some(engine, policy))
    assert parity.far([n.segment.logp for n in after], parity.learner_says(policy, after)) < 2e-4
    assert parity.far([n.segment.logp for n in before], parity.learner_says(policy, before)) > 1e-2
    engine.close()


def test_a_stale_lora_adapter_in_vllm_is_caught_by_the_canary(lora_owner, monkeypatch, tmp_path):
    run = create(LORA.but(engine=f"vllm:{lora_owner.wire.url}"), tmp_path / "run")
    assert run.engine.lora == "adapter"
    wire = run.engine.wire
    first = tmp_path / "first"
    adapters.save(run.policy.adapter, first)
    adapt = wire.adapt
    monkeypatch.setattr(wire, "adapt", lambda name, directory, label: adapt(name, first / adapters.DIRECTORY, label))
    with pytest.raises(Tripped) as tripped:
        run.train()
    assert tripped.value.names[0] in ("undelivered-weights", "stale-weights")
    assert len(read_metrics(run.directory)) == 1


# The same server as a remote endpoint.


def test_a_served_vllm_is_evaluated_as_a_remote_endpoint_from_the_command_line(owner, capsys):
    main(["eval", "strop", "--engine", f"remote:{owner.wire.url}", "--task", "chain", "--tasks", "4", "--samples", "2", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["tasks"] == 4
    assert found["length"] > 5
    with pytest.raises(SystemExit):
        main(["eval", "nobody", "--engine", f"remote:{owner.wire.url}", "--task", "chain", "--tasks", "1", "--samples", "1"])
    assert "refused a request; it answered 404" in capsys.readouterr().err


# Failures.


def test_a_vllm_that_does_not_answer_in_time_is_named_with_what_to_do(policy, there):
    engine = engines.build(policy, SMALL.but(engine=f"{there},deadline=2"))
    with pytest.raises(VllmError, match=r"did not answer /inference/v1/generate within 2 s"):
        asyncio.run(some(engine, policy, n=32, most=1900, sampling=Sampling(allowed=tuple(range(40, 64)))))


def test_an_address_without_a_vllm_is_an_error_with_what_to_do(policy):
    with pytest.raises(VllmError, match=r"vLLM at http://127\.0\.0\.1:9 is not there"):
        engines.build(policy, SMALL.but(engine="vllm:http://127.0.0.1:9"))


def test_a_vllm_server_ends_when_its_owner_is_killed_and_its_death_is_named(tmp_path):
    script = (
        "import asyncio, sys\nfrom strop import engines\nfrom strop.policies.causal import load\nfrom strop.recipe import Recipe\n"
        "policy = load('pico', device='cpu')\n"
        f"engine = engines.build(policy, Recipe(engine='vllm:python={vllms.python()}', slots=8))\n"
        "print(engine.wire.process.pid, flush=True)\nsys.stdin.read()\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert owner.stdout is not None
    server = int(owner.stdout.readline())
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    until = time.monotonic() + 30
    while Path(f"/proc/{server}").exists() and "zombie" not in Path(f"/proc/{server}/status").read_text():
        assert time.monotonic() < until, "the server outlived its owner"
        time.sleep(0.2)


def test_vllm_trains_in_process_where_strop_is_installed_beside_it(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(vllms.ROOT / "src")}
    environment.pop("STROP_VLLM_PYTHON", None)
    command = [str(vllms.python()), "-m", "strop", "train", "--engine", "vllm", "--steps", "2", "--tasks", "4", "--group", "4"]
    command += ["--max-tokens", "24", "--eval-tasks", "4", "--eval-samples", "2", "--slots", "32", "--out", str(tmp_path / "run")]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stderr[-2000:]
    lines = read_metrics(tmp_path / "run")
    assert [line["step"] for line in lines] == [0, 1]
    assert all(line["sampler"]["largest"] < 1.001 for line in lines)
    assert "held out" in ended.stdout
