"""Text to weights: stimulate, rollout, bake and gate. Needs torch, transformers and peft, and nothing else of ours."""

from bakemem.baking.adherence import Adherence, adherence
from bakemem.baking.attempts import StageProgress
from bakemem.baking.bake import Baked, bake
from bakemem.baking.blame import blame
from bakemem.baking.gate import Thresholds
from bakemem.baking.generate import generate
from bakemem.baking.leak import leaking, leaks
from bakemem.baking.losses import LossName
from bakemem.baking.measure import Measured, measure
from bakemem.baking.probe import LongConversations, answers, same, share
from bakemem.baking.pursue import Pursued, Pursuit, Round, content, pursue
from bakemem.baking.reading import prompts_for, spoiled
from bakemem.baking.rollout import Taught, prompted, rollout, teach
from bakemem.baking.settings import EFFORTS, Settings
from bakemem.baking.stimulate import Stimuli, stimulate
from bakemem.baking.train import Recipe, default_learning_rate, train
from bakemem.baking.weights import CANDIDATE, adapter, breather, output_head

__all__ = [
    "CANDIDATE", "EFFORTS", "Adherence", "Baked", "LongConversations", "LossName", "Measured", "Pursued", "Pursuit",
    "Recipe", "Round", "Settings", "StageProgress", "Stimuli", "Taught", "Thresholds", "adapter", "adherence",
    "answers", "bake", "blame", "breather", "content", "default_learning_rate", "generate", "leaking", "leaks",
    "measure", "output_head", "prompted", "prompts_for", "pursue", "rollout", "same", "share", "spoiled", "stimulate",
    "teach", "train",
]  # fmt: skip
