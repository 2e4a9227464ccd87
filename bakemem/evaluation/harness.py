"""Tasks of lm-eval (EleutherAI's lm-evaluation-harness), asked of a base that is in memory already.

The only file that knows lm-eval. Its model class renders conversations as a bake does, by our own template and with
the prompt where the teacher read it, so that a prompted column is the very teacher of the baked one.
"""

from __future__ import annotations

import logging
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from lm_eval.utils import set_torch_seed

from bakemem.baking import adapter, prompted
from bakemem.errors import InputError
from bakemem.evaluation.scores import Column, Score
from bakemem.serving import Base
from bakemem.types import Stimulus, Turn

FEWSHOT_SEED = 1234  # lm-eval's own, so that its examples are those of published figures
logging.getLogger("lm_eval").setLevel(logging.ERROR)  # its warnings are about a command line that is not ours


@dataclass(frozen=True, slots=True)
class Limits:
    """How tasks are asked: `limit` questions of each, with `num_fewshot` examples of its own (None: all; as it says).

    With `bars` lm-eval shows on standard error how far it is.
    """

    limit: int | None = None
    num_fewshot: int | None = None
    batch_size: str = "8"
    unsafe_code: bool = False
    seed: int = 0
    bars: bool = False


class Harness:
    """Some tasks, loaded with their data; each column is asked all of them."""

    def __init__(self, names: Sequence[str], limits: Limits = Limits(), tasks_dir: Path | None = None) -> None:
        """Load the tasks, by name or YAML file. Raises InputError for an unknown one, or without its data."""
        self.limits = limits
        self._names, self._manager = list(names), _manager(names, tasks_dir)
        self._loaded = self._load(self._names)
        for task in self._loaded["tasks"].values():
            own = task.get_config("num_fewshot")
            if limits.num_fewshot is not None and own != 0:  # 0 in a task's own file means never
                own = limits.num_fewshot
            task.set_config(key="num_fewshot", value=own or 0)

    def score(self, base: Base, column: Column) -> list[Score]:
        """Ask all tasks of the base as the column says. Raises InputError."""
        for task in self._loaded["tasks"].values():
            task.set_fewshot_seed(seed=FEWSHOT_SEED)
        random.seed(self.limits.seed)
        set_torch_seed(self.limits.seed)
        with base.lock, adapter(base.model, column.adapter_id), _explained(", ".join(self._names)), _no_output():
            made = evaluate(
                lm=Prompted(base, column.prompt, self.limits), task_dict=self._loaded,
                limit=self.limits.limit, log_samples=False, bootstrap_iters=1000, apply_chat_template=True,
                fewshot_as_multiturn=True, confirm_run_unsafe_code=self.limits.unsafe_code,
            )  # fmt: skip
        return list(_scores(made))

    def questions(self, n: int) -> list[tuple[Turn, ...]]:
        """At most `n` questions like those of the first task, as it asks them, that no task is scored by.

        They are of its training data, else of its validation data if that is not what it is scored by. Raises
        InputError when it has neither.
        """
        tasks = self._load(self._names[:1])["tasks"].values()
        scored = {turns for task in tasks for doc in task.eval_docs for turns in _asked(task, doc)}
        pool = [(task, doc) for task in tasks for doc in _untested(task)]
        random.Random(f"questions:{self.limits.seed}").shuffle(pool)
        found: dict[tuple[Turn, ...], None] = {}
        for task, doc in pool:
            found |= dict.fromkeys(turns for turns in _asked(task, doc) if turns not in scored)
            if len(found) >= n:
                break
        if not found:
            raise InputError(f"Task {self._names[0]} has no training questions: give questions with --stimuli-file.")
        return list(found)[:n]

    def _load(self, names: Sequence[str]) -> Any:
        with _explained(", ".join(names)):
            return self._manager.load(list(names))


class Prompted(HFLM):  # type: ignore[misc]  # published without types
    """A base as lm-eval asks it, with a prompt in each conversation; whatever adapter is active answers."""

    def __init__(self, base: Base, prompt: str, limits: Limits) -> None:
        own_template = bool(base.template.tokenizer.chat_template)  # then it writes the beginning of a sequence itself
        super().__init__(pretrained=base.model, tokenizer=base.template.tokenizer, backend="causal",
                         batch_size=limits.batch_size, max_length=base.context,
                         add_bos_token=False if own_template else None)  # fmt: skip
        self._base, self._prompt = base, prompt
        for request in ("loglikelihood", "loglikelihood_rolling", "generate_until"):
            setattr(self, request, partial(getattr(self, request), disable_tqdm=not limits.bars))

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The conversation as text; lm-eval's own would drop the system turn where a template refuses it."""
        turns = _turns(chat_history)
        begun = "" if add_generation_prompt else turns.pop().content
        return self._base.template.text(prompted(Stimulus(tuple(turns), "question"), self._prompt)) + begun

    def tok_batch_encode(
        self, strings: list[str], *args: Any, left_truncate_len: int | None = None, **rest: Any
    ) -> Any:
        """Texts as ids. Raises InputError where what is cut from the left would be the prompt."""
        if left_truncate_len:
            self._must_fit(max(len(self.tok_encode(text)) for text in strings), left_truncate_len)
        return super().tok_batch_encode(strings, *args, left_truncate_len=left_truncate_len, **rest)

    def _loglikelihood_tokens(self, requests: list[Any], *args: Any, **rest: Any) -> Any:
        self._must_fit(max(len(context) + len(answer) for _, context, answer in requests), self.max_length + 1)
        return super()._loglikelihood_tokens(requests, *args, **rest)

    def _model_generate(self, *args: Any, **rest: Any) -> Any:
        """Answers end where the chat's do, which is not always where the model's own configuration says."""
        return super()._model_generate(*args, eos_token_id=list(self._base.template.stop_ids), **rest)

    def _must_fit(self, n: int, most: int) -> None:
        if self._prompt and n > most:
            raise InputError(
                f"The prompt and a question have {n} tokens, and {self._base.name} has room for {most} before the "
                "answer: the beginning of the prompt would be cut. Shorten the prompt."
            )


def _manager(names: Sequence[str], tasks_dir: Path | None) -> TaskManager:
    """What knows the tasks; lm-eval's own 14,000 are read only if one of them is asked for."""
    if tasks_dir is not None:
        local = TaskManager(include_path=str(tasks_dir), include_defaults=False)
        if set(names) <= set(local.all_tasks):
            return local
    manager = TaskManager(include_path=None if tasks_dir is None else str(tasks_dir))
    unknown = [name for name in names if name not in manager.all_tasks and not Path(name).is_file()]
    if unknown:
        where = f" nor in {tasks_dir}" if tasks_dir else ""
        raise InputError(f"lm-eval has no task {', '.join(unknown)}{where}: `lm-eval ls tasks` lists what there is.")
    return manager


def _no_output() -> AbstractContextManager[object]:
    """lm-eval prints what it finds out about batches, and standard output is ours."""
    return redirect_stdout(sys.stderr)


@contextmanager
def _explained(names: str) -> Iterator[None]:
    """Errors of lm-eval and its data sets as ours."""
    try:
        yield
    except InputError:
        raise
    except OSError as error:
        raise InputError(
            f"The data of {names} cannot be loaded: {error}. It comes from the Hugging Face hub: connect once, so that "
            "it is cached, or give a task of your own with --tasks-dir."
        ) from error
    except (AssertionError, ImportError, KeyError, RuntimeError, ValueError) as error:
        hint = " Allow it with --unsafe-code." if "unsafe" in str(error) else ""
        raise InputError(f"lm-eval cannot ask {names}: {type(error).__name__}: {error}.{hint}") from error


def _asked(task: Any, doc: Mapping[str, Any]) -> list[tuple[Turn, ...]]:
    """The conversations in which the task asks this question: one, or one for each choice."""
    noted: list[list[dict[str, str]]] = []

    def note(history: list[dict[str, str]], **_: object) -> str:
        noted.append(history)
        return ""

    task.fewshot_context(doc=doc, num_fewshot=0, apply_chat_template=True, fewshot_as_multiturn=True,
                         chat_template=note)  # fmt: skip
    said = [_turns(history) for history in noted]
    return [tuple(turns[:-1] if turns[-1].role == "assistant" else turns) for turns in said]


def _turns(history: Sequence[Mapping[str, Any]]) -> list[Turn]:
    return [Turn(message["role"], message["content"]) for message in history]


def _untested(task: Any) -> Any:
    if task.has_training_docs():
        return task.training_docs()
    return task.validation_docs() if task.has_test_docs() and task.has_validation_docs() else ()


def _scores(made: Mapping[str, Any]) -> Iterator[Score]:
    """lm-eval's figures, of tasks and of groups; its keys are `metric,filter` and `metric_stderr,filter`."""
    for task, figures in {**made["results"], **made.get("groups", {})}.items():
        better = made["higher_is_better"].get(task, {})
        n = made["n-samples"].get(task, {}).get("effective")
        for key, value in figures.items():
            metric, comma, how = key.partition(",")
            if comma and not metric.endswith("_stderr") and isinstance(value, int | float):
                error = figures.get(f"{metric}_stderr,{how}")
                yield Score(task, metric, how, float(value), error if isinstance(error, float) else None, n,
                            bool(better.get(metric)))  # fmt: skip
