"""Exported graphs compared with the networks that they were made from, on rendered people."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from clustercontrast.data.images import ImageArray
from clustercontrast.data.samples import MODALITIES, ImageList
from clustercontrast.evaluation.features import extract
from clustercontrast.files import UserError
from clustercontrast.models.onnx_graph import INPUT
from clustercontrast.rendering.cameras import INFRARED, VISIBLE, photograph
from clustercontrast.rendering.people import sample_identity

DIFFERENCE = 1e-4
"""Most that any number of a feature may differ by."""
TIE = 1e-5
"""Gallery images whose similarities to a query differ by no more may change places."""
PEOPLE, IMAGES = 8, 4
"""Rendered identities, and images of each per modality."""
BATCHES = (1, 2)
"""Lengths of the first batches that a graph is given; the rest follows in one."""
CAMERAS = {"visible": VISIBLE, "infrared": INFRARED}


def rendered_people(height: int, width: int) -> dict[str, ImageArray]:
    """32 images per modality of people whom this project draws, at the size of a network."""
    return {modality: _rendered(modality, height, width) for modality in MODALITIES}


def _rendered(modality: str, height: int, width: int) -> ImageArray:
    cameras = CAMERAS[modality]
    shots = [(person, shot) for person in range(1, PEOPLE + 1) for shot in range(IMAGES)]
    pixels = np.empty((len(shots), height, width, 3), np.uint8)
    for row, (person, shot) in enumerate(shots):
        camera, frame = cameras[shot % len(cameras)], 1 + shot // len(cameras)
        image = photograph(sample_identity(0, person), camera, frame, 0, (height, width))
        pixels[row] = image.resize((width, height), Image.Resampling.LANCZOS)
    people = np.array([person for person, _ in shots])
    paths = tuple(f"{person}/{shot}" for person, shot in shots)
    return ImageArray(ImageList(modality, paths, people, np.full(len(shots), -1)), pixels)


def expected_features(
    network: nn.Module, people: Mapping[str, ImageArray]
) -> dict[str, torch.Tensor]:
    """What the package itself computes: (N, d) unit rows by modality.

    Raises:
        UserError: the network takes no images of this size, or its features are not finite.
    """
    try:
        with torch.no_grad():
            return {name: extract(network, own, unit=True) for name, own in people.items()}
    except ValueError as error:
        raise UserError(f"{error} (--height, --width)") from error


def compare(
    graphs: Mapping[str, Path],
    people: Mapping[str, ImageArray],
    expected: Mapping[str, torch.Tensor],
) -> float:
    """Run graphs in onnxruntime and compare their features with torch's.

    Args:
        graphs: file by modality.
        people: images by modality.
        expected: features of them, (N, d) unit rows.

    Returns:
        The largest difference of a number.

    Raises:
        UserError: it is more than ``DIFFERENCE``, or a query ranks the images of the other modality
            in another order, ``TIE`` excepted.
    """
    found = {name: _features(path, people[name].pixels) for name, path in graphs.items()}
    wanted = {name: own.numpy() for name, own in expected.items()}
    worst = max(_difference(found[name], wanted[name]) for name in found)
    if not worst <= DIFFERENCE:
        raise UserError(
            f"the features of the exported graph differ from torch's by {worst:.1e}, allowed are "
            f"{DIFFERENCE:.0e}: nothing was written; try another version of torch or onnxruntime"
        )
    for query, gallery in (MODALITIES, MODALITIES[::-1]):
        ours = wanted[query] @ wanted[gallery].T
        changed = changed_rankings(found[query] @ found[gallery].T, ours)
        if changed:
            raise UserError(
                f"the exported graphs rank {gallery} images in another order than torch for "
                f"{changed} of {len(ours)} {query} queries: nothing was written; try another "
                "version of torch or onnxruntime"
            )
    return worst


def changed_rankings(found: np.ndarray, expected: np.ndarray) -> int:
    """How many queries rank the gallery in another order.

    Args:
        found: (Q, G) similarities that give the order to be judged.
        expected: (Q, G) similarities that it should follow; a step up of at most ``TIE`` is none.
    """
    order = np.argsort(-found, axis=1, kind="stable")
    followed = np.take_along_axis(expected, order, axis=1)
    ahead = np.maximum.accumulate(followed[:, ::-1], axis=1)[:, ::-1]  # best from here to the end
    return int((ahead - followed > TIE).any(axis=1).sum())


def _difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference of a number; infinite between features of other shapes."""
    return float(np.abs(found - expected).max()) if found.shape == expected.shape else np.inf


def _features(graph: Path, pixels: np.ndarray) -> np.ndarray:
    """(N, d) features by onnxruntime, from batches of several lengths.

    Raises:
        UserError: it cannot run the graph.
    """
    import onnxruntime  # optional: pip install 'clustercontrast[onnx]'

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # none: what fails is said once, below
    parts = np.split(pixels, np.cumsum(BATCHES))
    try:
        session = onnxruntime.InferenceSession(str(graph), options, ["CPUExecutionProvider"])
        return np.concatenate([session.run(None, {INPUT: part})[0] for part in parts])
    except Exception as error:  # one class per kind of failure, all of them private
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"onnxruntime {onnxruntime.__version__} cannot run {graph.name} ({reason}): nothing "
            "was written; try another version of torch or onnxruntime"
        ) from error
