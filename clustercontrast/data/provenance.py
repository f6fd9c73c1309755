"""Where the images of a run or of a result come from: what a reader must know of every figure.

The record is made when images are prepared and travels with them: into checkpoints, runs, and every
form of every report.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

TITLES = {
    "sysu": "SYSU-MM01",
    "regdb": "RegDB",
    "sysu02": "SYSU-MM02",
    "llcm": "LLCM",
    "custom": "custom dataset",
}
"""Datasets that methods are trained and tested on, as the literature writes them."""

MARKS = ("complete", "rendered", "leak")
"""What is known of all images of a dataset, and stands below every figure on them."""

RECORD = {"dataset": str, "digest": str} | dict.fromkeys(MARKS, bool)
"""What has to be in a record that is read from a file (:func:`clustercontrast.files.fault`)."""


@dataclass(frozen=True)
class Provenance:
    """The images of a dataset, as they were prepared.

    Attributes:
        dataset: its name, such as "sysu".
        digest: of paths, identities, cameras and pixels; the same images have the same one wherever
            they lie.
        complete: their numbers are those that the dataset's authors give.
        rendered: they were drawn by this repository, they are not the real dataset.
        leak: identities or images of the test are among those of the training, and this was
            accepted with ``--allow-leak``.
    """

    dataset: str
    digest: str
    complete: bool
    rendered: bool
    leak: bool

    @classmethod
    def of(cls, about: Mapping[str, Any]) -> "Provenance":
        """The record in what a run, a model or a report says of itself.

        Raises:
            KeyError: it has none, as what earlier versions wrote.
        """
        return cls(**{field.name: about["images"][field.name] for field in fields(cls)})

    def marked(
        self, complete: bool = True, rendered: bool = False, leak: bool = False
    ) -> "Provenance":
        """The same images, with the marks of others that a figure depends on as well."""
        return replace(
            self,
            complete=self.complete and complete,
            rendered=self.rendered or rendered,
            leak=self.leak or leak,
        )

    def json(self) -> dict[str, Any]:
        """The record as JSON keeps it."""
        return asdict(self)

    @property
    def title(self) -> str:
        """The dataset as a heading names it."""
        title = TITLES.get(self.dataset, self.dataset)
        return f"rendered {title} layout" if self.rendered else title

    @property
    def is_official(self) -> bool:
        """Whether figures on these images may stand beside published ones."""
        return self.complete and not self.rendered and not self.leak

    def notes(self) -> list[str]:
        """What must be read with every figure on these images; nothing where they are official."""
        title = TITLES.get(self.dataset, self.dataset)
        result = f"an {title} result" if title == "LLCM" else f"a {title} result"
        found = []
        if self.rendered:
            found.append(f"rendered identities: not {result}")
        if not self.complete:
            found.append(
                f"incomplete images (--allow-incomplete): not {result}, not to be compared with "
                "published figures"
            )
        if self.leak:
            found.append(
                "test identities or images were trained on (--allow-leak): no figure is to be "
                "trusted"
            )
        return found
