"""Triple-modal adversarial learning: the losses of the modality classifier.

See docs/methods/pca.md#modality-classifier-and-order-of-the-steps.

Logits come in the order of a batch: plain visible views V, exchanged views G, infrared images I.
"""

import torch
import torch.nn.functional as F

VISIBLE, INFRARED, EXCHANGED = range(3)
"""Classes of the modality classifier, numbered as upstream does."""


def modality_loss(logits: torch.Tensor, infrared: int) -> torch.Tensor:
    """L_mod = CE(V, visible) + CE(G, exchanged) + CE(I, infrared), each a mean over its images.

    Args:
        logits: (2 B_v + B_r, 3), rows [V; G; I], of features without a graph.
        infrared: B_r, images of the last part.
    """
    return _cross_entropies(logits, infrared, (VISIBLE, EXCHANGED, INFRARED))


def adversarial_loss(logits: torch.Tensor, infrared: int) -> torch.Tensor:
    """L_adv: all three parts as if they were exchanged views; arguments as in ``modality_loss``."""
    return _cross_entropies(logits, infrared, (EXCHANGED, EXCHANGED, EXCHANGED))


def modality_accuracy(logits: torch.Tensor, infrared: int) -> torch.Tensor:
    """Share of images whose modality is recognised; 1/3 is the aim of the encoder."""
    classes = (VISIBLE, EXCHANGED, INFRARED)
    parts = zip(_parts(logits, infrared), classes, strict=True)
    return torch.cat([part.argmax(dim=1) == c for part, c in parts]).float().mean()


def _cross_entropies(logits: torch.Tensor, infrared: int, classes: tuple[int, ...]) -> torch.Tensor:
    terms = []
    for part, c in zip(_parts(logits, infrared), classes, strict=True):
        target = torch.full((len(part),), c, dtype=torch.int64, device=part.device)
        terms.append(F.cross_entropy(part, target))
    return torch.stack(terms).sum()


def _parts(logits: torch.Tensor, infrared: int) -> tuple[torch.Tensor, ...]:
    views = (len(logits) - infrared) // 2
    return logits.split([views, views, infrared])
