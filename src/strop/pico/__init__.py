"""pico: the small language model that ships with strop, in Hugging Face format. `CARD.md` says what it can do."""

from pathlib import Path


def path() -> Path:
    """The folder that `AutoModelForCausalLM.from_pretrained` and `AutoTokenizer.from_pretrained` read."""
    return Path(__file__).parent
