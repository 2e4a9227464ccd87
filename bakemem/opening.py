"""The composition root: home and settings in, `AgentMemory` out. The only file that names backends.

The heavy libraries are imported here inside functions, so that reading a journal needs none of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import cache
from os import PathLike
from pathlib import Path
from stat import S_ISDIR
from typing import TYPE_CHECKING, Any

from bakemem.errors import HomeError, ModelError

if TYPE_CHECKING:
    from bakemem.agent_memory import AgentMemory
    from bakemem.config import Config
    from bakemem.memory import Extractor, HomeLock, Index, Journal
    from bakemem.serving import Base, Limits, Pool, ServingModel
    from bakemem.versioned import Versioned
    from bakemem.versions import VersionStore

JOURNAL, INDEX = "journal.db", "index"


def open_memory(
    home: str | PathLike[str], *, model: str | None = None, namespace: str = "default", device: str | None = None,
    seed: int | None = None, extractor: Extractor | None = None, chroma: Any = None,
    **config: Any,
) -> AgentMemory:  # fmt: skip
    """The memory in `home`, made if it is missing, and owned for writing until it is closed.

    `extractor` reads memories out of turns in the base model's place, such as `ChatModelExtractor` of
    `bakemem.agents.extractor`; `chroma` is a client of your own for the meaning index, such as `chromadb.HttpClient()`.
    """
    from bakemem.agent_memory import AgentMemory

    settings, lock, journal, store = _own(home, namespace, model=model, device=device, seed=seed, **config)
    return AgentMemory(
        settings, lock, journal, store, load_serving=lambda: _serving(settings, namespace),
        open_index=lambda: _open_index(store.home, namespace, settings, chroma), extractor=extractor,
        redact=_redactor(settings),
    )  # fmt: skip


@contextmanager
def open_records(home: str | PathLike[str], namespace: str = "default") -> Iterator[Versioned]:
    """What a memory does without a model, owned for writing: it opens without the libraries that a model needs."""
    from bakemem.versioned import Versioned

    settings, lock, journal, store = _own(home, namespace)
    try:
        with closing(Versioned(
            settings, journal, store, open_index=lambda: _open_index(store.home, namespace, settings, None),
            make_extractor=_no_extractor, redact=_redactor(settings),
        )) as records:  # fmt: skip
            yield records
    finally:
        lock.release()


def _own(
    home: str | PathLike[str], namespace: str, **options: Any
) -> tuple[Config, HomeLock, Journal, VersionStore]:  # fmt: skip
    """A home that is made if it is missing, locked, and free of what a crash left."""
    from bakemem.config import load_config
    from bakemem.memory import HomeLock, Journal
    from bakemem.versions import VersionStore

    folder = home_folder(home)
    settings = load_config(folder, **options)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise HomeError(f"The memory home {folder} cannot be made: {error}. Choose another folder.") from error
    with ExitStack() as undo:
        lock = HomeLock(folder, namespace).acquire()
        undo.callback(lock.release)
        journal = Journal(settings.journal or folder / JOURNAL, namespace, root=folder)
        undo.callback(journal.close)
        store = VersionStore(folder, namespace)
        _sweep(journal, store)
        undo.pop_all()
    return settings, lock, journal, store


def _no_extractor() -> Extractor:
    raise ModelError("Text is read by a model here, and none is open: open the memory with `bakemem.open`.")


def read_journal(home: str | PathLike[str], namespace: str = "default") -> Journal:
    """The journal of a home, to read beside whoever writes. Raises HomeError when there is none."""
    return _journal(home_folder(home), namespace, readonly=True)


@contextmanager
def own_journal(home: str | PathLike[str], namespace: str = "default") -> Iterator[Journal]:
    """The journal of a home, owned for writing, without model and index. Raises HomeLockedError, HomeError."""
    from bakemem.memory import HomeLock

    folder = home_folder(home)
    with HomeLock(folder):
        journal = _journal(folder, namespace, readonly=False)
        try:
            yield journal
        finally:
            journal.close()


def home_folder(home: str | PathLike[str]) -> Path:
    """Where a home is or would be. Raises HomeError for a path that can never be one, such as a name too long."""
    if not str(home):
        raise HomeError("The path of the memory home is empty, which is the folder you work in: choose another folder.")
    try:
        folder = Path(home).expanduser().absolute()  # wherever the program goes on to work
        with suppress(FileNotFoundError):
            if not S_ISDIR(folder.stat().st_mode):
                raise NotADirectoryError("it is a file, not a folder")
    except (OSError, ValueError, RuntimeError) as error:
        raise HomeError(f"The memory home {str(home)!r} cannot be used ({error}): choose another folder.") from error
    return folder


def _journal(folder: Path, namespace: str, *, readonly: bool) -> Journal:
    from bakemem.config import load_config
    from bakemem.memory import Journal

    return Journal(load_config(folder).journal or folder / JOURNAL, namespace, readonly=readonly, root=folder)


def load_model(config: Config) -> Base:
    """The base model of the settings."""
    from bakemem.serving import load_base

    return load_base(_where(config), device=config.device, dtype=config.dtype,
                     trust_remote_code=config.trust_remote_code,
                     template_arguments=config.template_arguments)  # fmt: skip


def _where(config: Config) -> str:
    from bakemem.starter import STARTER

    return str(STARTER) if config.model == "starter" else config.model


def _serving(config: Config, namespace: str) -> ServingModel:
    """The namespace's part of the engine that all memories of this process with the same base share.

    Its limits are those of the memory that needed it first.
    """
    from bakemem.serving import LocalEngine, ServingModel

    def make() -> LocalEngine:
        base = load_model(config)
        base.lock.share = config.bake_share
        return LocalEngine(base, _limits(config))

    key = (_where(config), config.device, config.dtype, config.trust_remote_code, repr(config.template_arguments))
    return ServingModel(_engines().borrow(key, make), namespace, release=lambda: _engines().leave(key))


def _limits(config: Config) -> Limits:
    from bakemem.serving import Limits

    return Limits(running=config.most_running, waiting=config.most_waiting,
                  adapter_bytes=config.adapter_megabytes << 20, prefix_bytes=config.prefix_megabytes << 20)  # fmt: skip


@cache
def _engines() -> Pool:
    from bakemem.serving import Pool

    return Pool()


def _sweep(journal: Journal, store: VersionStore) -> None:
    """Remove what a crash left. What cannot be removed is no reason not to open the home."""
    from bakemem.upkeep import strangers, sweep

    log = logging.getLogger(__name__)
    try:
        sweep(journal, store)
        if unknown := strangers(journal, store):
            log.warning("The journal knows nothing of %s: see `bakemem check`.", ", ".join(sorted(unknown)))
    except HomeError as error:
        log.warning("%s It is tried again at the next opening.", error)


def _redactor(config: Config) -> Callable[[str], str]:
    if config.redaction == "off":
        return str
    from bakemem.memory.redact import redacted

    return lambda text: redacted(text, config.redaction)


def _open_index(home: Path, namespace: str, config: Config, client: Any) -> Index:
    from bakemem.memory.index import ChromaIndex, make_embedder

    return ChromaIndex(home / INDEX, namespace, make_embedder(config.embedder), client)
