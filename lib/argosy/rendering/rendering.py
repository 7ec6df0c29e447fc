"""Pure. The templates of templates/: found beside the package, in a checkout and in a wheel."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from argosy.rendering.quoting import json_text, shell_words, yaml_text

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parents[1] / "templates"


@cache
def _environment() -> Environment:
    """Return the one environment. No HTML escaping: what we render are units, shell and HAProxy files, and each
    template quotes by the rules of what it renders: by the filters `json` (YAML, too), `yaml_text`, `sh`, or before
    (systemd.command_line). Imported here: many modules import this one and render nothing."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(  # noqa: S701
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"json": json_text, "yaml_text": yaml_text, "sh": shell_words}
    return environment


def render(template: str, **values: Any) -> str:
    """Return `templates/TEMPLATE` with `values`, such as `render("systemd/service.service.j2", system="air")`.

    Raises jinja2.UndefinedError for a value that the template uses and did not get.
    """
    return _environment().get_template(template).render(**values)
