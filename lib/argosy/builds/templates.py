"""The system's own template resources, read from the repository and checked before they become part of a release."""

from __future__ import annotations

from argosy.agent.templates.functions import check_templates
from argosy.agent.templates.loading import read_files
from argosy.agent.templates.resources import is_resource, parse_set
from argosy.config.loading import Settings
from argosy.errors import ConfigError


def read_templates(settings: Settings) -> dict[str, bytes]:
    """Return the files of the folder `templates:` by their paths in it, conf.d/*.toml and templates/; none without one.

    Raises ConfigError, with file and line, for what the agent on a machine would refuse.
    """
    if not settings.templates:
        return {}
    folder = settings.root / settings.templates
    if not settings.discovery.enabled:
        raise ConfigError(
            "the agent keeps these files, and it is off: turn discovery.enabled on, or leave this out", "templates"
        )
    if not folder.is_dir():
        raise ConfigError(
            f"no folder {folder}: make it, with conf.d/ and templates/ in it, or correct this", "templates"
        )
    try:
        files = read_files(folder)
    except OSError as error:
        raise ConfigError(f"{error.filename or folder} can't be read: {error.strerror}", "templates") from None
    if not any(map(is_resource, files)):
        raise ConfigError(f"no resource in {folder}: they are files conf.d/NAME.toml", "templates")
    where = f"{settings.templates.rstrip('/')}/"
    found = parse_set(files, settings.files_path, where)
    if found.problems:
        more = f" (and {len(found.problems) - 1} more)" if len(found.problems) > 1 else ""
        raise ConfigError(f"{found.problems[0].reason}{more}")
    check_templates(found.sources, where)
    return files
