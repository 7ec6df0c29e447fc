"""The records of rollouts in etcd."""

from __future__ import annotations

from argosy.cluster.journal import ROLLOUT, Place
from argosy.rollouts.record import parse_rollout

ROLLOUTS = "/cluster/rollouts/"
KEPT_ROLLOUTS = 50
OF_ROLLOUTS = Place(ROLLOUT, ROLLOUTS, KEPT_ROLLOUTS, parse_rollout)
