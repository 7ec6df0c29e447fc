"""Files that a machine's owner and we both write: what is taken out of them is what was put in."""

from __future__ import annotations

import json

import pytest

from argosy.cloudconfig.shared import (
    DAEMON_JSON,
    ENVIRONMENT,
    Origin,
    merged,
    origin_of,
    origins_json,
    parse_origins,
    restored,
)

OURS = {DAEMON_JSON: '{"bip": "172.17.42.1/16", "dns": ["172.17.42.1"]}', ENVIRONMENT: "MACHINE_NAME=air-01\nA=1\n"}


@pytest.mark.parametrize(
    ("path", "before"),
    [
        (DAEMON_JSON, None),
        (DAEMON_JSON, ""),
        (DAEMON_JSON, "{}"),
        (DAEMON_JSON, '{"mtu":1400}'),
        (DAEMON_JSON, '{"dns": ["10.0.0.53"],\n\n "mtu": 1400}'),
        (DAEMON_JSON, '{"bip": "172.17.42.1/16"}'),
        (ENVIRONMENT, None),
        (ENVIRONMENT, ""),
        (ENVIRONMENT, 'PATH="/bin"\n'),
        (ENVIRONMENT, "# mine\nA=9\nB=2"),
        (ENVIRONMENT, "MACHINE_NAME=air-01\nA=1\n"),
    ],
)
def test_what_was_merged_in_comes_out_to_the_last_byte(path: str, before: str | None) -> None:
    origin = origin_of(path, before, OURS[path], None, ours_already=False)
    (origin,) = parse_origins(origins_json({path: origin})).values()
    text = merged(path, before, OURS[path])
    assert restored(path, text, origin) == before
    later = origin_of(path, text, OURS[path], origin, ours_already=True)
    assert restored(path, merged(path, text, OURS[path]), later) == before
    assert restored(path, before, later) == before, "a second time"


def test_what_its_owner_has_changed_since_stays() -> None:
    origin = Origin('{"dns": ["10.0.0.53"]}', json.loads(OURS[DAEMON_JSON]))
    now = '{"bip": "10.1.0.1/24", "dns": ["172.17.42.1"], "mtu": 9000}'
    text = restored(DAEMON_JSON, now, origin)
    assert json.loads(text or "") == {"bip": "10.1.0.1/24", "dns": ["10.0.0.53"], "mtu": 9000}
    assert restored(DAEMON_JSON, None, origin) is None, "it was removed"

    kept = Origin("A=9\nB=2\n", {"MACHINE_NAME": "air-01", "A": "1"})
    now = "# new\nB=3\nMACHINE_NAME=other\nA=1\n"
    assert restored(ENVIRONMENT, now, kept) == "# new\nB=3\nMACHINE_NAME=other\nA=9\n"


def test_all_that_we_have_ever_set_is_ours() -> None:
    first = origin_of(DAEMON_JSON, None, '{"dns": ["1.1.1.1"], "mtu": 1}', None, ours_already=False)
    later = origin_of(DAEMON_JSON, "{}", '{"dns": ["2.2.2.2"]}', first, ours_already=True)
    assert restored(DAEMON_JSON, '{"dns": ["2.2.2.2"], "mtu": 1}', later) is None


def test_what_is_no_json_is_never_replaced() -> None:
    with pytest.raises(ValueError, match="Expecting"):
        restored(DAEMON_JSON, "{", Origin(None, {}))
    with pytest.raises(ValueError, match="not what was before us"):
        parse_origins('{"/etc/environment": {}}')
