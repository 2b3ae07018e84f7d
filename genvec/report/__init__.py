"""A run folder as something to look at: one self-contained HTML page, and the table as text."""

from pathlib import Path

import jinja2

from genvec.report import figures, samples, tables
from genvec.report.contents import predict, read_contents
from genvec.report.results import results, results_table
from genvec.store import RunFolder, write_atomically

__all__ = ["results_table", "write_report"]


def write_report(run: RunFolder) -> Path:
    """Writes `run.report`, one HTML page that needs no network, from what the stages wrote.

    A stage that has not run yet (classes, encoders, samples, evaluation) leaves a sentence in its
    section; the zoo's table of members is all that must be there.

    Returns:
      The path of the page.

    Raises:
      StoreError: there is no zoo, or a file of the run is damaged.
    """
    contents = read_contents(run)
    prediction = predict(contents)
    drawn = figures.embed(figures.draw(contents, prediction))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template("page.html").render(
        facts=tables.facts(contents),
        headline=tables.headline(contents),
        results=results(contents.metrics),
        prediction=prediction,
        sheets=samples.edge_sheets(contents),
        distances=tables.distances(contents),
        classes=tables.class_keys(contents),
        details=tables.details(contents),
        **drawn,
    )
    write_atomically(run.report, lambda path: path.write_text(html, encoding="utf-8"))
    return run.report
