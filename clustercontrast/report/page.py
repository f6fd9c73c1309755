"""One self-contained HTML page per run: numbers, curves, features, retrievals, configuration.

The page needs neither network nor script, and its Content-Security-Policy forbids both. The same
run gives the same bytes: nothing on it depends on the time or the place of its making.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from clustercontrast.data.images import ImageArray
from clustercontrast.evaluation.metrics import Retrieval
from clustercontrast.evaluation.protocols import Search, score
from clustercontrast.files import atomic
from clustercontrast.report import pictures
from clustercontrast.report.activations import Heat, pairs
from clustercontrast.report.beside import figures_beside
from clustercontrast.report.figures import (
    Best,
    Panel,
    best_epochs,
    draw,
    draw_narrow,
    panels_for,
)
from clustercontrast.report.forms import Table
from clustercontrast.report.grids import LENGTH, grid
from clustercontrast.report.markup import (
    card,
    command,
    configuration,
    definitions,
    document,
    explanation,
    plot,
    rows_html,
    table_html,
)
from clustercontrast.report.references.rows import METRICS
from clustercontrast.report.retrievals import Ranking
from clustercontrast.report.spaces import IMAGES, choose_people, distances, embed

QUERIES = 6
"""Rows of a grid of retrievals."""

PLOT = (5.4, 3.5)
"""Inches of one plot over the epochs."""


@dataclass(frozen=True)
class Model:
    """A model of the run and what it makes of the test images.

    Attributes:
        label: such as "initial weights (--pretrained)" or "last epoch".
        features: (N, d) float32 unit rows by modality; rows that no search uses are NaN.
    """

    label: str
    features: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Content:
    """All that a page shows.

    Attributes:
        title: the run, such as "PCLHD, seed1, stage progressive".
        table: results of the run, those of both models among them.
        reranked: its re-ranked results, if its test made any; they stand below the others.
        warnings: what the page says first of all: of images that are not the official ones.
        epochs: records of :func:`clustercontrast.report.figures.read_epochs`.
        config: ``config.json`` of the run.
        images: test images by modality.
        headings: of the search modes, the one that selects models first.
        searches: one search per mode, the first of those that the table is over.
        before: the model that training began with.
        after: the trained model.
        heat: its activation maps, if the page is to show them.
    """

    title: str
    table: Table
    warnings: Sequence[str]
    epochs: Sequence[Mapping[str, Any]]
    config: Mapping[str, Any]
    images: Mapping[str, ImageArray]
    headings: Mapping[str, str]
    searches: Mapping[str, Search]
    before: Model
    after: Model
    reranked: Table | None = None
    heat: Heat | None = None

    @property
    def models(self) -> tuple[Model, Model]:
        """Before and after training."""
        return self.before, self.after

    @property
    def selection(self) -> str:
        """The mode that selects models."""
        return next(iter(self.headings))

    def tested(self, model: Model) -> Mapping[str, Any]:
        """Results of a model in the mode that selects models."""
        rows = {(row["model"], row["mode"]): row for row in self.table.content["results"]}
        return rows[model.label, self.selection]

    @property
    def draw(self) -> str:
        """Which search of a mode is shown, where the table is over several."""
        is_drawn = self.tested(self.after)["searches"] > 1
        return "the first gallery draw (draw 0)" if is_drawn else ""

    def ranking(self, model: Model, mode: str) -> Ranking:
        """What a model answers in a mode."""
        lists = {name: array.index for name, array in self.images.items()}
        return Ranking(self.searches[mode], lists, model.features)


def write_page(content: Content, path: Path) -> None:
    """Write the page of a run.

    Raises:
        UserError: the file cannot be written.
    """
    text = page(content)
    with atomic(path) as file:
        file.write(text)


def page(content: Content) -> str:
    """The whole page, HTML5 in one string."""
    title = f"{content.title} on {content.table.dataset}"
    subtitle, warnings = content.table.dataset, content.warnings
    return document(title, content.title, subtitle, warnings, _sections(content))


def _sections(content: Content) -> dict[str, tuple[str, str]]:
    """Anchor -> title and body, from the top of the page."""
    scores = scores_of(content)
    rankings = {mode: content.ranking(content.after, mode) for mode in content.headings}
    maps = _activations(content, rankings) if content.heat else ""
    sections = {
        "results": ("Results", _results(content)),
        "curves": ("Training", _curves(content)),
        "cmc": ("CMC curves", _cmc(content, scores)),
        "distances": ("Distances within and between identities", _distances(content, rankings)),
        "map": ("Feature map", _map(content)),
        "retrievals": ("Ranked retrievals", _retrievals(content, rankings)),
        "activations": ("Activation maps", maps),
        "failures": ("Worst failures", _failures(content, rankings)),
        "run": ("How it was run", _run(content)),
    }
    return {name: own for name, own in sections.items() if own[1]}


def scores_of(content: Content) -> dict[str, dict[str, Retrieval]]:
    """Scores of both models in every mode, by the model's label."""
    lists = {name: array.index for name, array in content.images.items()}
    return {
        model.label: {
            mode: score(content.searches[mode], lists, model.features) for mode in content.headings
        }
        for model in content.models
    }


# --- results ---


def _results(content: Content) -> str:
    first, last = map(content.tested, content.models)
    number = last["searches"]
    means = f", means over {number} gallery draws" if number > 1 else ""
    cards = "".join(
        card(
            METRICS[name],
            first[name]["mean"],
            last[name]["mean"],
            f"± {last[name]['std']:.1f} over the {number} gallery draws" if means else "",
        )
        for name in ("rank1", "mAP", "mINP")
    )
    said = (
        f"The cards compare {content.before.label} with {content.after.label}: "
        f"{content.headings[content.selection]}{means}. The table has the other measures, models "
        "and searches."
    )
    if content.draw:
        said += f" CMC, distances, retrievals and failures further down are of {content.draw}."
    tables = filter(None, (content.table, content.reranked))
    return (
        f'{explanation(said)}<div class="cards">{cards}</div>\n{"".join(map(_with_notes, tables))}'
    )


def _with_notes(table: Table) -> str:
    """A table below its heading, and what must be read with it."""
    notes = "".join(f"<li>{escape(note)}</li>" for note in table.notes)
    return (
        f'<h3>{escape(table.heading)}</h3>\n{table_html(table)}\n<ul class="notes">{notes}</ul>\n'
    )


# --- plots ---


def _curves(content: Content) -> str:
    best = best_epochs(content.epochs, content.config.get("values", {}).get("select"))
    said = (
        "Epochs are counted from 0 in every stage, as in the log; dotted lines separate the "
        "stages. Clusters are compared with true identities for the reader; training never sees "
        "these."
    )
    if any(own.epochs for own in best):
        said += (
            " Marked is the best epoch of each stage: ★ by its score on the test set, ◇ by cycle "
            "consistency, which needs no test label."
        )
    beside = figures_beside(content.config["about"], content.epochs)
    plots = "".join(
        plot(functools.partial(_curve, content.epochs, panel, best, beside), _over_epochs(panel))
        for panel in panels_for(content.epochs)
    )
    return f'{explanation(said)}<div class="plots">{plots}</div>\n'


def _curve(
    epochs: Sequence[Mapping[str, Any]],
    panel: Panel,
    best: Sequence[Best],
    beside: Sequence[Mapping[str, float]],
    is_narrow: bool,
) -> Figure:
    if is_narrow:
        return draw_narrow(epochs, panel, best, beside)
    return draw(epochs, [panel], 1, PLOT, best, beside)


def _over_epochs(panel: Panel) -> str:
    return f"{panel.title} over the epochs"


def _cmc(content: Content, scores: Mapping[str, Mapping[str, Retrieval]]) -> str:
    counted = {"identity": "distinct identities", "image": "images"}
    units = {counted[content.searches[mode].cmc] for mode in content.headings}
    said = (
        "Share of the queries whose identity is found among the first k ranks; ranks count "
        f"{' or '.join(sorted(units))}, as in the protocol of the dataset."
    )
    shares = {
        label: {mode: own.cmc for mode, own in modes.items()} for label, modes in scores.items()
    }
    figure = functools.partial(pictures.cmc, shares, content.headings)
    return explanation(said) + plot(figure, "CMC, rank 1 to 20, before and after training")


def _distances(content: Content, rankings: Mapping[str, Ranking]) -> str:
    search = content.searches[content.selection]
    said = (
        f"Cosine distances of all pairs ranked in {content.headings[content.selection]}: "
        f"{search.query} queries against the {search.gallery} gallery. The further apart the two "
        "means and the smaller the overlap, the easier the search."
    )
    found = {
        content.before.label: distances(content.ranking(content.before, content.selection)),
        content.after.label: distances(rankings[content.selection]),
    }
    names = ("mean, same identity", "mean, different identities", "gap between the means")
    rows = [(label, *(f"{x:.3f}" for x in (*own.means, own.gap))) for label, own in found.items()]
    histograms = plot(
        functools.partial(pictures.histograms, found),
        "Histograms of the distances of images of one identity and of two identities",
    )
    return f"{explanation(said)}{rows_html(('model', *names), rows)}\n{histograms}"


def _map(content: Content) -> str:
    usable = {
        name: np.all([np.isfinite(model.features[name][:, 0]) for model in content.models], axis=0)
        for name in content.images
    }
    people = choose_people({name: array.index for name, array in content.images.items()}, usable)
    positions = {
        model.label: embed({name: model.features[name][own] for name, own in people.rows.items()})
        for model in content.models
    }
    figure = functools.partial(pictures.maps, people, positions, ())
    said = (
        f"t-SNE of test images of {len(people.chosen)} identities, at most {IMAGES} per identity "
        "and modality: the colour shows the identity, the shape the modality. A model that bridges "
        "the modalities puts circles and stars of an identity together; distances between "
        "groups mean little."
    )
    return explanation(said) + plot(figure, "Map of the identities before and after training")


# --- retrievals ---


def _retrievals(content: Content, rankings: Mapping[str, Ranking]) -> str:
    said = (
        f"What the trained model ({content.after.label}) finds: {QUERIES} queries spread evenly "
        f"over all queries ordered by average precision (AP), and the first {LENGTH} gallery "
        "images with their cosine similarity. Solid green and ✓: the identity of the query; "
        "dashed red and ✗: another identity. Images that the protocol excludes are not ranked; a "
        "file's name appears under the pointer."
    )
    grids = {
        mode: grid(ranking, ranking.spread(QUERIES), content.images)
        for mode, ranking in rankings.items()
    }
    return explanation(said) + _by_mode(content, grids)


def _activations(content: Content, rankings: Mapping[str, Ranking]) -> str:
    said = (
        f"Where the features of the trained model ({content.after.label}) come from, by Grad-CAM "
        "(Selvaraju et al., ICCV 2017) on its last maps: the queries above, each beside its best "
        "match. Coloured is what makes the feature more like that of the other image of the pair, "
        "red the most; a map is empty where no place does. Every map is scaled to its own highest "
        "place, so two maps say nothing about which image is more like the other. Maps are coarse "
        "and no proof: they show what moves the feature, not why, and a right match may rest on "
        "the background."
    )
    grids = {
        mode: pairs(
            ranking, ranking.spread(QUERIES), content.images, content.after.features, content.heat
        )
        for mode, ranking in rankings.items()
    }
    return explanation(said) + _by_mode(content, grids)


def _failures(content: Content, rankings: Mapping[str, Ranking]) -> str:
    said = (
        f"The {QUERIES} queries of lowest average precision, one per identity. At the end of each "
        "row: the first right image and the rank at which it stands."
    )
    grids = {
        mode: grid(ranking, ranking.worst(QUERIES), content.images, first=True)
        for mode, ranking in rankings.items()
    }
    return explanation(said) + _by_mode(content, grids)


def _by_mode(content: Content, grids: Mapping[str, str]) -> str:
    parts = []
    for mode, inner in grids.items():
        search = content.searches[mode]
        said = f"{content.headings[mode]}: {search.query} query, {search.gallery} gallery"
        parts.append(f"<h3>{escape(said)}</h3>\n{inner}\n")
    return "".join(parts)


# --- configuration ---


def _run(content: Content) -> str:
    config = content.config
    said = (
        "Every value and where it comes from: the command line (marked) or a row "
        "method/dataset/variant of the recipes. A value of – follows another flag or is not used."
    )
    return (
        f"<h3>Command</h3>{command(str(config.get('command', '')))}"
        f'<div class="facts"><div><h3>Run</h3>{definitions(config.get("about", {}))}</div>'
        f"<div><h3>Versions</h3>{definitions(config.get('versions', {}))}</div></div>\n"
        f"<h3>Configuration</h3>{explanation(said)}"
        f"{configuration(config.get('values', {}), config.get('origins', {}))}"
    )
