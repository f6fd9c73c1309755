"""Command lines of a trained model at work: features of a folder, a search among images."""

import os
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from clustercontrast.commands import cli
from clustercontrast.data.places import program
from clustercontrast.data.samples import MODALITIES
from clustercontrast.files import UserError
from clustercontrast.settings.flags import count, intensity, pixels
from clustercontrast.settings.parser import OneLineParser

MODEL = "a run's folder, a trial's, a checkpoint (ours or official), or an exported folder"
IMAGES = "a folder of images, an image, or a file of the command features (.npz, .parquet)"
INDEXES = ("hnsw", "ivf", "flat")


def features(argv: Sequence[str] | None = None) -> None:
    """Write the features of a folder of images."""
    cli.command(lambda: _features(argv))


def _features(argv: Sequence[str] | None) -> None:
    parser = _parser("features", "Write the features of a folder of images.")
    parser.add_argument("images", metavar="FOLDER", help="a folder of images, or one image")
    parser.add_argument(
        "--modality", required=True, choices=MODALITIES, help="what the images were taken in"
    )
    parser.add_argument(
        "--out", required=True, type=Path, metavar="FILE",
        help="file to write: .npz, .parquet or .csv",
    )  # fmt: skip
    _add_model_flags(parser)
    args = parser.parse_args(argv)
    _check(args)
    cli.with_torch("searching").features(args)


def search(argv: Sequence[str] | None = None) -> None:
    """Search a gallery for the people of query images."""
    cli.command(lambda: _search(argv))


def _search(argv: Sequence[str] | None) -> None:
    parser = _parser("search", "Search a gallery of images for the people of query images.")
    parser.add_argument("--query", required=True, help=IMAGES)
    parser.add_argument("--query-modality", choices=MODALITIES, help="what they were taken in")
    parser.add_argument(
        "--gallery", required=True, help=f"{IMAGES}, or a folder that --save-index has written"
    )
    parser.add_argument("--gallery-modality", choices=MODALITIES, help="what it was taken in")
    parser.add_argument("--top", type=count, default=10, help="images of an answer [10]")
    parser.add_argument("--out", type=Path, help="CSV to write: query, rank, gallery, similarity")
    parser.add_argument("--html", type=Path, help="page of ranked lists to write")
    parser.add_argument(
        "--html-queries", type=count, help="queries on the page, the first ones [50]"
    )
    parser.add_argument(
        "--activations", action="store_true",
        help="show on the page which places of a query and of its best match make them alike",
    )  # fmt: skip
    cli.add_reranking_flags(parser)
    parser.add_argument(
        "--index", choices=INDEXES, help="search through a faiss index [exactly, without one]"
    )
    parser.add_argument("--save-index", type=Path, help="folder for that index, to search it again")
    _add_model_flags(parser)
    args = parser.parse_args(argv)
    _check(args)
    cli.complete_reranking(args)
    _check_search(args)
    cli.with_torch("searching").search(args)


def _parser(action: str, does: str) -> OneLineParser:
    """The parser of a command that uses a model, and can be interrupted."""
    goes_on = "An interrupted command goes on where it was when it is given again."
    parser = OneLineParser(prog=f"{program()} {action}", description=f"{does} {goes_on}")
    parser.add_argument("model", metavar="MODEL", help=MODEL)
    return parser


def _add_model_flags(parser: OneLineParser) -> None:
    parser.add_argument("--model", dest="which", choices=cli.MODELS, help="model of a run [last]")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N [auto]")
    parser.add_argument(
        "--precision", choices=cli.PRECISIONS, default="fp32", help="as in tests [fp32]"
    )
    parser.add_argument("--batch-size", type=count, help="images per forward [64]")
    parser.add_argument("-j", "--workers", type=count, help="threads that decode [all cores]")
    parser.add_argument(
        "--no-flip", dest="flip", action="store_false",
        help="do not average over mirror images: twice as fast [average, as in tests]",
    )  # fmt: skip
    parser.add_argument(
        "--intensity-range", nargs=2, type=intensity, metavar=("LOW", "HIGH"),
        help="values of images of more than 8 bits that become black and white [skip them]",
    )  # fmt: skip
    for name in ("height", "width"):
        parser.add_argument(f"--{name}", type=pixels, help="pixels [the model's]")


def _check(args: Namespace) -> None:
    """Refuse what can be refused without the model."""
    cli.existing(Path(args.model), MODEL)
    for name, wanted in (("images", "a folder of images"), ("query", IMAGES), ("gallery", IMAGES)):
        place = getattr(args, name, None)
        if place is not None and not os.path.lexists(place):
            raise UserError(f"{place} does not exist: give {wanted}")
    for name in ("out", "html"):
        place = getattr(args, name, None)
        if place is not None and place.is_dir():
            raise UserError(f"{place} is a folder: give the name of a file to write")


def _check_search(args: Namespace) -> None:
    if args.out is None and args.html is None:
        raise UserError("the result goes nowhere: give --out FILE.csv, --html FILE.html or both")
    for flag, place, ending in (("--out", args.out, ".csv"), ("--html", args.html, ".html")):
        if place is not None and place.suffix != ending:
            raise UserError(f"{flag} {place}: give a name that ends in {ending}")
    for flags, needed, is_given in (
        (("html_queries", "activations"), "--html", args.html),
        (("save_index",), "--index", args.index),
    ):
        for name in flags:
            if getattr(args, name) and not is_given:
                flag = cli.spelled(name)
                raise UserError(f"{flag} is read with {needed} alone: leave it out")
    if args.index:
        cli.check_packages("--index", "faiss", "faiss")
    if args.rerank and args.index:
        raise UserError(
            "--rerank compares gallery images with each other, and an index holds no features: "
            "leave one of --rerank and --index out"
        )
