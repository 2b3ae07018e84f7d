"""A run folder as something to look at: one self-contained HTML page, and the table as text."""

from pathlib import Path

from genvec.report import figures, samples, tables
from genvec.report.collections import collections_table, write_collections
from genvec.report.comparison import comparisons
from genvec.report.contents import predict, read_contents
from genvec.report.families import families_table
from genvec.report.gallery import write_gallery
from genvec.report.matching import matched_entries, matching_table
from genvec.report.pages import write_page
from genvec.report.results import results, results_table
from genvec.report.search import Found, write_search
from genvec.store import RunFolder

__all__ = [
    "Found",
    "collections_table",
    "comparisons",
    "families_table",
    "matched_entries",
    "matching_table",
    "results_table",
    "write_collections",
    "write_gallery",
    "write_report",
    "write_search",
]


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
    return write_page(
        run.report,
        "page.html",
        facts=tables.facts(contents),
        headline=tables.headline(contents),
        results=results(contents.metrics),
        prediction=prediction,
        sheets=samples.edge_sheets(contents),
        comparisons=comparisons(contents.metrics),
        distances=tables.distances(contents),
        classes=tables.class_keys(contents),
        details=tables.details(contents),
        **drawn,
    )
