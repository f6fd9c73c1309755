"""Evaluation against a large gallery: seconds and memory, by blocks of queries.

    python -m benchmarks.evaluation                                     # 1,000 in 1,000,000 x 512
    python -m benchmarks.evaluation --queries 2000 --gallery 20000      # and equal to one matrix

Rows lie around centres as those of identities do, under the usual rules of a custom dataset: the
query's own camera is left out.  Up to ``--dense-up-to`` pairs, the result is compared with that of
one matrix of all of them.  The memory is that of the whole process, features and lists of images
included.
"""

import argparse
import time

import numpy as np

from benchmarks.record import Record, add_arguments
from benchmarks.search import resident
from clustercontrast.data.samples import ImageList
from clustercontrast.evaluation.metrics import Retrieval
from clustercontrast.evaluation.protocols import Rules, custom_protocol, score

MODE = "infrared_to_visible"
CAMERAS = 6
IMAGES = 50  # of an identity in the gallery
SPREAD = 3.0  # around the centres of the identities, whose spread is 1
ROWS_AT_ONCE = 10_000  # features that are made together


def image_list(modality: str, identities: np.ndarray, generator: np.random.Generator) -> ImageList:
    """Images with paths of a usual length, in any camera."""
    cameras = generator.integers(1, CAMERAS + 1, len(identities))
    paths = (f"{modality}/{row // IMAGES:06d}/{row:08d}.jpg" for row in range(len(identities)))
    return ImageList(modality, paths, identities, cameras)


def dense(queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """(Q, G) float64 cosines as one matrix."""
    return queries.astype(np.float64) @ gallery.astype(np.float64).T


def is_same(one: Retrieval, other: Retrieval) -> bool:
    """Whether two results are equal to the last bit."""
    figures = [(own.mAP, own.mINP, own.queries) for own in (one, other)]
    return np.array_equal(one.cmc, other.cmc) and figures[0] == figures[1]


def sides(args: argparse.Namespace) -> tuple[dict[str, ImageList], dict[str, np.ndarray]]:
    """Images and unit features of both modalities, the visible ones the gallery."""
    generator = np.random.default_rng(args.seed)
    centres = generator.standard_normal((max(1, args.gallery // IMAGES), args.dim), np.float32)
    images, features = {}, {}
    for name, count in (("visible", args.gallery), ("infrared", args.queries)):
        identities = np.sort(generator.integers(len(centres), size=count))
        rows = generator.standard_normal((count, args.dim), np.float32)
        rows *= SPREAD
        for start in range(0, count, ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            rows[part] += centres[identities[part]]
            rows[part] /= np.linalg.norm(rows[part], axis=1, keepdims=True)
        features[name] = rows
        images[name] = image_list(name, identities, generator)
    return images, features


def measure(args: argparse.Namespace) -> dict:
    """One evaluation."""
    images, features = sides(args)
    held = resident("VmRSS") / 2**20
    started, used = time.perf_counter(), time.process_time()
    search = custom_protocol(Rules()).search(*images.values(), MODE, 0)
    found = score(search, images, features)
    row = {
        "queries": args.queries,
        "gallery": args.gallery,
        "dim": args.dim,
        "seconds": time.perf_counter() - started,
        "CPU seconds": time.process_time() - used,
        "features and lists GiB": held,
        "peak GiB": resident("VmHWM") / 2**20,
        "mAP": found.mAP,
    }
    if args.queries * args.gallery <= args.dense_up_to:
        row["equal"] = is_same(found, score(search, images, features, dense))
    return row


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--gallery", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512, help="feature width")
    parser.add_argument("--seed", type=int, default=0, help="of the images")
    parser.add_argument("--dense-up-to", type=int, default=10**8, help="pairs compared as a matrix")
    add_arguments(parser)
    args = parser.parse_args()
    Record(args.json, args.device).add(measure(args))


if __name__ == "__main__":
    main()
