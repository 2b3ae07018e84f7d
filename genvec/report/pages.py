"""A template of this folder → one HTML file that needs no network."""

from pathlib import Path
from typing import Any

import jinja2

from genvec.store import write_atomically


def write_page(path: Path, template: str, **values: Any) -> Path:
    """Renders a template that extends `base.html`; a value that it misses is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template(template).render(**values)
    write_atomically(path, lambda temporary: temporary.write_text(html, encoding="utf-8"))
    return path
