"""Maximum mean discrepancy between the features of two sets (MMM, final stage)."""

import torch

KERNELS = 5


def mmd(source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Squared discrepancy under five Gaussian kernels.

    Bandwidths are h / 4 · 2^i, h the mean squared distance over all pairs, a constant.

    Args:
        source: (m, d).
        target: (m, d), as many.

    Returns:
        Scalar mean of K_SS + K_TT - K_ST - K_TS.
    """
    both, m = torch.cat([source, target]), len(source)
    distances = (both[:, None] - both[None]).square().sum(dim=2)
    pairs = 4 * m * m - 2 * m
    bandwidth = (distances.detach().sum() / pairs / 2 ** (KERNELS // 2)).clamp_min(1e-30)
    kernel = sum(torch.exp(-distances / (bandwidth * 2**i)) for i in range(KERNELS))
    inner = kernel[:m, :m] + kernel[m:, m:]
    return (inner - kernel[:m, m:] - kernel[m:, :m]).mean()


def alignment(visible: torch.Tensor, infrared: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Pull both modalities of every class together, each towards the other held fixed.

    Args:
        visible: (B, d) features of one view.
        infrared: (B, d).
        labels: (B,) classes, the same position by position.

    Returns:
        Scalar, mean over the classes of M(visible, sg infrared) + M(infrared, sg visible).
    """
    classes = labels.unique()
    terms = []
    for c in classes:
        v, r = visible[labels == c], infrared[labels == c]
        terms += [mmd(v, r.detach()), mmd(r, v.detach())]
    return sum(terms) / len(classes)
