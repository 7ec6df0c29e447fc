"""Who works on a cluster: bundles for further checkouts and CI runners, with rights of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from argosy import console
from argosy.tasking import settings_of, task

if TYPE_CHECKING:
    from collections.abc import Callable

    from invoke.context import Context

    from argosy.membership.actions import Planned
    from argosy.operators.bundle import Bundle

KEY_FILE = (
    "a file with the passphrase, or with an identity of age; else ARGOSY_BUNDLE_KEY has it, or it is asked for on the "
    "terminal"
)


@task(
    help={
        "name": "of the operator, such as ci or ann",
        "rights": "deploy (releases, services, routes) or full (all, and the CA's key)",
        "output": "the bundle's file; CLUSTER-NAME.age when left out",
        "recipient": "encrypt it to this public key of age (age1...), not by a passphrase (may be given several times)",
        "key_file": KEY_FILE,
    }
)
def add(
    c: Context,
    name: str,
    recipient: list[str],
    rights: str = "deploy",
    output: str = "",
    key_file: str = "",
    cluster: str = "",
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Make another operator: keys of its own, its ssh key on every machine, and a bundle for its checkout.

    The bundle is encrypted by age and may be kept in git. Run again, it is made anew, with the machines, host keys and
    certificates of today. Needs the CA's key.

    Examples:
        inv operator.add ci --output ci/air.age
        inv operator.add ann --rights full --recipient age1qx2...
        inv operator.add ci --dry-run
    """
    from pathlib import Path

    from argosy.operators import adding, keys
    from argosy.operators.bundle import seal

    settings = settings_of(c, cluster)
    path = settings.root / Path(output or f"{settings.cluster}-{name}.age").expanduser()
    request = adding.Request(name, adding.parse_rights(rights), path)
    if dry_run:
        planned = adding.plan(settings, request, console.report).planned
        _show(planned, dry_run, json)
        return
    adding.check(settings, request)
    key = None if recipient else keys.bundle_key(settings, key_file, _asking(twice=True))

    def sealing(bundle: Bundle) -> bytes:
        return seal(bundle, recipient, key)

    added = adding.add(settings, request, sealing, console.report)
    _show(added.planned, dry_run, json)
    if not json:
        console.say(f"{path}: the bundle of {name} ({rights}); in its checkout: inv operator.join {path.name}")
    added.refuse_unreachable()


@task(name="list")
def list_operators(c: Context, cluster: str = "", json: bool = False) -> None:
    """Show the operators that were added, and those that were removed; who set the cluster up is not among them.

    Examples:
        inv operator.list
        inv operator.list --json
    """
    from argosy.cluster.opening import OpenCluster
    from argosy.cluster.operators import read_records
    from argosy.operators import listing

    with OpenCluster(settings_of(c, cluster), console.report) as opened:
        records = read_records(opened.store)
    console.show(json, listing.to_json(records), listing.COLUMNS, listing.rows(records))


@task(help={"name": "of the operator"})
def remove(
    c: Context, name: str, yes: bool = False, cluster: str = "", dry_run: bool = False, json: bool = False
) -> None:
    """Take an operator's rights and shut its ssh key out on every machine.

    Machines that can't be reached are named; the same command again does what is left.

    Examples:
        inv operator.remove ci
        inv operator.remove ann --yes --json
    """
    from argosy.operators import removing

    settings = settings_of(c, cluster)
    if dry_run:
        _show(removing.plan(settings, name, console.report).planned, dry_run, json)
        return
    console.confirm(f"Remove the operator {name} of cluster {settings.cluster}?", yes)
    removed = removing.remove(settings, name, console.report)
    _show(removed.planned, dry_run, json)
    if not json:
        console.say(f"{name}: {'removed' if removed.planned.steps else 'nothing to do'}")
    removed.refuse_unreachable()


@task(help={"bundle": "the file that operator.add has written", "key_file": KEY_FILE})
def join(
    c: Context, bundle: str, key_file: str = "", cluster: str = "", dry_run: bool = False, json: bool = False
) -> None:
    """Make this checkout one of the bundle's operator: keys, certificates, machines and their host keys.

    What is here of another operator or cluster is refused. Asks no machine.

    Examples:
        inv operator.join ci/air.age
        inv operator.join ann.age --key-file ~/.config/age/keys.txt --dry-run
    """
    from pathlib import Path

    from argosy.operators import joining, keys
    from argosy.operators.bundle import read, unseal

    settings = settings_of(c, cluster)
    path = settings.root / Path(bundle).expanduser()
    sealed = read(path)
    opened = unseal(sealed, keys.bundle_key(settings, key_file, _asking()), str(path))
    joined = joining.plan(settings, opened) if dry_run else joining.join(settings, opened)
    if json:
        console.print_json(joined.to_json())
        return
    console.print_steps(joined.steps())
    for line in joined.next_steps:
        console.say(f"next: {line}")


def _asking(twice: bool = False) -> Callable[[], str]:
    """Return what asks for a bundle's passphrase on the terminal. Raises ConfigError when nobody is there."""
    return lambda: console.ask_secret(
        "The bundle's passphrase", "ARGOSY_BUNDLE_KEY or --key-file gives it", twice=twice
    )


def _show(planned: Planned, dry_run: bool, json: bool) -> None:
    if json:
        console.print_json(planned.to_json())
        return
    if dry_run:
        console.print_steps(planned.steps)
    for note in planned.notes if dry_run or not planned.steps else ():
        console.report("note", note)
