"""Commands on a real sshd: what they print, how they end, and that they do end."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import tenacity
from ssh_server import SshServer, requires_sshd, ssh_server

from argosy.errors import CommandFailed, DeadlineExceeded, HostUnreachable
from argosy.ssh.host import Host

pytestmark = [pytest.mark.integration, requires_sshd]

LONG = 1000
"""Seconds: whoever waits for such a command runs into the time limit of the test."""
NASTY = ["", "a b", "$HOME", "`id`", "it's", 'say "hi"', "-n", "*", "\\", "new\nline", "ü", "; exit 3"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with ssh_server(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture
def host(server: SshServer) -> Iterator[Host]:
    with server.host() as host:
        yield host


def wait_until_gone(pid: int) -> None:
    for attempt in tenacity.Retrying(wait=tenacity.wait_fixed(0.05), stop=tenacity.stop_after_delay(8), reraise=True):
        with attempt:
            assert not Path(f"/proc/{pid}").exists() or "State:\tZ" in Path(f"/proc/{pid}/status").read_text()


def pid_in(file: Path) -> int:
    for attempt in tenacity.Retrying(wait=tenacity.wait_fixed(0.05), stop=tenacity.stop_after_delay(8), reraise=True):
        with attempt:
            return int(file.read_text())
    raise AssertionError


def test_words_arrive_as_they_were(host: Host) -> None:
    assert host.run(["printf", "%s\\0", *NASTY]).stdout.split("\0")[:-1] == NASTY


def test_a_line_of_shell_is_one(host: Host) -> None:
    result = host.run("echo out | tr a-z A-Z; echo err >&2")
    assert (result.host, result.stdout, result.stderr, result.code) == ("air-01", "OUT\n", "err\n", 0)


def test_a_failure_names_host_command_and_last_words(host: Host) -> None:
    with pytest.raises(CommandFailed) as caught:
        host.run("echo first >&2; echo 'disk on fire' >&2; exit 7")
    assert str(caught.value).startswith("air-01: `echo first")
    assert str(caught.value).endswith("ended with 7: disk on fire")
    assert "\n" not in str(caught.value)
    assert getattr(caught.value.result, "stderr", "") == "first\ndisk on fire\n"


def test_a_failure_may_be_asked_for_as_a_result(host: Host) -> None:
    assert host.run(["false"], check=False).code == 1
    assert host.run(["/nope"], check=False).code == 127


def test_a_command_ended_by_a_signal_is_told(host: Host) -> None:
    with pytest.raises(CommandFailed, match="was ended by a signal"):
        host.run("kill -9 $$")


def test_input_and_output_larger_than_any_buffer(host: Host) -> None:
    data = os.urandom(1 << 20).hex().encode() * 4
    assert host.run(["cat"], input=data).stdout.encode() == data


def test_a_command_that_leaves_its_input_unread(host: Host) -> None:
    assert host.run("echo enough", input=b"x" * (8 << 20)).stdout == "enough\n"


def test_no_input_is_the_end_of_input(host: Host) -> None:
    assert host.run(["cat"], timeout_seconds=5).stdout == ""


def test_an_input_that_breaks_off_is_not_taken_for_a_whole_one(host: Host, tmp_path: Path) -> None:
    def feed(sink: object) -> None:
        sink.write(b"half")  # type: ignore[attr-defined]
        raise OSError("the disk went away")

    with pytest.raises(OSError, match="the disk went away"):
        host.run(["cat"], input=feed)
    assert host.run(["echo", "fine"]).ok


def test_output_that_is_no_text(host: Host) -> None:
    assert host.run(["printf", "\\377ok"]).stdout == "\N{REPLACEMENT CHARACTER}ok"


def test_out_of_time_ends_all_that_the_command_began(host: Host, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    pids.mkdir()
    with pytest.raises(DeadlineExceeded, match=r"^air-01: `sh -c .* took longer than 0.8 s and was ended$"):
        host.run(
            ["sh", "-c", f"sleep {LONG} & echo $! >{pids}/a; sh -c 'echo $$ >{pids}/b; exec sleep {LONG}' | cat"],
            timeout_seconds=0.8,
        )
    wait_until_gone(pid_in(pids / "a"))
    wait_until_gone(pid_in(pids / "b"))


def test_out_of_time_ends_what_ignores_a_polite_request(host: Host, tmp_path: Path) -> None:
    with pytest.raises(DeadlineExceeded, match="was ended"):
        host.run(f"trap '' TERM; echo $$ >{tmp_path}/pid; while :; do sleep 0.1; done", timeout_seconds=0.5)
    wait_until_gone(pid_in(tmp_path / "pid"))


def test_a_child_that_keeps_the_output_open_is_not_waited_for(host: Host, tmp_path: Path) -> None:
    assert host.run(f"sleep {LONG} & echo $! >{tmp_path}/pid; echo done").stdout == "done\n"
    os.kill(pid_in(tmp_path / "pid"), signal.SIGKILL)


def test_lines_come_as_they_are_printed(host: Host) -> None:
    seen: list[tuple[float, str]] = []
    errors: list[str] = []
    started = time.monotonic()
    code = host.stream(
        "echo one; echo oops >&2; sleep 0.6; printf two",
        on_line=lambda text: seen.append((time.monotonic() - started, text)),
        on_error_line=errors.append,
        deadline_seconds=10,
    )
    assert code == 0
    assert [text for _, text in seen] == ["one", "two"]
    assert seen[1][0] - seen[0][0] > 0.4
    assert errors == ["oops"]


def test_a_stream_stops_when_told_and_its_process_with_it(host: Host, tmp_path: Path) -> None:
    seen: list[str] = []

    def take(text: str) -> bool:
        seen.append(text)
        return len(seen) == 3

    line = f"echo $$ >{tmp_path}/pid; n=0; while :; do n=$((n+1)); echo $n; done"
    assert host.stream(["sh", "-c", line], on_line=take, deadline_seconds=10) == 0
    assert seen == ["1", "2", "3"]
    wait_until_gone(pid_in(tmp_path / "pid"))


def test_a_silent_stream_ends_at_its_deadline(host: Host, tmp_path: Path) -> None:
    with pytest.raises(DeadlineExceeded, match="took longer than"):
        host.stream(f"echo $$ >{tmp_path}/pid; exec sleep {LONG}", on_line=lambda _: None, deadline_seconds=0.5)
    wait_until_gone(pid_in(tmp_path / "pid"))


def test_a_chatty_stream_ends_at_its_deadline(host: Host) -> None:
    with pytest.raises(DeadlineExceeded):
        host.stream(["yes"], on_line=lambda _: None, deadline_seconds=0.5)


def test_an_error_of_the_listener_ends_the_process(host: Host, tmp_path: Path) -> None:
    def fail(_: str) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        host.stream(f"echo $$ >{tmp_path}/pid; yes", on_line=fail, deadline_seconds=10)
    wait_until_gone(pid_in(tmp_path / "pid"))


def test_a_stream_that_fails_tells_why(host: Host) -> None:
    with pytest.raises(CommandFailed, match="ended with 4: no such unit"):
        host.stream("echo no such unit >&2; exit 4", on_line=lambda _: None, deadline_seconds=5)
    assert host.stream("exit 4", on_line=lambda _: None, deadline_seconds=5, check=False) == 4


def test_output_can_be_read_as_a_stream(host: Host) -> None:
    with host.reading("head -c 3000000 /dev/zero; echo end") as output:
        assert len(output.read(1_000_000)) == 1_000_000
        assert output.read(3_000_000)[-4:] == b"end\n"
        assert output.read(1) == b""
    with pytest.raises(CommandFailed, match="ended with 3: broken"), host.reading("echo broken >&2; exit 3") as output:
        assert output.read(1) == b""


def test_reading_may_stop_early(host: Host) -> None:
    with host.reading(["printf", "abc"]) as output:
        assert output.read(1) == b"a"


def test_many_threads_share_one_host_beyond_the_sessions_that_sshd_allows(host: Host) -> None:
    results: list[str] = []
    threads = [
        threading.Thread(
            target=lambda word: results.append(host.run(["sh", "-c", f"sleep 0.1; echo {word}"]).stdout), args=(n,)
        )
        for n in range(30)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(int(text) for text in results) == list(range(30))


def test_a_lost_connection_is_told_and_not_repeated(host: Host, server: SshServer, tmp_path: Path) -> None:
    def cut() -> None:
        pid_in(tmp_path / "pid")
        server.signal_sessions(signal.SIGKILL)

    cutter = threading.Thread(target=cut)
    cutter.start()
    with pytest.raises(HostUnreachable, match="lost its connection and may still run there"):
        host.run(f"echo $$ >>{tmp_path}/pid; exec sleep 30")
    cutter.join()
    os.kill(pid_in(tmp_path / "pid"), signal.SIGKILL)
    assert host.run(["echo", "back"]).stdout == "back\n"


def test_a_frozen_machine_does_not_hang_the_caller(server: SshServer) -> None:
    with server.host(connect_timeout_seconds=1, connect_attempts=1) as host:
        host.run(["true"])
        with server.frozen(), pytest.raises(HostUnreachable):
            host.run(["true"], timeout_seconds=2)
        assert host.run(["echo", "thawed"]).stdout == "thawed\n"


def test_a_machine_that_freezes_while_a_command_runs(server: SshServer, tmp_path: Path) -> None:
    with server.host() as host, contextlib.ExitStack() as thaw:

        def freeze() -> None:
            pid_in(tmp_path / "pid")
            thaw.enter_context(server.frozen())

        thread = threading.Thread(target=freeze)
        thread.start()
        with pytest.raises(DeadlineExceeded, match="may still run there"):
            host.run(f"echo $$ >{tmp_path}/pid; exec sleep {LONG}", timeout_seconds=1)
        os.kill(pid_in(tmp_path / "pid"), signal.SIGKILL)


def test_cancelling_ends_what_runs(host: Host, tmp_path: Path) -> None:
    def cancel() -> None:
        pid_in(tmp_path / "pid")
        host.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(HostUnreachable, match="was cancelled and was ended"):
        host.run(f"echo $$ >{tmp_path}/pid; exec sleep 30")
    thread.join()
    wait_until_gone(pid_in(tmp_path / "pid"))
