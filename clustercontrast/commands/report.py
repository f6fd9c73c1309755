"""Tables and pictures of runs, pages of one and of several beside a baseline, logs for other tools.

All read what training or the test command left in the folders of the runs:

python -m clustercontrast.report tables logs/sysu/*/*/ logs/regdb/*/*/ --out tables
python -m clustercontrast.report html logs/sysu/pclhd/seed1
python -m clustercontrast.report compare logs/sysu/pgm/seed1 logs/sysu/pclhd/seed1
python -m clustercontrast.report ari logs/sysu/pgm/seed1 logs/sysu/pclhd/seed1
python -m clustercontrast.report map logs/sysu/pgm/seed1 logs/sysu/pclhd/seed1
python -m clustercontrast.report against clusters logs/*/cmam/fig5-*/
python -m clustercontrast.report steps logs/sysu/cmam/seed1
python -m clustercontrast.report results logs/sysu/pgm/seed1
python -m clustercontrast.report tensorboard logs/sysu/*/*/
python -m clustercontrast.report wandb logs/sysu/*/*/
"""

from argparse import Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from pathlib import Path

from clustercontrast.commands.cli import (
    MODELS,
    add_evaluation_flags,
    check_packages,
    command,
    existing,
    with_torch,
)
from clustercontrast.data.places import program
from clustercontrast.report.references.rows import METRICS
from clustercontrast.settings.flags import any_seed, count, natural
from clustercontrast.settings.parser import OneLineParser

FORMS = ("text", "markdown", "latex", "csv", "json")
MODEL_HELP = "last epoch, best on the test set, best by cycle consistency"


def main(argv: Sequence[str] | None = None) -> None:
    """Run a sub-command; a user's mistake is one line and exit code 2."""
    command(lambda: _report(argv))


def _report(argv: Sequence[str] | None) -> None:
    parser = OneLineParser(
        prog=f"{program()} report",
        description=__doc__,
        formatter_class=RawDescriptionHelpFormatter,
    )
    sub = parser.add_subparsers(dest="action", required=True)
    for name, (says, flags, _) in ACTIONS.items():
        flags(sub.add_parser(name, help=says, description=f"{says[0].upper()}{says[1:]}."))
    args = parser.parse_args(argv)
    for place in args.runs if "runs" in args else [args.run]:
        existing(place, "folders of runs, such as logs/sysu/*/*/")
    ACTIONS[args.action][2](args)


# --- flags of the actions ---


def _html(parser: OneLineParser) -> None:
    parser.add_argument("run", type=Path, help="logs/<dataset>/<method>/<name>/, or a trial of it")
    parser.add_argument("--model", choices=MODELS, default="last", help="model it shows [last]")
    parser.add_argument(
        "--activations", action="store_true",
        help="where the model looks: Grad-CAM of queries and their best matches [no]",
    )  # fmt: skip
    add_evaluation_flags(parser)


def _tables(parser: OneLineParser) -> None:
    parser.add_argument("runs", nargs="+", type=Path, help="folders of tested runs")
    parser.add_argument(
        "--models", nargs="+", default=["last", "test"], choices=MODELS,
        help=f"{MODEL_HELP} [last test]",
    )  # fmt: skip
    more = parser.add_mutually_exclusive_group()
    more.add_argument(
        "--each", action="store_true",
        help="every gallery draw or trial of each run by itself, and their average, beside the "
        "published ones [their means]",
    )  # fmt: skip
    more.add_argument(
        "--with-competitors", action="store_true",
        help="methods of others above the runs, by supervision: those of PCLHD's Table 1 and of "
        "CMAM-UDA's Table II among them [the methods of the runs]",
    )  # fmt: skip
    parser.add_argument(
        "--metrics", nargs="+", choices=list(METRICS), metavar="METRIC",
        help=f"columns, in this order: {', '.join(METRICS)}; at most two fit into one column of "
        "a two-column paper [all]",
    )  # fmt: skip
    parser.add_argument(
        "--rerank", action="store_true",
        help="re-ranked results of runs tested with --rerank, too, in tables of their own [no]",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path,
        help="folder for tables.md, .tex, .csv and .json (with --each: each.md, ...) [none]",
    )  # fmt: skip
    parser.add_argument("--format", choices=FORMS, default="text", help="what is printed [text]")


def _compare(parser: OneLineParser) -> None:
    parser.add_argument(
        "runs", nargs="+", type=Path,
        help="folders of tested runs, or of single trials or seeds, the baseline first",
    )  # fmt: skip
    parser.add_argument("--model", choices=MODELS, default="last", help=f"{MODEL_HELP} [last]")
    parser.add_argument(
        "--draw", type=natural, default=0, help="gallery draw whose queries are compared [0]"
    )
    parser.add_argument(
        "--seed", type=any_seed, default=1, help="of the bootstrap over the queries [1]"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("compare.html"), help="page to write [compare.html]"
    )
    add_evaluation_flags(parser)


def _ari(parser: OneLineParser) -> None:
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs, or of single trials")
    _add_out(parser, "ari.png")


def _map(parser: OneLineParser) -> None:
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs, the baseline first")
    parser.add_argument("--model", choices=MODELS, default="last", help=f"{MODEL_HELP} [last]")
    parser.add_argument(
        "--seed", type=any_seed, default=1, help="of the draw of the identities, and of t-SNE [1]"
    )
    _add_out(parser, "map.png")
    add_evaluation_flags(parser)


def _against(parser: OneLineParser) -> None:
    parser.add_argument("flag", help="flag that differs between the runs, such as clusters")
    parser.add_argument("runs", nargs="+", type=Path, help="folders of tested runs")
    parser.add_argument(
        "--metric", choices=list(METRICS), default="mAP", help="score that is drawn [mAP]"
    )
    parser.add_argument("--model", choices=MODELS, default="test", help=f"{MODEL_HELP} [test]")
    _add_out(parser, "against.png")


def _steps(parser: OneLineParser) -> None:
    parser.add_argument("run", type=Path, help="folder of a run whose generator is trained")
    parser.add_argument(
        "--steps", nargs="+", type=count, default=[5, 10, 15, 20, 25],
        help="numbers of sampling steps [5 10 15 20 25, the paper's Table V]",
    )  # fmt: skip
    parser.add_argument("--images", type=count, default=8, help="images of the source [8]")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N [auto]")
    _add_out(parser, "steps.png")


def _tensorboard(parser: OneLineParser) -> None:
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs, trained or training")
    parser.add_argument(
        "--out", type=Path, help="folder of a folder for each run [the folders of the runs]"
    )


def _wandb(parser: OneLineParser) -> None:
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs, trained or training")
    parser.add_argument(
        "--out", type=Path, default=Path(), help="folder that wandb/ is made in [this one]"
    )
    parser.add_argument(
        "--project", default="clustercontrast", help="project of W&B [clustercontrast]"
    )


def _results(parser: OneLineParser) -> None:
    parser.add_argument(
        "runs", nargs="*", type=Path,
        help="folders of tested runs [none: the tables are made of what is recorded]",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, default=Path("results"),
        help="folder of the records; the pages are those beside it [results]",
    )  # fmt: skip


def _add_out(parser: OneLineParser, name: str) -> None:
    parser.add_argument("--out", type=Path, default=Path(name), help=f"PNG to write [{name}]")


# --- what they do ---


def _write_page(args: Namespace) -> None:
    with_torch("testing").write_pages(args.run, args.model, args.activations, args)


def _write_tensorboard(args: Namespace) -> None:
    check_packages("report tensorboard", "tensorboard", "tensorboard")
    with_torch("boards").tensorboard(args)


def _write_wandb(args: Namespace) -> None:
    check_packages("report wandb", "wandb", "wandb")
    with_torch("boards").wandb(args)


Action = Callable[[Namespace], None]
ACTIONS: dict[str, tuple[str, Callable[[OneLineParser], None], Action]] = {
    "tables": (
        "any number of runs in the layout of papers' tables",
        _tables,
        lambda args: with_torch("tables").write_tables(args),
    ),
    "html": (
        "one self-contained page per run, report.html in its folder or in that of each trial",
        _html,
        _write_page,
    ),
    "compare": (
        "runs against the first of them, query by query, with intervals of the differences",
        _compare,
        lambda args: with_torch("comparing").compare(args),
    ),
    "ari": (
        "ARI of the clusters over the epochs, visible, infrared and both (PCLHD's Fig. 2c)",
        _ari,
        lambda args: with_torch("figures").ari(args),
    ),
    "map": (
        "t-SNE of ten random test identities, model beside model (PCLHD's Fig. 3)",
        _map,
        lambda args: with_torch("figures").maps(args),
    ),
    "against": (
        "a score against the value of a flag, a curve per dataset (CMAM-UDA's Fig. 5, PCLHD's "
        "Fig. 2a and 2b)",
        _against,
        lambda args: with_torch("figures").against(args),
    ),
    "steps": (
        "the same fake images at several numbers of sampling steps (CMAM-UDA's Fig. 6)",
        _steps,
        lambda args: with_torch("figures").steps(args),
    ),
    "tensorboard": (
        "event files for TensorBoard, one per run, from metrics.jsonl",
        _tensorboard,
        _write_tensorboard,
    ),
    "wandb": (
        "offline runs for Weights & Biases, one per run, from metrics.jsonl; nothing is sent",
        _wandb,
        _write_wandb,
    ),
    "results": (
        "record runs in results/<dataset>.csv, and make the tables of README.md and "
        "docs/results.md anew",
        _results,
        lambda args: with_torch("recording").write_results(args),
    ),
}
"""What it says, its flags, what it does."""
