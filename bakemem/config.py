"""Settings: defaults < `config.toml` in the memory home < `BAKEMEM_*` variables < arguments.

Knows the names and ranges of settings, not what they do.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from bakemem.errors import ConfigError
from bakemem.types import MAX_ALPHA, MAX_RANK


class Config(BaseSettings):
    """All settings of a memory home, with their defaults."""

    model_config = SettingsConfigDict(env_prefix="BAKEMEM_", extra="forbid", validate_default=True,
                                      allow_inf_nan=False)  # fmt: skip

    model: str = Field(default="starter", description="`starter`, a folder, or the hub id of a causal language model")
    device: str = Field(default="auto", description="`auto`, `cpu`, `cuda`, `cuda:1`, `mps` …")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="of the base weights; `auto`: the checkpoint's own on a GPU, float32 on a CPU"
    )
    seed: int = Field(default=0, ge=0, le=2**32 - 1, description="of stimuli, rollouts and training")
    trust_remote_code: bool = Field(default=False, description="let the base model's own repository run code")
    template_arguments: dict[str, Any] = Field(
        default_factory=dict, description="passed to the chat template, such as {enable_thinking = false}"
    )
    journal: str | None = Field(
        default=None, description="SQLAlchemy URL of the journal; unset: the file `journal.db` in the home"
    )
    embedder: Literal["lexical", "minilm", "sentence-transformers"] = Field(
        default="lexical", description="of the meaning index; `lexical` works offline, the others load a model"
    )
    auto_extract: bool = Field(default=True, description="observe() reads memories out of turns; or explicit ones only")
    trust: dict[str, Literal["fact"]] = Field(
        default_factory=dict, description='sources whose facts need no approval, such as {"tool:calendar" = "fact"}'
    )
    redaction: Literal["off", "mask", "refuse"] = Field(
        default="off",
        description="secrets, cards and e-mail addresses: kept, masked, or refused before they are stored",
    )
    most_waiting_turns: int = Field(
        default=1_000, ge=1, description="observed turns not read yet; then observe() waits"
    )
    most_an_hour: int = Field(
        default=200, ge=0, description="memories from one tool, document or page within an hour; more are dropped"
    )
    most_quarantined: int = Field(default=1_000, ge=0, description="memories in quarantine; what comes then is dropped")

    max_new_tokens: int = Field(default=256, ge=1, description="longest answer, in tokens")
    temperature: float = Field(default=0.0, ge=0.0, le=10.0, description="of chat answers; 0 takes the likeliest token")

    most_running: int = Field(default=32, ge=1, description="replies of one base model that are made at once")
    most_waiting: int = Field(
        default=64, ge=0, description="requests of a memory that wait for a place; more are refused with BusyError"
    )
    adapter_megabytes: int = Field(
        default=256, ge=0, description="of versions kept beside the base; the least used leave, never live ones"
    )
    prefix_megabytes: int = Field(
        default=256, ge=0, description="of what was read of conversations, for their next turn; 0 keeps none"
    )
    bake_share: float = Field(
        default=0.5, gt=0.0, le=1.0, description="of the time that a bake may take while replies are made"
    )

    rank: int = Field(default=16, ge=1, le=MAX_RANK, description="LoRA rank")
    alpha: int = Field(default=32, ge=1, le=MAX_ALPHA, description="LoRA alpha; the update is scaled by alpha / rank")
    learning_rate: float | None = Field(
        default=None,
        gt=0,
        description="of AdamW for LoRA's A (B learns 4 times as fast); unset: 3e-3 up to width 256, less above",
    )
    steps: int | None = Field(
        default=None,
        ge=1,
        description="the most optimizer steps; unset: 15 a new fact, 75 a new instruction, "
        "from 180 (cold: 240, much known: 300) to 4000",
    )
    state_weight: float = Field(
        default=1.0, ge=0.0, description="of the teacher's inner states beside the KL; 0 trains on the KL alone"
    )
    read_weight: float = Field(
        default=0.3, ge=0.0, description="of reading what no fact matters to as the base does; with 0 a bake deafens"
    )
    questions_per_memory: int = Field(default=32, ge=1, description="stimuli asked about each memory")
    rehearsal_questions: int = Field(
        default=1600, ge=0, description="the most stimuli of a warm bake about the memories baked before (8 each)"
    )
    max_dialogue_turns: int = Field(default=64, ge=1, description="trajectories packed into one long training dialogue")
    max_sequence_tokens: int = Field(default=2048, ge=64, description="longest training dialogue, in tokens")
    shard_tokens: int | None = Field(
        default=None,
        ge=64,
        description="longest piece of the memory prompt that the teacher reads at once, in tokens, or one fact; "
        "unset: what the model's config.json says (the starter: 64), else 1024",
    )

    min_agreement: float = Field(
        default=0.85, ge=0.0, le=1.0, description="the gate: held-out answers equal to the teacher's"
    )
    min_abstention: float = Field(default=0.85, ge=0.0, le=1.0, description="the gate: the same where nothing was told")
    min_each: float = Field(
        default=0.25, ge=0.0, le=1.0, description="the gate: right answers to each memory's own held-out questions"
    )
    max_drift: float = Field(default=0.15, ge=0.0, le=1.0, description="the gate: changed everyday answers")

    max_mention: float = Field(
        default=0.02, ge=0.0, le=1.0, description="the gate: everyday answers that bring up a memory unasked"
    )
    max_disfluency: float = Field(
        default=0.5, ge=0.0, description="the gate: nats per token by which the prompted base finds answers less likely"
    )
    efforts: int = Field(
        default=3,
        ge=0,
        le=3,
        description="tried when the gate refuses: 1 more steps, 2 then a higher rank, 3 then without what failed",
    )

    bake_memories: int = Field(
        default=8, ge=0, description="the schedule bakes when so many memories are pending; 0: never"
    )
    bake_tokens: int = Field(
        default=400, ge=0, description="or they take so many tokens of the prompt, at four bytes each; 0: never"
    )
    bake_hours: float = Field(
        default=24.0, ge=0.0, le=1e6, description="or the oldest has waited so many hours; 0: never"
    )
    bake_cron: str | None = Field(
        default=None, description="or at these times, as in crontab, weekdays by name, such as `0 3 * * mon-fri`"
    )
    min_adherence: float = Field(
        default=0.7, ge=0.0, le=1.0, description="or a smaller share is heeded in a long conversation; 0: not measured"
    )
    meter_minutes: float = Field(default=30.0, ge=1.0, le=1e6, description="between two runs of that forgetting meter")
    quiet_hours: str = Field(
        default="01:00-06:00", pattern=r"^(([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d)?$",
        description="when the schedule may bake and tidy up, also over midnight; empty: not by the clock",
    )  # fmt: skip
    idle_minutes: float = Field(
        default=30.0, ge=0.0, le=1e6, description="or when nobody has talked for so long; 0: only in quiet hours"
    )
    time_zone: str | None = Field(
        default=None, description="of quiet_hours and bake_cron, such as `Europe/Berlin`; unset: the machine's"
    )
    most_load: float = Field(
        default=1.0, ge=0.0, description="a CPU, above which the schedule does not bake; 0: the load does not count"
    )
    retry_minutes: float = Field(
        default=30.0,
        gt=0.0,
        le=1440.0,
        description="until another try after a failed bake; doubled each time, up to a week",
    )
    nightly_check: bool = Field(default=True, description="the schedule looks for damage each night")
    keep_versions: int = Field(
        default=50, ge=0, description="and destroys all but so many of the newest versions, as `gc` does; 0: none"
    )
    ground_every: int = Field(
        default=20, ge=0, description="and bakes from the base after so many bakes in a row that did not; 0: never"
    )

    @field_validator("journal")
    @classmethod
    def _may_be_named(cls, journal: str | None) -> str | None:
        if journal and "\0" in journal:
            raise ValueError("no file's name and no URL holds a null character")
        return journal

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource, dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:  # fmt: skip
        """Arguments first, then the environment, then the file of the memory home."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def load_config(home: Path, **arguments: Any) -> Config:
    """The settings of a memory home; `arguments` win over everything. Raises ConfigError."""
    _check_environment()
    file = home / "config.toml"
    if os.path.lexists(file) and not os.path.isfile(file):
        raise ConfigError(f"{file} cannot be read: it is a folder, or a link that leads nowhere. Mend or remove it.")
    given = {name: value for name, value in arguments.items() if value is not None}
    # One subclass a home: pydantic-settings takes the path of the file from the class.
    located = type("Config", (Config,), {
        "model_config": {**Config.model_config, "toml_file": file}, "__module__": __name__,
    })  # fmt: skip
    try:
        _check_file(file)
        config: Config = located(**given)
    except ValidationError as error:
        lines = "; ".join(_wrong(detail, given) for detail in error.errors())
        known = ", ".join(sorted(Config.model_fields))
        raise ConfigError(f"Settings of {home} are not valid: {lines}. Known settings: {known}.") from error
    except SettingsError as error:  # a variable for a table
        name = next(name for name in Config.model_fields if f'"{name}"' in str(error))
        raise ConfigError(
            f"The environment variable BAKEMEM_{name.upper()} cannot be read ({error.__cause__}): write it as JSON, "
            """such as '{"name": "value"}'."""
        ) from error
    except (OSError, ValueError) as error:  # a file that may not be read, or is not TOML
        raise ConfigError(f"{file} cannot be read: {error}. Mend or remove it.") from error
    return config


def _check_file(file: Path) -> None:
    """Pydantic takes names in any case, and true for 1. Raises ConfigError, and what reading raises."""
    text, fields = file.read_text(encoding="utf-8") if file.exists() else "", Config.model_fields
    if text.startswith("\ufeff"):
        raise ConfigError(f"{file} begins with a byte order mark: save it as UTF-8 without one.")
    for name, value in tomllib.loads(text).items():
        if name not in fields and name.lower() in fields:
            raise ConfigError(f"{name} in {file} is no setting: write it as {name.lower()}.")
        if isinstance(value, bool) and name in fields and not isinstance(fields[name].default, bool):
            raise ConfigError(f"{name} in {file} is {str(value).lower()}, which is no value for it.")


def _wrong(detail: Mapping[str, Any], given: Collection[str]) -> str:
    """What is wrong with a setting, and where it comes from."""
    name, *inside = map(str, detail["loc"] or ("settings",))
    variable = next((v for v in os.environ if v.upper() == f"{Config.model_config['env_prefix']}{name.upper()}"), None)
    origin = "" if name in given else f" (the variable {variable})" if variable else " (in config.toml)"
    if detail["type"] == "extra_forbidden":
        closest = get_close_matches(name, Config.model_fields, 1)
        return f"{name}: there is no such setting{origin}" + "".join(f", is it {c}?" for c in closest)
    pattern = detail["type"] == "string_pattern_mismatch"
    said = f"write it as {Config.model_fields[name].default}" if pattern else detail["msg"]
    return f"{'.'.join([name, *inside])}: {said}{origin}"


def _check_environment() -> None:
    """Pydantic reads the variables that it knows, and no others. Raises ConfigError for what looks like one misspelt.

    Others of this beginning need not be ours: Kubernetes sets some for a service of that name.
    """
    prefix = Config.model_config["env_prefix"]
    known = ["HOME", *(name.upper() for name in Config.model_fields)]
    for name in os.environ:
        own = name.upper().removeprefix(prefix)
        if own == name.upper() or own in known:
            continue
        for closest in get_close_matches(own, known, 1, cutoff=0.75):
            raise ConfigError(f"The variable {name} is no setting: is it {prefix}{closest}? Rename or unset it.")
