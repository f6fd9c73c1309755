"""Semi-supervised finetuning of CMAM-UDA's two networks (Table VI).

The losses and the schedule are those of stage 3; the images are those of a share of the identities
of the target, with their true labels in place of pseudo labels.  The only stage that reads them.
"""

from argparse import Namespace
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from clustercontrast.data.batches import Batch
from clustercontrast.engine.stage import HANDED_OVER, Terms
from clustercontrast.files import UserError
from clustercontrast.methods.cmam.selftrain import Labels, SelfTrain


class Finetune(SelfTrain):
    """Stage 3 with the true labels of some identities: no clustering, proxies that are kept."""

    name = "finetune"

    def __init__(self, args: Namespace, data: object, run: object) -> None:
        super().__init__(args, data, run)
        if SelfTrain.name in (args.stages or ()) and args.start_from not in HANDED_OVER:
            args.start_from = "last"  # what was named is where stage 3 of the same command starts

    @property
    def starts_from(self) -> dict[str, str]:
        """The networks of stage 3."""
        return {name: f"selftrain.{name}" for name in self.names}

    def setup(self) -> None:
        super().setup()
        identities = tuple(images.identities for images in self.image_lists())
        self.true_labels = labelled(identities, self.args.labelled, self.args.seed)
        classes = max(y.max() for y in self.true_labels) + 1
        width = self.networks[self.names[0]].width
        self.kept = self.add("proxies", Rows([self._bank(v) for v in self.views], classes, width))

    def refresh(self, epoch: int) -> Iterator[Iterator[Batch]]:
        self.step = (epoch - self.epochs[0]) * self.iterations
        self.use_labels(self.true_labels)
        self.grade_labels(self.true_labels)
        if epoch == self.epochs[0]:
            self.kept.keep(self._first_proxies())
        self.banks = self.memories(self.kept.rows())
        yield self.batches(self.true_labels)
        self.kept.keep({name: bank.rows for name, bank in self.banks.items()})

    def iteration(self, batch: Batch, epoch: int) -> Iterator[tuple[str, Terms]]:
        """L = λ_BPP L_BPP + λ_BSP L_BSP + L_PID of every view (Eq. 20), with true labels."""
        yield from super().iteration(batch, epoch)

    @property
    def last_iterations(self) -> int:
        """As many batches as in every epoch: nothing is clustered."""
        return self.iterations

    def _first_proxies(self) -> dict[str, torch.Tensor]:
        """Proxies of the features before training; the labelled images alone are used."""
        rows = [torch.from_numpy(np.flatnonzero(y >= 0)) for y in self.true_labels]
        features = {
            view: self.features_of(view[0], self.arrays[view[1]], rows[view[1] == "infrared"])
            for view in self.views
        }
        return self.proxies(features, tuple(y[y >= 0] for y in self.true_labels))


class Rows(nn.Module):
    """Proxies (C, d) by bank, kept from one epoch to the next.

    Args:
        banks: their names.
        classes: C.
        width: d.
    """

    def __init__(self, banks: list[str], classes: int, width: int) -> None:
        super().__init__()
        for name in dict.fromkeys(banks):
            self.register_buffer(name, torch.zeros(classes, width))

    def keep(self, rows: dict[str, torch.Tensor]) -> None:
        """Store the rows of every bank."""
        for name, own in rows.items():
            getattr(self, name).copy_(own)

    def rows(self) -> dict[str, torch.Tensor]:
        """Copies of the stored rows."""
        return {name: own.clone() for name, own in self.named_buffers()}


def labelled(identities: Labels, share: float, seed: int) -> Labels:
    """Labels of the images of a share of the identities, -1 for all others.

    The identities of a smaller share are among those of a larger one; their number is rounded half
    up.

    Args:
        identities: (N_v,), (N_r,) true identities.
        share: of the identities, above 0.
        seed: of the order in which identities get labels.

    Raises:
        UserError: fewer than two identities, or they are not known.
    """
    people = np.unique(np.concatenate(identities))
    people = people[people >= 0]
    count = int(np.floor(share * len(people) + 0.5))
    if count < 2:
        raise UserError(
            f"--labelled {share} is {count} of {len(people)} known training identities: "
            "at least two are needed"
        )
    chosen = np.sort(np.random.default_rng(seed).permutation(people)[:count])
    return tuple(_numbered(y, chosen) for y in identities)


def _numbered(identities: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Place of every identity in ``chosen`` (ascending), -1 for others."""
    place = np.searchsorted(chosen, identities).clip(max=len(chosen) - 1)
    return np.where(chosen[place] == identities, place, -1).astype(np.int64)
