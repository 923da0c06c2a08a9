"""The reference says what the code says, and what stands on it as one's own can be trained."""

import dataclasses
import inspect
import json
import re
from pathlib import Path

import pytest

from strop import own
from strop.check.file import of_file
from strop.claims import of_place
from strop.cli import main
from strop.directory import read_metrics
from strop.method import Method
from strop.methods.grpo import GRPO
from strop.metrics import LINE
from strop.recipe import Recipe
from strop.reference import pages
from strop.reference.seams import SEAMS, reads, seam_of, shared
from strop.reference.source import members
from strop.run import create
from strop.seams.credit import group_standardized
from strop.seams.grader import spans_of
from strop.seams.mark import channel
from strop.seams.memory import Bank, Likely
from strop.seams.objective import clipped_surrogate
from strop.seams.part import NEEDS, part, part_id
from strop.seams.world import Called, Reply
from strop.sense import channels_read, seats

ROOT = Path(__file__).parent.parent.parent
REFERENCE, OWN = ROOT / "docs" / "reference", ROOT / "examples" / "own"
FILES = sorted(OWN.glob("*.py"))
SMALL = {"tasks": 2, "group": 4, "max_tokens": 16, "steps": 2, "eval_tasks": 0}


def test_the_pages_say_what_the_code_says():
    files = pages.files(OWN)
    anew = "write them anew: strop parts --page docs/reference"
    assert {path.name for path in REFERENCE.iterdir()} == set(files), f"a page too many or too few; {anew}"
    for name, text in files.items():
        assert (REFERENCE / name).read_text() == text, f"{name} is out of date; {anew}"


def test_every_link_of_the_pages_leads_somewhere():
    for page in REFERENCE.glob("*.md"):
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            assert (REFERENCE / target).exists(), f"{page.name} links {target}"


def test_every_field_of_a_method_is_said_and_every_seam_has_its_page():
    said = {m.name: m.says for m in members("strop.method:Method")}
    assert all(said[f.name] for f in dataclasses.fields(Method))
    text = (REFERENCE / "README.md").read_text()
    assert all(f"]({name}.md)" in text for name in pages.names() if name != "overview")
    for seam in (
        "curriculum",
        "feed",
        "sampler",
        "environment",
        "marks",
        "graders",
        "reward",
        "gate",
        "correction",
        "credit",
        "signals",
        "heads",
        "update",
    ):
        assert re.search(rf"^\| `{seam}: .*\]\(\w+\.md\) \|$", text, re.M), seam


def test_every_field_of_every_record_and_protocol_is_said():
    places = [*pages.RECORDS, *(place for seam in SEAMS.values() for place in seam.classes)]
    plain = {"to_json", "from_json"}
    silent = [f"{place}.{m.name}" for place in places for m in members(place) if not m.says and m.name not in plain]
    assert silent == []


def test_every_part_and_record_of_strops_stands_on_a_page():
    from strop.catalogue import own as catalogue

    text = "\n".join(path.read_text() for path in REFERENCE.glob("*.md"))
    for name, thing in catalogue().items():
        assert seam_of(thing) is None or re.search(rf"\b{name}\b", text), name
    assert {name for name, thing in catalogue().items() if seam_of(thing) is None} == {
        "Coin",
        "Corpus",
        "Digits",
        "Exact",
        "Functions",
        "Limit",
        "Partner",
        "Quantized",
        "Rules",
        "Sampling",
        "Server",
        "Share",
        "Steps",
        "When",
    }


def test_what_a_page_says_may_be_read_is_what_method_building_lets_it_read():
    from strop.methods import METHODS, method

    said = {seam.seat: {read.name for read in reads(seam)} for seam in SEAMS.values() if seam.seat in ("correction", "credit", "signals")}
    for name in METHODS:
        for seam, reader, ready in seats(method(name)):
            seat = re.split(r"[.[]", seam)[0]
            channels = {f"{channel}_R" for channel in channels_read(method(name))}
            channels |= {f"{grader.gives}_T" for grader in method(name).graders if spans_of(grader)}
            channels |= {given for link in method(name).credit for given in link.gives.split(",")}
            assert set(reader.reads) <= said[seat] | channels, (name, seam)
            own = {f"{grader.gives}_R" for grader in method(name).graders} | {f"{channel(mark)}_R" for mark in method(name).marks}
            assert ready - said[seat] - own - channels <= {"value_T"}, (name, seam)


def test_every_kind_has_one_of_ones_own_and_every_file_is_on_a_page():
    assert {seam.own for seam in SEAMS.values() if seam.own} == {file.stem for file in FILES}
    without = {name for name, seam in SEAMS.items() if not seam.own}
    assert without == {"context", "reduction", "update", "program", "asked"}, "these are handed over, or are records of strop's"


@pytest.mark.parametrize(
    "file", [file if file.stem == "credit" else pytest.param(file, marks=pytest.mark.slow) for file in FILES], ids=lambda file: file.stem
)
def test_one_of_ones_own_passes_its_exam_and_is_trained_for_two_steps(file, tmp_path):
    found = list(of_file(file))  # of a claim, that includes two steps of both arms
    assert found
    assert [str(one) for one in found if one.fine is not True] == []
    asked = re.search(r"^strop train .*--task (\S+)", file.read_text(), re.M)  # as its own first lines say
    recipe = Recipe(task=str(file), **SMALL) if file.stem == "source" else Recipe(method=str(file), **SMALL)
    recipe = recipe.but(task=asked[1]) if asked and file.stem != "source" else recipe
    if not of_place(own.Place(file)):
        create(recipe, tmp_path / "run").train()
        assert [line["step"] for line in read_metrics(tmp_path / "run")] == [0, 1]


def flat(line, path=""):
    """Paths of a line; a list is one field."""
    for name, value in line.items():
        here = f"{path}{name}"
        if isinstance(value, dict):
            yield from flat(value, f"{here}.")
        else:
            yield here


def described(path, channels):
    """Which entry of the table tells of it: itself, or the one whose last word is a name of the run's own."""
    head, _, last = path.rpartition(".")
    if path in LINE:
        return path
    if exact := [key for key in LINE if re.fullmatch(re.sub(r"<\w+>", "[^.]+", key.replace(".", r"\.")), path) and "." in key]:
        return exact[0]
    if not head:
        return "<channel>" if last in channels else None
    top = path.split(".")[0]
    named = [key for key in LINE if re.fullmatch(r"<\w+>", key.rpartition(".")[2]) and key.partition(".<")[0] in (head, top)]
    return named[0] if named else None


@dataclasses.dataclass(frozen=True)
class Ticking:
    """A world that is told something, and says how long it took and what it did beside answering."""

    def start(self, task, seat):
        return 0

    async def reply(self, state, said, ask):
        return state + 1, Reply("tick", calls=(Called("clock", True),), facts={"counts": {"ticked": 1}})

    def took(self):
        return {"clock": [0.1, 0.2]}


KINDS = {
    "plain": {},
    "tools": {"method": GRPO.but("ticking", idea=("environment",), environment=Ticking()), "turns": 2},
    "graders": {"method": str(OWN / "grader.py")},
    "marks": {"method": str(OWN / "mark.py")},
    "head and gate": {"method": f"{OWN / 'head.py'} + {OWN / 'gate.py'}", "group": 6},
    "another dtype": {"dtype": "bfloat16"},
    "value head": {"method": "ppo"},
    "memory": {"method": GRPO.but("remembers", idea=("memory",), memory=Bank(Likely(every=1)))},
    "swarm, alone": {"method": "swarm"},
    "roles": {"method": "svs"},
    "policies": {"method": str(ROOT / "examples" / "two_players.py")},
    "pairs of a file": {"method": "mpo", "task": "", "data": "pairs.jsonl", "grader": "exact"},
    "warned, since nothing can be answered in two tokens": {"max_tokens": 2, "tripwire": "no-spread=1"},
}


@pytest.mark.slow  # twelve short runs
def test_every_field_of_a_metrics_line_is_told_of_and_every_one_that_is_told_of_occurs_or_says_when(tmp_path, monkeypatch):
    rows = [{"prompt": f"{i}?", "chosen": "yes", "rejected": "no"} for i in range(40)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(tmp_path)
    seen, always = set(), set(LINE)
    for number, kind in enumerate(KINDS.values()):
        create(Recipe(**{**SMALL, "steps": 1, **kind}), tmp_path / str(number)).train()
        (line,) = read_metrics(tmp_path / str(number))
        told = {path: described(path, {"outcome", "lenient", "brief", "sure", "chosen", "answer_length"}) for path in flat(line)}
        assert [path for path, entry in told.items() if entry is None] == []
        seen |= set(told.values())
        always &= set(told.values())
    assert {name for name, figure in LINE.items() if not figure.when} <= always
    assert {name for name, figure in LINE.items() if name not in seen} == {
        name for name in LINE if name.split(".")[0] in ("age", "stale", "taken", "swarm")
    }, "these alone need others: replicas, or trainers"


def test_help_shows_constants_formula_and_needs():
    said = inspect.getdoc(clipped_surrogate(clip_high=0.28))
    assert said is not None
    assert "clipped_surrogate(clip_low=0.2, clip_high=0.28, dual_clip=None)" in said
    assert "gain_T = min(ratio_T * credit_T, clip(ratio_T, 1 - 0.2, 1 + 0.28) * credit_T)" in said
    assert f"needs clip: {NEEDS['clip']}" in said
    assert inspect.signature(group_standardized(unbiased=True)).parameters["unbiased"].default is True
    assert "A function and its bound constants" in (type(clipped_surrogate).__doc__ or "")
    assert list(inspect.signature(type(clipped_surrogate)).parameters)[:2] == ["fn", "bound"]


def test_a_need_or_grain_that_nobody_knows_is_refused():
    def mine(reward_R):
        return reward_R

    with pytest.raises(ValueError, match=r"needs 'grop', which no method can be asked for\. Did you mean 'group'"):
        part(gives="credit_R", needs=("grop",))(mine)
    with pytest.raises(ValueError, match="has the grain 'turn'"):
        part(grain="turn")(mine)


def test_the_command_shows_a_seam_and_a_part(capsys, refused):
    main(["parts"])
    listed = capsys.readouterr().out
    assert all(name in listed for name in (*SEAMS, "also: part"))
    main(["parts", "gate"])
    assert "DropFlat(refill: int = 0" in capsys.readouterr().out
    main(["parts", "credit", "gae", "--json"])
    assert json.loads(capsys.readouterr().out)["constants"] == {"gamma": 1.0, "lam": 0.95}
    main(["parts", "sampler", "SegmentTree"])
    assert "branching: int = 2" in capsys.readouterr().out
    for name in pages.names():
        main(["parts", name, "--json"])
        assert json.loads(capsys.readouterr().out)["tables"], name
    assert "Did you mean 'credit'" in refused("parts", "credits")
    assert "Did you mean 'gae'" in refused("parts", "credit", "gea")


def test_shared_parts_are_found_by_their_seam():
    assert [part_id(thing) for thing in shared()["grader"]] == [
        "Form",
        "Rubric",
        "agreed",
        "asked_cited",
        "by_rubric",
        "by_turns",
        "chance",
        "citations_right",
        "depends",
        "ended",
        "error_word",
        "executed",
        "fulfilled",
        "greedy",
        "in_form",
        "judged",
        "judged_or_zero",
        "least_step",
        "limited",
        "repeated",
        "self_certainty",
        "tag_error",
        "tool_error",
        "useful",
        "valid_name",
        "valid_schema",
    ]
    assert {"CompetenceAligned", "Epochs"} <= {thing.__name__ for thing in shared()["curriculum"]}
