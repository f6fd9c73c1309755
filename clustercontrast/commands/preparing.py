"""The command that prepares a dataset: verify its images, write them resized."""

from argparse import Namespace
from pathlib import Path

from clustercontrast.data.places import cache_folder, reading
from clustercontrast.data.preparation import Preparation
from clustercontrast.data.samples import Listing
from clustercontrast.data.verify import images_per_camera
from clustercontrast.files import say


def prepare(dataset: str, args: Namespace) -> None:
    """Verify a dataset and write its prepared images, unless they are there.

    Raises:
        UserError: images are missing or damaged, or there is no space for the prepared ones.
    """
    size, place = (args.height, args.width), Path(args.data_dir)
    intensities = args.intensity_range and tuple(args.intensity_range)
    read = reading(dataset, args)
    wanted = Preparation(dataset, place, cache_folder(args), size, read, intensities)
    checked = wanted.verify(args.allow_incomplete, args.allow_leak)
    say(f"{place}: {_state(checked, wanted.facts['rendered'], args.allow_incomplete)}")
    _say_counts(wanted.listing)
    if not args.overwrite and wanted.listed():
        say(f"{wanted.folder} is prepared already")
        return
    wanted.write(args.workers, checked, wanted.listed, args.overwrite)
    say(f"wrote {wanted.folder}")


def _state(checked: dict[str, bool], rendered: bool, lenient: bool) -> str:
    """What has been found out about a dataset; nothing is verified where all is accepted."""
    if not checked["complete"]:
        people = "rendered identities, " if rendered else ""
        return f"{people}incomplete: not to be compared with published results"
    if rendered:
        return "rendered identities"
    return "complete" if lenient else "verified"


def _say_counts(listing: Listing) -> None:
    """Images of every part; all trials have the same numbers."""
    parts = listing.parts(1 if listing.trials else None)
    if listing.trials:
        say(f"  {len(listing.trials)} trials, each of")
    for name, cameras in images_per_camera(parts).items():
        shown = ", ".join(
            f"{'no camera' if camera < 0 else f'camera {camera}'}: {n:,}"
            for camera, n in cameras.items()
        )
        say(f"  {name:15} {len(parts[name]):6,} images" + (f"  ({shown})" if shown else ""))
