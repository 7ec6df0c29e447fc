from __future__ import annotations

import re
from pathlib import Path

import pytest
from invoke.exceptions import Exit

from argosy import errors

ROOT = Path(__file__).resolve().parents[2]


def every_error() -> list[type[errors.ArgosyError]]:
    found, queue = [], [errors.ArgosyError]
    while queue:
        kind = queue.pop()
        found.append(kind)
        queue.extend(kind.__subclasses__())
    return found


def test_inv_exits_with_the_error_s_code_and_prints_one_line() -> None:
    error = errors.Refused("air-01: no. Do this instead")
    assert isinstance(error, Exit)
    assert (error.code, error.message, str(error)) == (
        11,
        "air-01: no. Do this instead",
        "air-01: no. Do this instead",
    )


def test_exit_codes_are_distinct_and_documented() -> None:
    public = [kind for kind in every_error() if kind is not errors.ArgosyError and not kind.__name__.startswith("_")]
    assert errors.ArgosyError.exit_code not in {kind.exit_code for kind in public}
    # One without a code of its own is a case of the one above it: a user sees no difference.
    codes = {kind.__name__: kind.exit_code for kind in public if "exit_code" in vars(kind)}
    assert len(set(codes.values())) == len(codes)
    documented = dict(re.findall(r"^\| `(\w+)` \| (\d+) \|", (ROOT / "docs/errors.md").read_text(), re.MULTILINE))
    assert documented == {name: str(code) for name, code in codes.items()}


def test_hosts_failed_names_every_host_once() -> None:
    error = errors.HostsFailed(
        "upload", {"b": errors.HostUnreachable("b", "refused"), "a": OSError("disk full")}, total=3
    )
    assert str(error) == "upload failed on 2 of 3 machines: a: disk full; b: refused"
    assert set(error.failures) == {"a", "b"}


def test_a_config_error_begins_with_the_path() -> None:
    assert str(errors.ConfigError("bad", "ssh.port")) == "ssh.port: bad"


@pytest.mark.parametrize("kind", [errors.HostKeyMismatch, errors.LoginRefused])
def test_what_keeps_us_off_a_host_is_a_kind_of_unreachable(kind: type[errors.HostUnreachable]) -> None:
    error = kind("air-01", "no")
    assert isinstance(error, errors.HostUnreachable)
    assert error.host == "air-01"
