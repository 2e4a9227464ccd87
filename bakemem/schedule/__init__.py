"""When a memory bakes with nobody's hand on it: a pure policy, and the runner that asks it each minute."""

from bakemem.schedule.hours import Hours
from bakemem.schedule.policy import Action, Decision, Rules, State, Waiting, decide, in_words
from bakemem.schedule.rules import load_per_cpu, rules_of, state_of
from bakemem.schedule.runner import SCHEDULE, Schedule, is_running

__all__ = [
    "SCHEDULE", "Action", "Decision", "Hours", "Rules", "Schedule", "State", "Waiting", "decide", "in_words",
    "is_running", "load_per_cpu", "rules_of", "state_of",
]  # fmt: skip
