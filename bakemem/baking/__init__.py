"""Text to weights: stimulate, rollout, bake and gate. Needs torch, transformers and peft, and nothing else of ours."""

from bakemem.baking.bake import Baked, Settings, StageProgress, bake
from bakemem.baking.blame import blame
from bakemem.baking.gate import Thresholds
from bakemem.baking.generate import generate
from bakemem.baking.leak import leaking, leaks
from bakemem.baking.probe import LongConversations, answers, same, share
from bakemem.baking.train import Recipe, default_learning_rate

__all__ = [
    "Baked", "LongConversations", "Recipe", "Settings", "StageProgress", "Thresholds", "answers", "bake", "blame",
    "default_learning_rate", "generate", "leaking", "leaks", "same", "share",
]  # fmt: skip
