"""Replies are pinned to one adapter from first token to last, whatever else the model does meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from bakemem.baking import answers
from bakemem.errors import AdapterError, InputError, ModelError
from bakemem.serving import Sampling, ServingModel, load_base, stream
from bakemem.types import Turn

ASKED = [Turn("user", "Question 1 about cats?")]
SHORT = Sampling(max_new_tokens=8)


def reply(serving: ServingModel, adapter_id: str | None, strength: float = 1.0) -> str:
    """The whole reply."""
    return "".join(stream(serving, ASKED, adapter_id=adapter_id, strength=strength, sampling=SHORT))


def test_each_adapter_answers_as_itself(serving: ServingModel) -> None:
    """Base and both adapters differ, and asking one does not change another."""
    first = {name: reply(serving, name) for name in (None, "one", "two")}
    assert len(set(first.values())) == 3
    assert {name: reply(serving, name) for name in ("two", None, "one")} == first


def test_a_streamed_reply_equals_a_batched_one(serving: ServingModel) -> None:
    """Two ways to decode, one answer."""
    base = serving.base
    for name in (None, "one"):
        [batched] = answers(base.model, base.template, [ASKED], adapter_name=name, lock=base.lock, max_new_tokens=8)
        assert reply(serving, name) == batched


def test_a_reply_that_began_before_a_swap_ends_in_its_version(serving: ServingModel) -> None:
    """Interleaved token by token with the other adapter and the base, each reply is what it is alone."""
    alone = {name: reply(serving, name) for name in (None, "one", "two")}
    streams = {name: stream(serving, ASKED, adapter_id=name, sampling=SHORT) for name in (None, "one", "two")}
    said = dict.fromkeys(streams, "")
    while streams:
        for name in list(streams):
            serving.swap("two" if serving.live == "one" else "one")
            piece = next(streams[name], None)
            if piece is None:
                del streams[name]
            else:
                said[name] += piece
    assert said == alone


def test_strength_nought_is_the_base_and_one_the_adapter(serving: ServingModel) -> None:
    """And a request at another strength leaves no trace on the next."""
    assert reply(serving, "one", 0.0) == reply(serving, None)
    whole = reply(serving, "one")
    reply(serving, "one", 0.3)
    assert reply(serving, "one", 1.0) == whole


def test_the_live_adapter_is_not_detached(serving: ServingModel) -> None:
    """Another may be; then it is gone."""
    serving.swap("one")
    with pytest.raises(AdapterError, match="live"):
        serving.detach("one")
    serving.detach("two")
    with pytest.raises(AdapterError, match="not attached"):
        serving.swap("two")
    assert serving.live == "one"


def test_a_broken_adapter_leaves_the_others_serving(serving: ServingModel, tmp_path: Path) -> None:
    """A file that cannot be read is an error of the one who attaches it."""
    before = reply(serving, "one")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "adapter_model.safetensors").write_bytes(b"\x00" * 20)
    (tmp_path / "bad" / "adapter_config.json").write_text("{}")
    with pytest.raises(AdapterError, match="cannot be read"):
        serving.attach("bad", tmp_path / "bad")
    assert reply(serving, "one") == before


@pytest.mark.parametrize("turns", [[], [Turn("user", "  ")], [Turn("user", "a"), Turn("assistant", "b")]])
def test_nothing_to_answer_is_an_error(serving: ServingModel, turns: list[Turn]) -> None:
    """Before any token is made."""
    with pytest.raises(InputError, match="nothing to answer"):
        stream(serving, turns, adapter_id=None)


def test_too_long_a_conversation_names_the_limit(serving: ServingModel) -> None:
    """So that the caller can trim it."""
    with pytest.raises(InputError, match="2048"):
        stream(serving, [Turn("user", "word " * 3000)], adapter_id=None)


def test_strength_out_of_range_is_an_error(serving: ServingModel) -> None:
    """Negative memory does not exist."""
    with pytest.raises(InputError, match="Strength"):
        stream(serving, ASKED, adapter_id="one", strength=-1.0)


def test_sampling_follows_its_seed(serving: ServingModel) -> None:
    """The same seed gives the same reply."""
    sampling = Sampling(temperature=1.5, max_new_tokens=12, seed=4)
    first, second = ("".join(stream(serving, ASKED, adapter_id="one", sampling=sampling)) for _ in range(2))
    assert first == second


def test_a_model_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    """It says what may be given."""
    with pytest.raises(ModelError, match="starter"):
        load_base(str(tmp_path / "nothing"))
