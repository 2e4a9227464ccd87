"""Text to weights: stimulate, rollout, bake and gate. Needs torch, transformers and peft, and nothing else of ours."""

from bakemem.baking.bake import Baked, Settings, StageProgress, bake
from bakemem.baking.blame import blame
from bakemem.baking.gate import Thresholds
from bakemem.baking.generate import generate
from bakemem.baking.leak import leaking, leaks
from bakemem.baking.losses import LossName
from bakemem.baking.probe import LongConversations, answers, same, share
from bakemem.baking.rollout import Taught, prompted, rollout, teach
from bakemem.baking.stimulate import Stimuli, stimulate
from bakemem.baking.train import Recipe, default_learning_rate, mean_kl, train
from bakemem.baking.weights import CANDIDATE, adapter, output_head

__all__ = [
    "CANDIDATE", "Baked", "LongConversations", "LossName", "Recipe", "Settings", "StageProgress", "Stimuli", "Taught",
    "Thresholds", "adapter", "answers", "bake", "blame", "default_learning_rate", "generate", "leaking", "leaks",
    "mean_kl", "output_head", "prompted", "rollout", "same", "share", "stimulate", "teach", "train",
]  # fmt: skip
