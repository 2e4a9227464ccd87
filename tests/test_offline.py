"""The tests themselves: they run offline, and cannot do otherwise."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from pytest_socket import SocketBlockedError

pytestmark = pytest.mark.filterwarnings("ignore:A test tried to use socket")

SWALLOWED = """
import socket

def test_swallows():
    try:
        socket.create_connection(("127.0.0.1", 9))
    except Exception:
        pass
"""


def test_a_connection_is_refused(network_attempts: list[str]) -> None:
    """A test that opens a network socket, even to its own machine, is stopped."""
    with pytest.raises(SocketBlockedError):
        socket.socket(socket.AF_INET, socket.SOCK_STREAM).connect(("127.0.0.1", 9))
    assert len(network_attempts) == 1
    network_attempts.clear()  # it was meant


def test_a_name_is_not_looked_up(network_attempts: list[str]) -> None:
    """A test that asks for the address of a host is stopped before the question leaves."""
    with pytest.raises(SocketBlockedError):
        socket.getaddrinfo("example.org", 443)
    network_attempts.clear()


def test_a_unix_socket_is_allowed() -> None:
    """Processes of one machine may talk through unix sockets, which event loops need."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(b"here")
        assert theirs.recv(4) == b"here"


def test_a_swallowed_refusal_still_fails(tmp_path: Path) -> None:
    """Code that hides the refusal behind a broad except does not get past the test run."""
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    (tmp_path / "test_swallowed.py").write_text(SWALLOWED, encoding="utf-8")
    options = ["-p", "pytest_socket", "--disable-socket", "--allow-unix-socket", "--rootdir", str(tmp_path)]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tmp_path)],
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},  # other plugins only make it slow
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 1, run.stdout
    assert "The test reached for the network" in run.stdout


def test_settings_of_the_machine_are_not_seen() -> None:
    """Libraries are told to stay offline, and no BAKEMEM_ variable of the caller reaches a test."""
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    assert os.environ["ANONYMIZED_TELEMETRY"] == "False"
    assert not [name for name in os.environ if name.startswith("BAKEMEM_")]
