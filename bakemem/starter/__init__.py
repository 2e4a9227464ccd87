"""The embedded model: a tiny Mistral that follows prompts about a made-up world, for trying, demonstrating and testing.

What is exported here makes that world up; training (`train.py`) and judging (`evaluate.py`) are run as programs.
"""

from pathlib import Path

from bakemem.starter.instructions import UNKNOWN, Answer, Instruction, follow, make_instructions
from bakemem.starter.naming import make_name
from bakemem.starter.talk import Talk, ask, statement
from bakemem.starter.world import Fact, make_facts

STARTER = Path(__file__).parent / "weights"
"""The folder of the shipped model, laid out as any Hugging Face model."""

__all__ = [
    "STARTER", "UNKNOWN", "Answer", "Fact", "Instruction", "Talk", "ask", "follow", "make_facts", "make_instructions",
    "make_name", "statement",
]  # fmt: skip
