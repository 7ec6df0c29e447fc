"""Before all else on a machine that joins a cluster: its etcd is a learner, without a vote, until it has caught up.

Then it asks for its own promotion, so that nobody has to wait for it elsewhere. Elsewhere it would be too late, too:
a learner answers no reads, on which every later step depends.
"""

from __future__ import annotations

from argosy_installer.etcd import Etcd
from argosy_installer.progress import Say


def promote_own_learner(own: Etcd, others: Etcd, say: Say) -> None:
    """Wait until this machine's member answers and, if it is a learner, until it is a voter. Idempotent.

    `own`: of this machine's member alone; `others`: of the members on other machines. Raises TryAgain at the deadline.
    """
    told = False

    def promote() -> bool:
        """Return whether there was anything to do. Looks each time: the answer to a promotion may have been lost."""
        nonlocal told
        member, learner = own.own_member()
        if not learner:
            return told
        if not told:
            say("etcd: a learner, to be promoted when it has caught up")
            told = True
        others.promote(member)
        return True

    if own.patiently(promote):
        say("etcd: promoted to a voting member")
