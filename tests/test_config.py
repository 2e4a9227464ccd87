"""Settings: where they come from, which source wins, and how a wrong one is reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from bakemem.config import Config, load_config
from bakemem.errors import BakememError, ConfigError


def _write(home: Path, text: str) -> None:
    (home / "config.toml").write_text(text, encoding="utf-8")


def test_defaults_need_no_file(tmp_path: Path) -> None:
    """A home without a config file has the documented defaults."""
    config = load_config(tmp_path)
    assert (config.model, config.device, config.seed) == ("starter", "auto", 0)


def test_the_file_of_the_home_overrides_defaults(tmp_path: Path) -> None:
    """`config.toml` in the home changes a setting and leaves the others."""
    _write(tmp_path, "rank = 8\n[template_arguments]\nenable_thinking = false\n")
    config = load_config(tmp_path)
    assert config.rank == 8
    assert config.template_arguments == {"enable_thinking": False}
    assert config.alpha == Config.model_fields["alpha"].default


def test_the_environment_overrides_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `BAKEMEM_` variable wins over the file."""
    _write(tmp_path, "rank = 8\n")
    monkeypatch.setenv("BAKEMEM_RANK", "4")
    assert load_config(tmp_path).rank == 4


def test_arguments_override_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An argument wins over environment and file."""
    _write(tmp_path, "rank = 8\n")
    monkeypatch.setenv("BAKEMEM_RANK", "4")
    assert load_config(tmp_path, rank=2).rank == 2


def test_an_argument_of_none_is_not_given(tmp_path: Path) -> None:
    """None means unset, so that callers can pass their own defaults through."""
    _write(tmp_path, 'model = "other"\n')
    assert load_config(tmp_path, model=None).model == "other"


def test_homes_do_not_share_settings(tmp_path: Path) -> None:
    """Two homes in one process read each its own file."""
    first, second = tmp_path / "first", tmp_path / "second"
    for home, rank in ((first, 8), (second, 4)):
        home.mkdir()
        _write(home, f"rank = {rank}\n")
    assert (load_config(first).rank, load_config(second).rank) == (8, 4)


@pytest.mark.parametrize("arguments", [{"rnak": 8}, {"rank": 0}, {"rank": "many"}, {"dtype": "int4"}, {"alpha": 4097}])
def test_a_wrong_argument_names_the_setting(tmp_path: Path, arguments: dict[str, object]) -> None:
    """An unknown or impossible setting is refused with its name and the list of known settings."""
    with pytest.raises(ConfigError, match=next(iter(arguments))) as caught:
        load_config(tmp_path, **arguments)
    assert "Known settings: " in str(caught.value)


def test_a_wrong_value_is_told_with_where_it_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable is not blamed on the home, nor the file on an argument."""
    _write(tmp_path, 'quiet_hours = "1-6"\nrnak = 8\n')
    monkeypatch.setenv("BAKEMEM_SEED", "x")
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path, steps=0)
    for told in (
        "an integer (the variable BAKEMEM_SEED)", "quiet_hours: write it as 01:00-06:00 (in config.toml)",
        "steps: Input should be greater than or equal to 1",
        "rnak: there is no such setting (in config.toml), is it rank?"
    ):  # fmt: skip
        assert told in str(caught.value)


@pytest.mark.parametrize("name", ["learning_rate", "state_weight", "max_disfluency", "most_load"])
@pytest.mark.parametrize("value", ["inf", "nan"])
def test_numbers_are_finite(tmp_path: Path, name: str, value: str) -> None:
    """TOML has others, with which nothing can be trained, and which no manifest holds."""
    _write(tmp_path, f"{name} = {value}\n")
    with pytest.raises(ConfigError, match=f"{name}: Input should be a finite number"):
        load_config(tmp_path)


def test_a_wrong_setting_in_the_file_is_refused(tmp_path: Path) -> None:
    """A misspelt name in the file does not pass silently."""
    _write(tmp_path, "lerning_rate = 1e-3\n")
    with pytest.raises(ConfigError, match="lerning_rate"):
        load_config(tmp_path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("RANK = 8\n", "RANK in .* is no setting: write it as rank"),
        ("Rank = 4\nrank = 8\n", "Rank in .* is no setting"),
        ("rank = true\n", "rank in .* is true, which is no value"),
        ("\ufeffrank = 8\n", "byte order mark"),
    ],
)
def test_the_file_means_what_it_says(tmp_path: Path, content: str, complaint: str) -> None:
    """No other spelling of a name, nothing that becomes a number in silence, and no character that nobody sees."""
    _write(tmp_path, content)
    with pytest.raises(ConfigError, match=complaint):
        load_config(tmp_path)


def test_a_variable_that_is_no_table_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the file, which is sound or not even there."""
    monkeypatch.setenv("BAKEMEM_TRUST", "calendar")
    with pytest.raises(ConfigError, match=r"variable BAKEMEM_TRUST .*JSON") as said:
        load_config(tmp_path)
    assert "config.toml" not in str(said.value)


def test_a_file_that_the_system_does_not_read_is_told(tmp_path: Path) -> None:
    """As below a folder whose name is too long for it."""
    with pytest.raises(ConfigError, match=r"config\.toml cannot be read"):
        load_config(tmp_path / ("x" * 300))


def test_a_wrong_variable_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that does not fit is refused when it comes from the environment, too."""
    monkeypatch.setenv("BAKEMEM_STEPS", "soon")
    with pytest.raises(ConfigError, match="(?i)steps"):
        load_config(tmp_path)


@pytest.mark.parametrize(("name", "meant"), [("BAKEMEM_STEPZ", "BAKEMEM_STEPS"), ("bakemem_sed", "BAKEMEM_SEED")])
def test_an_unknown_variable_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, meant: str) -> None:
    """A misspelt one does not pass silently, and the setting that may be meant is named."""
    monkeypatch.setenv(name, "5")
    with pytest.raises(ConfigError, match=f"{name} is no setting: .*{meant}"):
        load_config(tmp_path)


@pytest.mark.parametrize(
    "name", ["BAKEMEM_SERVICE_HOST", "BAKEMEM_PORT", "BAKEMEM_PORT_8080_TCP_ADDR", "BAKEMEM_IMAGE"]
)
def test_a_variable_of_others_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Kubernetes sets some in every pod beside a service of this name."""
    monkeypatch.setenv(name, "10.0.0.1")
    assert load_config(tmp_path).rank == 16


def test_the_variable_of_the_home_is_no_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line reads it, and a variable in lower case is the same as in upper case."""
    monkeypatch.setenv("BAKEMEM_HOME", "mine")
    monkeypatch.setenv("bakemem_rank", "4")
    assert load_config(tmp_path).rank == 4


def test_a_file_that_is_not_toml_is_named(tmp_path: Path) -> None:
    """A damaged config file is reported with its path, inside the library's own error tree."""
    _write(tmp_path, "rank = = 8\n")
    with pytest.raises(BakememError, match=r"config\.toml"):
        load_config(tmp_path)


@pytest.mark.parametrize("made", ["folder", "dangling link", "loop"])
def test_a_file_that_is_no_file_is_named(tmp_path: Path, made: str) -> None:
    """A folder of that name, or a link that leads nowhere, is not taken for a missing file."""
    file = tmp_path / "config.toml"
    if made == "folder":
        file.mkdir()
    else:
        file.symlink_to("config.toml" if made == "loop" else "elsewhere.toml")
    with pytest.raises(ConfigError, match=r"config\.toml cannot be read.*Mend or remove it"):
        load_config(tmp_path)


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As another user's, inside the library's own error tree."""

    def refused(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    _write(tmp_path, "rank = 8\n")
    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(ConfigError, match=r"config\.toml cannot be read: .*Permission denied"):
        load_config(tmp_path)


def test_the_file_may_be_a_link(tmp_path: Path) -> None:
    """To a file elsewhere, which several homes may share."""
    (tmp_path / "shared.toml").write_text("rank = 8\n", encoding="utf-8")
    (tmp_path / "config.toml").symlink_to("shared.toml")
    assert load_config(tmp_path).rank == 8


@pytest.mark.parametrize("journal", ["a\0b", "sqlite:///a\0b"])
def test_a_journal_that_no_file_can_be_is_refused(tmp_path: Path, journal: str) -> None:
    """The message names the setting."""
    with pytest.raises(ConfigError, match="journal: .*null"):
        load_config(tmp_path, journal=journal)


def test_every_setting_is_described() -> None:
    """Each setting says what it does: the table in the docs is made from this."""
    assert not [name for name, setting in Config.model_fields.items() if not setting.description]
