"""What a test is: test images, searches, rules, as the flags of training or testing ask for."""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from clustercontrast.data.images import ImageArray, Prepared
from clustercontrast.data.provenance import Provenance
from clustercontrast.data.samples import number_of_people
from clustercontrast.evaluation.protocols import Rules, Search, protocol_of
from clustercontrast.evaluation.reranking import Parameters
from clustercontrast.files import UserError
from clustercontrast.methods import METHODS


@dataclass(frozen=True)
class Evaluation:
    """The test identities of a dataset, or of one of its trials, and how they are searched.

    Attributes:
        dataset: a key of ``PROTOCOLS``.
        trial: of RegDB; None elsewhere.
        provenance: of the dataset's images.
        images: test images by modality.
        searches: searches by mode.
        rules: how a custom dataset is searched; None elsewhere.
        device: where features are extracted.
        batch_size: images per forward.
        allow_leak: accept models of another trial.
        reranking: how every search is re-ranked, besides the plain one; None for not at all.
    """

    dataset: str
    trial: int | None
    provenance: Provenance
    images: Mapping[str, ImageArray]
    searches: Mapping[str, Sequence[Search]]
    rules: Mapping[str, Any] | None
    device: torch.device
    batch_size: int
    allow_leak: bool
    reranking: Parameters | None = None

    @classmethod
    def of(
        cls,
        prepared: Prepared,
        parts: Mapping[str, ImageArray],
        args: Namespace,
        device: torch.device,
    ) -> "Evaluation":
        """The evaluation that the flags of training or testing ask for, in every mode.

        With ``swapped`` the protocol's variants are searched, too.

        Args:
            prepared: the dataset's images.
            parts: of the dataset or of one trial of it, as the network is shown them.
            args: ``trial_number``, ``test_batch`` and, where they apply, ``draws``, ``swapped``,
                ``allow_leak``, the rules of a custom dataset, ``rerank`` with ``rerank_k1``,
                ``rerank_k2``, ``rerank_weight``.
            device: where features are extracted.

        Raises:
            UserError: there is nobody to search for.
        """
        dataset, rules = prepared.dataset, rules_of(args)
        protocol = protocol_of(dataset, rules)
        images = searched_images(parts)
        if not has_people(images):
            raise UserError(
                f"the images in {prepared.folder} have no test identity, there is nobody to search "
                "for: add test images of known identity to the dataset and prepare it again, or "
                "give others"
            )
        lists = images["visible"].index, images["infrared"].index
        draws = min(getattr(args, "draws", None) or protocol.draws, protocol.draws)
        modes = protocol.headings if getattr(args, "swapped", False) else protocol.modes
        return cls(
            dataset,
            args.trial_number,
            prepared.provenance,
            images,
            protocol.searches(*lists, list(modes), draws),
            rules,
            device,
            args.test_batch,
            getattr(args, "allow_leak", False),
            reranking_of(args),
        )


def reranking_of(args: Namespace) -> Parameters | None:
    """What the flags of a test ask for; training has none of them."""
    if not getattr(args, "rerank", False):
        return None
    return Parameters(args.rerank_k1, args.rerank_k2, args.rerank_weight)


def shown_parts(
    prepared: Prepared, trial: int | None, about: Mapping[str, Any]
) -> dict[str, ImageArray]:
    """A dataset's parts as a run's network is shown them.

    Args:
        prepared: the dataset's images.
        trial: which of its trials; None where there are none.
        about: what the run or the model says of itself.
    """
    parts = prepared.parts(trial)
    stages = METHODS.get(about.get("method"))
    return stages[-1].tested_parts(parts, about) if stages else parts


def searched_images(parts: Mapping[str, ImageArray]) -> dict[str, ImageArray]:
    """Test images of a dataset's parts, by modality."""
    return {"visible": parts["test_visible"], "infrared": parts["test_infrared"]}


def rules_of(args: Any) -> dict[str, Any] | None:
    """The rules of the search among the values of flags, as JSON keeps them; None on most datasets.

    Args:
        args: of training, of one of its stages, or of a test.
    """
    if not hasattr(args, "queries"):
        return None
    return asdict(Rules(args.queries, args.gallery_shots, args.skip_own_camera))


def has_people(images: Mapping[str, ImageArray]) -> bool:
    """Whether any test image shows a known identity, so that there is something to test."""
    return number_of_people(*(array.index for array in images.values())) > 0
