"""Render identities in the raw layout of SYSU-MM01, RegDB, Market-1501, SYSU-MM02 or LLCM.

    python -m clustercontrast.rendering --out data/rendered                    # for the demo
    python -m clustercontrast.rendering --out data/full --size full --workers 8
    python -m clustercontrast.rendering --out data/others --seed 1 --identities 150
    python -m clustercontrast.rendering --layout regdb --out data/rendered-regdb
    python -m clustercontrast.rendering --layout market --out data/rendered-market

Nothing measured on these images is a result on the data set whose layout they have.
"""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from clustercontrast.files import UserError
from clustercontrast.rendering.layouts import SIZES, render_sysu
from clustercontrast.rendering.llcm import LLCM_SIZES, render_llcm
from clustercontrast.rendering.manifests import SYSU02_SIZES, render_sysu02
from clustercontrast.rendering.market import MARKET_SIZES, render_market
from clustercontrast.rendering.regdb import REGDB_SIZES, render_regdb
from clustercontrast.rendering.sets import SetSize, is_rendered

LAYOUTS = {
    "sysu": (SIZES, render_sysu),
    "regdb": (REGDB_SIZES, render_regdb),
    "market": (MARKET_SIZES, render_market),
    "sysu02": (SYSU02_SIZES, render_sysu02),
    "llcm": (LLCM_SIZES, render_llcm),
}


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, render, and return the exit code: 0, or 2 after a user's mistake."""
    options = _parser().parse_args(arguments)
    try:
        sizes, render = LAYOUTS[options.layout]
        size = sizes[options.size]
        if options.identities is not None:
            size = size.with_training_identities(options.identities)
        return _render(options, size, render)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m clustercontrast.rendering",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--layout", choices=LAYOUTS, default="sysu", help="of this dataset (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    parser.add_argument("--size", choices=SIZES, default="demo", help="default: %(default)s")
    parser.add_argument(
        "--seed",
        type=_natural,
        default=0,
        help="another seed gives other identities (default: %(default)s)",
    )
    parser.add_argument(
        "--identities",
        type=_natural,
        help="number of training identities, instead of the size's own; the number of test "
        "identities does not change, but each trial of RegDB's layout has as many test as training "
        "identities",
    )
    parser.add_argument(
        "--workers",
        type=_natural,
        default=os.cpu_count() or 1,
        help="processes (default: one per core, %(default)s); the files do not depend on it",
    )
    return parser


def _natural(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return number


def _render(options: argparse.Namespace, size: SetSize, render: Callable) -> int:
    if is_rendered(options.out, size, options.seed):
        sys.stderr.write(f"{options.out} is already rendered ({size.name}, seed {options.seed})\n")
        return 0
    with tqdm(total=size.images, unit="image", desc=f"rendering {size.name}") as bar:
        counts = render(options.out, size, options.seed, options.workers, bar.update)
    sys.stderr.write(f"{options.out}: {_counted(counts)}{size.images} rendered images\n")
    return 0


def _counted(counts: dict[str, int]) -> str:
    """Numbers of identities, for the layouts that tell them apart."""
    words = {"train_identities": "training", "test_identities": "test"}
    known = [f"{counts[key]} {word}" for key, word in words.items() if key in counts]
    return f"{' and '.join(known)} identities, " if known else ""


if __name__ == "__main__":
    sys.exit(main())
