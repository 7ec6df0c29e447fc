"""A pretended Compute API: an HTTP server on loopback that keeps state and checks every request against Google's
published discovery document. It can be told to be slow, to fail, to do a thing twice, to lose an answer.

    with FakeCompute() as fake:
        fake.url                            # for gce.emulator
        fake.requests                       # what was asked, in order
        fake.faults.add(Fault("instances.insert", "lose"))
"""

from __future__ import annotations

from compute_api.faults import Fault, Faults
from compute_api.server import FakeCompute, Request

__all__ = ["FakeCompute", "Fault", "Faults", "Request"]
