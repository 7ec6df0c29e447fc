"""Pure. The system's images on a machine, and what removes those that nobody needs."""

from __future__ import annotations

from collections.abc import Iterable

from argosy.ssh.shell import Script

REMOVE = """\
set -u
prefix=$1
shift
removed=0
used=$(docker ps --all --quiet | xargs --no-run-if-empty docker inspect --format '{{.Config.Image}}')
for image in $(docker image ls --digests --format '{{.Repository}}@{{.Digest}}'); do
  case $image in "$prefix"*@sha256:*) ;; *) continue ;; esac
  kept=no
  for other in "$@" $used; do [ "$image" != "$other" ] || kept=yes; done
  if [ $kept = no ] && docker image rm "$image" >/dev/null 2>&1; then removed=$((removed + 1)); fi
done
echo "$removed"
"""


def remove_images(registry: str, prefix: str, keep: Iterable[str] = ()) -> Script:
    """Return what removes the system's images from the machine, but those of `keep` and what containers use, and prints
    how many. `prefix`: of their repositories."""
    return Script("remove old images", REMOVE, f"{registry}/{prefix}/", *keep)
