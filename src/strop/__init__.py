"""strop: post-training of reasoning and agentic models."""

__version__ = "0.1.0"
