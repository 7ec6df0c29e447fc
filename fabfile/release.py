"""Releases of a cluster: which there are, what is in them, how they differ; another cluster's promoted to this one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from argosy.tasking import settings_of, task

if TYPE_CHECKING:
    from invoke.context import Context


@task(name="list")
def list_releases(c: Context, cluster: str = "", json: bool = False) -> None:
    """Show the cluster's releases in its registry, the newest first: when each was made, of what, and who has it.

    Examples:
        inv release.list
        inv release.list --cluster production --json
    """
    from argosy import console
    from argosy.releases import listing

    rows = listing.releases(settings_of(c, cluster), console.report)
    told = [row.to_json() for row in rows]
    console.show(json, told, listing.COLUMNS, [row.cells() for row in rows])


@task(
    words="release",
    words_max=1,
    help={"release": "its version; that of the release that the cluster runs when left out"},
)
def show(c: Context, release: list[str], cluster: str = "", json: bool = False) -> None:
    """Show one release: the images that it pins, when it was made, of what, and who has it.

    Without a version it is the one that the cluster runs.

    Examples:
        inv release.show
        inv release.show 0.1.4 --json
    """
    from argosy import console
    from argosy.releases import listing

    row = listing.release(settings_of(c, cluster), "".join(release), console.report)
    images = listing.image_rows(row.stored.pins)
    found = [(listing.COLUMNS, [row.cells()]), (["IMAGE", "VERSION", "DIGEST"], images)]
    console.show_all(json, row.to_json(), found)


@task(
    words="releases",
    words_max=2,
    help={
        "releases": "two versions; without the second it is the newest",
        "from_": "the cluster whose release the first one is; without versions, the one that it runs",
    },
)
def diff(c: Context, releases: list[str], from_: str = "", cluster: str = "", json: bool = False) -> None:
    """Show how a release differs from another: images by version and digest, units and the rest line by line.

    Examples:
        inv release.diff 0.1.3 0.1.4
        inv release.diff --cluster production --from staging
    """
    from argosy import console
    from argosy.errors import ConfigError
    from argosy.releases import comparing, differences

    if not releases and not from_:
        raise ConfigError("give the version to compare with, or --from CLUSTER", "releases")
    first, second = [*releases, "", ""][:2]
    other = settings_of(c, from_) if from_ else None
    found = comparing.compare(settings_of(c, cluster), first, second, other)
    if json:
        console.print_json(found.to_json())
        return
    console.table(differences.COLUMNS, [change.row() for change in found.images])
    for line in found.diff:
        console.say(line)


@task(
    help={
        "from_": "the cluster whose release it is",
        "release": "one of its releases; the one that it runs when left out",
    }
)
def promote(
    c: Context,
    from_: str = "",
    release: str = "",
    yes: bool = False,
    cluster: str = "",
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Make a release for this cluster of the very images that another cluster runs, and push it.

    Its units have this cluster's settings. What this cluster's registry lacks is copied byte for byte; no service's
    image is built. What changes to the newest release is shown before, and on a terminal asked about.

    Examples:
        inv release.promote --from staging --cluster production --dry-run
        inv release.promote --from staging --cluster production
        inv release.promote --from staging --release 0.1.4 --cluster production --yes
    """
    from argosy import console
    from argosy.errors import ConfigError
    from argosy.releases import differences, promotion

    if not from_:
        raise ConfigError("give the cluster whose release is to be promoted: --from NAME", "from")
    planned = promotion.plan(settings_of(c, cluster), settings_of(c, from_), release)
    if not json:
        console.table(differences.COLUMNS, [change.row() for change in planned.changes.images], to_stderr=True)
        for line in planned.changes.diff:
            console.report("diff", line)
    if not console.agreed(planned.steps, yes, dry_run, json):
        return
    done = promotion.promote(planned, console.report)
    if json:
        console.print_json(done.to_json())
    else:
        how = "release" if done.built.is_new else "unchanged, release"
        console.say(f"{how} {done.built.version} of {planned.target.cluster}, of {planned.title}")
