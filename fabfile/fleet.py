"""fleet's unit files: what they become here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from argosy import console
from argosy.tasking import settings_of, task

if TYPE_CHECKING:
    from invoke.context import Context


@task(
    words="files",
    help={
        "files": "unit files: templates, instances and sidekicks together",
        "output": "the YAML file to write; without it the definitions are printed",
        "force": "write over a file that is there",
        "draft": "add what was refused, as comments that say what is missing",
    },
)
def import_unit(
    c: Context,
    files: list[str],
    output: str = "",
    force: bool = False,
    draft: bool = False,
    cluster: str = "",
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Make definitions of scheduled services of fleet's unit files, and say what became of each (docs/fleet.md).

    No machine is asked or changed. What can't be translated is refused with its line and the reason: then the others
    are written all the same, and the task ends with 11.

    Examples:
        inv service.import-unit web@.service web@1.service web@2.service web-discovery@.service --output services.yaml
        inv service.import-unit units/*.service > services.yaml
    """

    from argosy.fleet import files as fleet_units
    from argosy.fleet import report

    target = Path(output) if output else None
    if target:
        fleet_units.check_output(target, force)
    imported = fleet_units.import_files(settings_of(c, cluster), files)
    if target and dry_run:
        if not json:
            console.print_steps(fleet_units.plan(imported, target))
    elif target:
        fleet_units.write(imported, target, draft)
    if json:
        console.print_json(report.to_json(imported))
    else:
        console.table(report.COLUMNS, report.rows(imported), to_stderr=not target)
        if not target:
            console.say(report.render_services(imported, draft).rstrip())
    if imported.refused:
        raise fleet_units.refusal(imported, None if dry_run else target)
