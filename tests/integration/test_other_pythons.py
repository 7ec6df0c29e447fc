"""The unit tests on the Python of Debian 13, beside this host's own."""

from __future__ import annotations

import pytest
from roots import ROOT, checkout

from argosy.config.suites import PYTHONS

pytestmark = [pytest.mark.integration, pytest.mark.slow(4), pytest.mark.timeout(1200)]


def test_the_unit_tests_pass_on_debian_13_s_python() -> None:
    with checkout("trixie") as host:
        python = str(ROOT / ".venv/bin/python")
        assert host.run([python, "--version"]).stdout.startswith(f"Python {PYTHONS['trixie']}.")
        done = host.run([python, "-m", "pytest", "tests/unit", "-q", "-p", "no:cacheprovider"], str(ROOT), timeout=600)
    assert " passed" in done.stdout.splitlines()[-1]
