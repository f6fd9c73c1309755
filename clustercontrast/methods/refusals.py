"""Flags of clustering stages that do not go together: one line of refusal each."""

from argparse import Namespace

from clustercontrast.data.sampler import check_batch_size
from clustercontrast.files import UserError


def check_batches(a: Namespace) -> None:
    """Refuse batches that do not divide by K or by the BatchNorm groups."""
    for flag, size, images in (
        ("--batch-size", a.batch_size, a.batch_size),
        ("--batch-visible", a.batch_visible, 2 * a.batch_visible),
    ):
        check_batch_size(size, a.num_instances, flag)
        if images % a.bn_groups:
            raise UserError(f"{flag} {size} does not divide by --bn-groups {a.bn_groups}")


def check_neighbours(a: Namespace) -> None:
    """Refuse a query expansion over more neighbours than there are."""
    is_expanded = "joint_k1" in a and vars(a).get("joint_distance") != "camera"
    joint = [("--joint-k2", a.joint_k2, "--joint-k1", a.joint_k1)] if is_expanded else []
    for flag, k2, other, k1 in (
        ("--k2", a.k2, "--k1", a.k1),
        ("--k2", a.k2, "--k1-visible", a.k1_visible),
        *joint,
    ):
        if k2 > k1:
            raise UserError(f"{flag} {k2} is larger than {other} {k1}: the expansion is part of it")


def check_share(a: Namespace, images: int) -> None:
    """Refuse parts of so many visible images that are too small for a cluster."""
    share = int(images * a.visible_share)
    if share < a.min_samples:
        raise UserError(
            f"--visible-share {a.visible_share} of {images} visible images are {share}, and a "
            f"cluster has {a.min_samples} (--min-samples): raise --visible-share"
        )
