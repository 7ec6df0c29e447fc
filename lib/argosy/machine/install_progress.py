"""Pure. What a machine tells while it installs itself, and what that means.

WATCH runs on the machine as root and prints two kinds of lines: the journal's entries as JSON, as they come, and twice
a second, and when the installer's processes are gone, a line `argosy-state ...`, from which alone the end of an
installation is judged. The journal is for people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from argosy.machine.report import MachineReport
from argosy.text import json_object

STATE_PREFIX = "argosy-state "
RESULT_PREFIX = "argosy-result "
LOOK_SECONDS = 0.1
LOOKS_PER_TICK = 5
FIRST_LINES = 100

LOOK = f"""\
set -u
system=$1
config=/etc/$system state=/var/lib/$system
tell() {{
  units=$(systemctl show --property=ActiveState --value "$system-installer.service" "$system-secrets.service")
  release=$(cat "$config/release.env" "$state/release.env" 2>/dev/null | sed -n 's/^RELEASE_VERSION=//p' | tail -n 1)
  marker=no
  [ ! -e "$config/secrets/.complete" ] || marker=yes
  case $(systemctl is-system-running) in initializing | starting) booting=yes ;; *) booting=no ;; esac
  record=$(cat "$state/install.json" 2>/dev/null)
  printf '{STATE_PREFIX}%s marker=%s booting=%s release=%s %s\\n' \\
    "$(echo $units)" "$marker" "$booting" "$release" "$record"
}}
tell
"""
"""Prints one line, `argosy-state ...`. $1: the system."""

WATCH = f"""\
{LOOK}
cursor=$2 lines=$3
set -- --follow --quiet --all --output=json --output-fields=MESSAGE,_PID,_SYSTEMD_UNIT,UNIT
since=$(systemctl show --property=InactiveExitTimestamp --value "$system-installer.service")
if [ -n "$cursor" ]; then set -- "$@" --no-tail "--after-cursor=$cursor"
elif [ -e "$state/install.json" ] && ! systemctl show "$system-installer.service" | grep -qx ActiveState=activating
then set -- "$@" --lines=0
elif [ -n "$since" ]; then set -- "$@" --no-tail "--since=$since"
else set -- "$@" --boot "--lines=$lines"
fi
for unit in secrets etcd installer; do set -- "$@" "--unit=$system-$unit.service"; done
journalctl "$@" &
looks=0 before=''
while sleep {LOOK_SECONDS}; do
  looks=$((looks + 1)) at_work=''
  # systemd removes the unit's cgroup when its last process has ended, and says so by then; v2 and v1, or neither.
  for tree in /sys/fs/cgroup /sys/fs/cgroup/systemd; do
    [ ! -d "$tree/system.slice/$system-installer.service" ] || at_work=yes
  done
  if [ $looks -ge {LOOKS_PER_TICK} ] || [ "$before" != "$at_work" ]; then tell; looks=0; fi
  before=$at_work
done
"""
"""$1: the system; $2: the journal's cursor after which to begin. Without one: where the installer that is at
work began; with what comes, when an earlier one has ended; else with the last $3 lines of this boot."""


class Verdict(Enum):
    """`LACKING`: secrets are missing. `IDLE`: nothing runs and nothing was recorded, so nothing will come.

    The value is how many times in a row it must be seen to count: a job that was queued may start in a moment.
    """

    WORKING = 0
    INSTALLED = 2
    FAILED = 3
    LACKING = 4
    IDLE = 10


@dataclass(frozen=True)
class State:
    """`installer`, `secrets`: the ActiveState of the units. `marker`: the secrets are complete. `booting`: systemd has
    jobs of the boot left, the path unit's among them. `release`: what the machine must install. `record`: its
    install.json."""

    installer: str
    secrets: str
    marker: bool
    release: str
    record: Mapping[str, Any] = field(default_factory=dict)
    booting: bool = False

    @property
    def verdict(self) -> Verdict:
        if self.is_at_work or self.installer in ("active", "deactivating"):
            return Verdict.WORKING
        if not self.marker:
            return Verdict.LACKING if self.secrets == "failed" else Verdict.WORKING
        if self.has_result:
            return Verdict.INSTALLED if self.record["state"] == "active" else Verdict.FAILED
        return Verdict.WORKING if self.booting else Verdict.IDLE

    @property
    def is_active(self) -> bool:
        """Whether an install has succeeded, be it of another release than the machine has to install now."""
        return self.record.get("state") == "active"

    @property
    def has_ended(self) -> bool:
        """Whether an install has not succeeded, and nothing of it continues by itself."""
        return self.marker and not self.is_at_work and not self.is_active

    @property
    def is_at_work(self) -> bool:
        """Whether an install, or what comes before it, has begun and not ended."""
        return "activating" in (self.installer, self.secrets)

    @property
    def has_result(self) -> bool:
        """Whether an install of this release has recorded its end, be it one of before."""
        return self.record.get("release") == self.release and self.record.get("state") in ("active", "failed")


def parse_state(line: str) -> State | None:
    """Return the state in a line of WATCH's, None for one that is no such line or was cut.

    `argosy-state inactive active marker=yes booting=no release=0.1.3 {"state": "active", ...}`
    """
    words = line.removeprefix(STATE_PREFIX).split(" ", 5)
    if not line.startswith(STATE_PREFIX) or len(words) < 5:
        return None
    record = json_object(words[5]) if len(words) == 6 else None
    return State(
        installer=words[0],
        secrets=words[1],
        marker=words[2] == "marker=yes",
        booting=words[3] == "booting=yes",
        release=words[4].removeprefix("release="),
        record=record or {},
    )


@dataclass(frozen=True)
class Entry:
    """One entry of the journal. `text`: what to show of it, if anything; `own_text`: the same when the installer's unit
    wrote it, and not systemd; `is_result`: it is the installer's last."""

    cursor: str
    text: str
    own_text: str = ""
    is_result: bool = False


def parse_entry(line: str, system: str) -> Entry | None:
    """Return the journal's entry in a line of WATCH's, None for one that is none or was cut.

    Of etcd, which talks much, only what systemd says about it is shown.
    Source: https://systemd.io/JOURNAL_EXPORT_FORMATS/#journal-json-format
    """
    fields = json_object(line)
    if not fields or "__CURSOR" not in fields:
        return None
    message = _text(fields.get("MESSAGE"))
    from_systemd = fields.get("_PID") == "1"
    unit = str(fields.get("UNIT" if from_systemd else "_SYSTEMD_UNIT") or "").removesuffix(".service")
    part = unit.removeprefix(f"{system}-")
    if message.startswith(RESULT_PREFIX):
        return Entry(fields["__CURSOR"], "", is_result=True)
    if part == "installer" and not from_systemd:
        return Entry(fields["__CURSOR"], message, own_text=message)
    return Entry(fields["__CURSOR"], f"({part}) {message}" if from_systemd or part != "etcd" else "")


def failures(record: Mapping[str, Any]) -> list[tuple[str, Sequence[str]]]:
    """Return (reason, log lines) for all that failed, by a machine's install.json."""
    return [
        (f"{each['service']}: {each['reason']}" if each.get("service") else str(each["reason"]), each.get("log", []))
        for each in record.get("failed", [])
    ]


def not_up(status: MachineReport | None) -> list[str]:
    """Return what is not up and why, as far as a machine says; empty when all is."""
    if status is None:
        return []
    reasons = [f"it lacks the secrets {', '.join(status.missing_secrets)}"] if status.missing_secrets else []
    if status.state == "waiting" and not reasons:
        reasons.append("it waits for its secrets: inv cluster.upload-secrets")
    return reasons + [
        f"{service.name}: {service.reason or f'unit is {service.unit}'}"
        for service in status.services
        if service.check == "failing" or service.unit != "active"
    ]


def _text(message: object) -> str:
    """Return a journal field: text, or the bytes of what is no UTF-8."""
    if isinstance(message, list):
        return bytes(message).decode(errors="replace")
    return str(message or "")
