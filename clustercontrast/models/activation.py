"""Where in an image its feature comes from: Grad-CAM for features that are compared by cosine.

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-Based
Localization", ICCV 2017.  In place of the score of a class stands the cosine with another image's
feature.
"""

import torch
import torch.nn.functional as F
from torch import nn


def activation_maps(
    network: nn.Module, images: torch.Tensor, modality: str, towards: torch.Tensor
) -> torch.Tensor:
    """Places of images that make their features more like given ones.

    With A_k the last maps before pooling and s the cosine of the image's feature with the given
    one: ReLU(sum_k w_k A_k), w_k the mean over the positions of ds/dA_k (Eq. 1 and 2), divided by
    its largest value.  Of a vision transformer A are the patch tokens that its last blocks read.
    An image's map does not depend on the others of the batch; no gradient reaches a parameter.

    Args:
        network: in eval mode; has ``mapped``, as the networks of retrieval do.
        images: (B, 3, H, W) normalised, on the network's device.
        modality: "visible" or "infrared".
        towards: (B, d) features, of any length, one for each image.

    Returns:
        (B, h, w) float32 on the CPU in [0, 1]; zeros where no place raises the cosine.

    Raises:
        ValueError: the network is in training mode, or there are not as many features as images.
    """
    if network.training:
        raise ValueError("the network is in training mode: call eval() first")
    if len(towards) != len(images):
        raise ValueError(f"{len(images)} images need as many features, found {len(towards)}")
    with torch.no_grad():
        maps, feature_of = network.mapped(images, modality)
    with torch.enable_grad():
        maps = maps.detach().requires_grad_()
        cosines = F.cosine_similarity(feature_of(maps), towards.to(maps))
        (slopes,) = torch.autograd.grad(cosines.sum(), maps)
    weights = slopes.mean((2, 3), keepdim=True)
    raising = (weights * maps.detach()).sum(1).relu().float()
    largest = raising.amax((1, 2), keepdim=True)
    return (raising / largest.clamp_min(torch.finfo(torch.float32).tiny)).cpu()
