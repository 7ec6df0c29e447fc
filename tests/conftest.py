"""What every test shares."""

from __future__ import annotations

from hypothesis import settings

# How long one example takes depends on what else the machine does; pytest's own timeout ends a test that hangs.
settings.register_profile("argosy", deadline=None)
settings.load_profile("argosy")
