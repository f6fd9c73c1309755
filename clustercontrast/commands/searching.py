"""The commands features and search: images on disk, a model, files and a page of results."""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

import clustercontrast
from clustercontrast.commands.evaluating import reranking_of
from clustercontrast.commands.loading import load
from clustercontrast.files import UserError, say
from clustercontrast.report.pictures import overlaid
from clustercontrast.report.search_page import Answer, Hit, Results, write_results
from clustercontrast.retrieval.blocks import forget
from clustercontrast.retrieval.features import READERS, Features, check_ending, check_same_model
from clustercontrast.retrieval.images import read_pictures
from clustercontrast.retrieval.index import Index, check_place, is_index
from clustercontrast.retrieval.model import BATCH, Model
from clustercontrast.retrieval.search import K_RECIPROCAL, Found, Ranked, reranked_file

SIDES = ("query", "gallery")
NAMED = 20
"""Images that could not be read, this many are named."""

HTML_QUERIES = 50


def features(args: Namespace) -> None:
    """Write the features of a folder of images.

    Args:
        args: flags of the command, see :mod:`clustercontrast.commands.use`.

    Raises:
        UserError: no image can be read, or the model or the file cannot be used.
    """
    check_ending(args.out)
    keep = _beside(args.out, "")
    found = _extract(_load(args), args.images, args.modality, args, keep)
    found.save(args.out)
    forget(keep)
    say(f"wrote {args.out}: {len(found):,} images, {found.rows.shape[1]:,} numbers each")


def search(args: Namespace) -> None:
    """Search a gallery for the people of query images.

    Args:
        args: flags of the command, see :mod:`clustercontrast.commands.use`.

    Raises:
        UserError: nothing to search with or in, or the model or the files cannot be used.
    """
    model = _load(args)
    known = {side: _known(model, side, args) for side in SIDES}
    _check(known, args)
    keeps = {side: _beside(args.out or args.html, f".{side}") for side in SIDES}
    queries, gallery = (
        known[side] or _extract(model, place, modality, args, keeps[side])
        for side, (place, modality) in zip(SIDES, _given(args), strict=True)
    )
    if args.index:
        gallery = _indexed(gallery, args)
    asked = reranking_of(args)
    kind, parameters = (K_RECIPROCAL, asdict(asked)) if asked else (None, {})
    found = clustercontrast.search(queries, gallery, args.top, kind, **parameters)
    if args.out:
        _save(found, args.out)
    if args.html:
        write_results(_results(model, found, args), args.html)
        say(f"wrote {args.html}")
    for keep in keeps.values():
        forget(keep)


def _save(found: Found, file: Path) -> None:
    """The result as CSV; a re-ranked one of an earlier search is not deleted, but named."""
    found.save(file)
    other = reranked_file(file)
    others = f" and {other}" if found.reranked is not None else ""
    count, top = found.rows.shape
    say(f"wrote {file}{others}: {count:,} queries, {top} images each")
    if found.reranked is None and other.exists():
        say(f"note: {other} is of an earlier search")


def _load(args: Namespace) -> Model:
    which = args.which or "last"
    model = load(args.model, which, args.device, args.precision, args.height, args.width)
    for note in _notes(model):
        say(f"note: {note}")
    return model


def _notes(model: Model) -> list[str]:
    """What must be known of the images that a model was trained on."""
    notes = model.provenance.notes() if model.provenance else ()
    return [f"training images of the model: {note}" for note in notes]


def _given(args: Namespace) -> list[tuple[str, str | None]]:
    """Place and modality of both sides, as they were typed."""
    return [(getattr(args, side), getattr(args, f"{side}_modality")) for side in SIDES]


def _known(model: Model, side: str, args: Namespace) -> Features | Index | None:
    """Queries or gallery read from a file; None where images have to be read."""
    place, modality = Path(getattr(args, side)), getattr(args, f"{side}_modality")
    if is_index(place):
        known: Features | Index = Index.load(place)
    elif place.is_file() and place.suffix in READERS:
        known = Features.load(place)
    else:
        if modality is None:
            raise UserError(f"say what the images in {place} were taken in: --{side}-modality")
        return None
    if modality not in (None, known.modality):
        raise UserError(
            f"{place} holds features of {known.modality} images: leave --{side}-modality out, or "
            "give another file"
        )
    check_same_model(model.made_with(args.flip), known.made_with)
    return known


def _check(known: Mapping[str, Features | Index | None], args: Namespace) -> None:
    """Refuse what the search would refuse, before hours of work.

    Raises:
        UserError: an index where none can be used.
    """
    if isinstance(known["query"], Index):
        raise UserError(f"--query {args.query} is an index: queries are images, or their features")
    if isinstance(known["gallery"], Index) and (args.index or args.rerank):
        flag = "--index" if args.index else "--rerank"
        raise UserError(f"--gallery {args.gallery} is an index already: leave {flag} out")
    flags = {"--batch-size": args.batch_size, "--workers": args.workers,
             "--intensity-range": args.intensity_range}  # fmt: skip
    given = [flag for flag, value in flags.items() if value is not None]
    if given and None not in known.values():
        raise UserError(
            f"{given[0]} is read where there are images to read, and both sides are features "
            "already: leave it out"
        )
    if args.save_index:
        check_place(args.save_index)


def _extract(
    model: Model, place: str | Path, modality: str, args: Namespace, keep: Path
) -> Features:
    """Features of images; what could not be read is listed, what is done is kept on disk."""
    intensities = args.intensity_range and tuple(args.intensity_range)
    try:
        found = model.features(
            place, modality, args.flip, args.batch_size or BATCH, args.workers,
            intensities=intensities, keep=keep,
        )  # fmt: skip
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f" while {modality} images were read: what is done lies in {keep}; the same command "
            "goes on"
        ) from None
    for name, reason in found.skipped[:NAMED]:
        say(f"skipped {name}: {reason}")
    if len(found.skipped) > NAMED:
        say(f"skipped {len(found.skipped) - NAMED:,} images more")
    if found.passed_over:
        count, first = len(found.passed_over), min(found.passed_over)
        say(f"passed over {count:,} {'file' if count == 1 else 'files'}, such as {first}")
    return found


def _beside(file: Path, side: str) -> Path:
    """Where finished features are kept while the others are being made."""
    return file.with_name(f"{file.name}{side}.partial")


def _indexed(gallery: Features, args: Namespace) -> Index:
    index = Index.build(gallery, args.index)
    say(
        f"{args.index} index of {len(index):,} images: it finds {100 * index.recall:.1f} % of the "
        "ten nearest (measured on gallery images)"
    )
    if args.save_index:
        index.save(args.save_index)
        say(f"wrote {args.save_index}")
    return index


# --- the page ---


def _results(model: Model, found: Found, args: Namespace) -> Results:
    """What the page shows: the first queries and their answers."""
    count = min(args.html_queries or HTML_QUERIES, len(found.queries))
    lists = {"By cosine similarity": found.ranked}
    if found.reranked is not None:
        lists[reranking_of(args).label.capitalize()] = found.reranked
    used = np.unique(np.concatenate([own.rows[:count].ravel() for own in lists.values()]))
    gallery = dict(zip(used.tolist(), _pictures(model, found.gallery, used), strict=True))
    queries = _pictures(model, found.queries, range(count))
    answers = [
        Answer(
            found.queries.paths[query],
            queries[query],
            {name: _hits(found, own, query, gallery) for name, own in lists.items()},
            _activations(model, found, query, queries, gallery) if args.activations else (),
        )
        for query in range(count)
    ]
    return Results(
        title=f"Search among {len(found.gallery):,} {found.gallery.modality} images",
        subtitle=f"{len(found.queries):,} {found.queries.modality} queries",
        warnings=_notes(model),
        answers=answers,
        facts=_facts(model, found, args, count),
    )


def _pictures(
    model: Model, images: Features | Index, rows: Sequence[int] | np.ndarray
) -> list[np.ndarray | None]:
    return read_pictures([images.paths[row] for row in rows], model.size)


def _hits(
    found: Found, ranked: Ranked, query: int, gallery: Mapping[int, np.ndarray | None]
) -> list[Hit]:
    pairs = zip(ranked.rows[query].tolist(), ranked.scores[query].tolist(), strict=True)
    return [Hit(found.gallery.paths[row], gallery[row], score) for row, score in pairs]


def _activations(
    model: Model,
    found: Found,
    query: int,
    queries: Sequence[np.ndarray | None],
    gallery: Mapping[int, np.ndarray | None],
) -> tuple[np.ndarray | None, ...]:
    """A query and its best match, each under its map; nothing where one cannot be read again."""
    pair = queries[query], gallery[int(found.rows[query, 0])]
    if any(pixels is None for pixels in pair):
        return ()
    modalities = found.queries.modality, found.gallery.modality
    features = [
        model.embed(pixels[None], modality)
        for pixels, modality in zip(pair, modalities, strict=True)
    ]
    heats = (
        model.activations(pixels[None], modality, towards)[0]
        for pixels, modality, towards in zip(pair, modalities, features[::-1], strict=True)
    )
    return tuple(
        overlaid(pixels, heat) if heat.any() else None
        for pixels, heat in zip(pair, heats, strict=True)
    )


def _facts(model: Model, found: Found, args: Namespace, shown: int) -> dict[str, object]:
    """How the search was made."""
    about, images = model.about, model.provenance
    method = about.get("method", "not known")
    return {
        "model": f"{args.model}, {args.which or 'last'}",
        "method": f"{method}, epoch {about['epoch']}" if "epoch" in about else method,
        "trained on": images.title if images else "not known",
        "queries": f"{args.query}, {found.queries.modality}: {len(found.queries):,} images, the "
        f"first {shown:,} are shown",
        "gallery": f"{args.gallery}, {found.gallery.modality}: {len(found.gallery):,} images",
        "images": f"{model.height}x{model.width} pixels, as the network sees them",
        "search": f"{found.gallery.kind} index (faiss), which found "
        f"{100 * found.gallery.recall:.1f} % of the ten nearest when it was built"
        if isinstance(found.gallery, Index)
        else "exact",
    }
