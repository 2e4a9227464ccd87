"""How likely whole answers are to a model, baked or prompted, and how two rows of figures go together.

Knows the lab; knows no experiment.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import torch

from bakemem.baking import output_head, rollout, teach
from bakemem.types import Stimulus, Trajectory, Turn
from benchmarks.science.lab import Lab


def sampled(lab: Lab, questions: Sequence[str], prompt: str, seed: int) -> list[Trajectory]:
    """One answer of the base to each question at temperature 1, with the prompt; without one if it is empty."""
    return rollout(lab.base.model, lab.base.template, [asked(q) for q in questions], [prompt] * len(questions),
                   seed=seed, lock=lab.base.lock)  # fmt: skip


def written(lab: Lab, questions: Sequence[str], answers: Sequence[str]) -> list[Trajectory]:
    """Answers that are given as texts."""
    template = lab.base.template
    return [
        Trajectory(asked(q), text, (*template.ids(text), template.end_id))
        for q, text in zip(questions, answers, strict=True)
    ]


def asked(question: str) -> Stimulus:
    """A bare question as a stimulus."""
    return Stimulus((Turn("user", question),), "statement")


@torch.no_grad()
def log_likelihoods(
    lab: Lab, trajectories: Sequence[Trajectory], *, prompt: str = "", adapter: str | None = None,
    strength: float = 1.0,
) -> list[float]:  # fmt: skip
    """Log-probability in nats of each whole answer, its end included: of the base or an adapter, prompted or not."""
    head, name = output_head(lab.base.model), adapter if strength else None
    with lab.base.adapters.active(name, strength) as model:
        taught = teach(model, lab.base.template, trajectories, [prompt] * len(trajectories), lock=lab.base.lock,
                       adapter_name=name)  # fmt: skip
    found = []
    for item in taught:
        tokens_N = torch.tensor(item.trajectory.token_ids)
        log_p_N_V = torch.log_softmax(head(item.hidden_N_K_H[:, -1].to(model.device)).float(), -1).cpu()
        found.append(float(log_p_N_V.gather(-1, tokens_N[:, None]).sum()))
    return found


def r_squared(a: Sequence[float], b: Sequence[float]) -> float:
    """The squared Pearson correlation; 0 where one of them never changes."""
    return statistics.correlation(a, b) ** 2 if len(set(a)) > 1 and len(set(b)) > 1 else 0.0


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's: the correlation of ranks, where equal values share their mean rank; 0 where one never changes."""
    if len(set(a)) == 1 or len(set(b)) == 1:
        return 0.0
    return statistics.correlation(_ranks(a), _ranks(b))


def _ranks(values: Sequence[float]) -> list[float]:
    return [sum(other < value for other in values) + (sum(other == value for other in values) - 1) / 2
            for value in values]  # fmt: skip
