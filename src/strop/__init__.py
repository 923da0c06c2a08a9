"""strop: post-training of reasoning and agentic models."""

import os

__version__ = "0.1.0"

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
"""torch asks Linux for pages of 2 MiB where a tensor is large: a learner spends much of its time on being given small ones."""
