"""The command that prepares a dataset: verify its images, write them resized."""

from argparse import Namespace
from pathlib import Path

from clustercontrast.data.places import cache_folder
from clustercontrast.data.preparation import Preparation
from clustercontrast.data.samples import Listing
from clustercontrast.data.verify import images_per_camera
from clustercontrast.files import say


def prepare(dataset: str, args: Namespace) -> None:
    """Verify a dataset and write its prepared images, unless they are there.

    Raises:
        UserError: images are missing or damaged, or there is no space for the prepared ones.
    """
    size = args.height, args.width
    wanted = Preparation(dataset, Path(args.data_dir), cache_folder(args), size)
    wanted.verify(args.allow_incomplete)
    say(f"{wanted.root}: {'rendered identities' if wanted.facts['rendered'] else 'verified'}")
    _say_counts(wanted.listing)
    if not args.overwrite and wanted.listed():
        say(f"{wanted.folder} is prepared already")
        return
    # Another process may have written it, by now.
    wanted.write(args.workers, lambda: args.overwrite or wanted.listed() is None)
    say(f"wrote {wanted.folder}")


def _say_counts(listing: Listing) -> None:
    """Images of every part; all trials have the same numbers."""
    parts = listing.parts(1 if listing.trials else None)
    if listing.trials:
        say(f"  {len(listing.trials)} trials, each of")
    for name, cameras in images_per_camera(parts).items():
        shown = ", ".join(f"camera {camera}: {n:,}" for camera, n in cameras.items())
        say(f"  {name:15} {len(parts[name]):6,} images  ({shown})")
