"""The bands of light a camera may see."""

import enum


class Band(enum.Enum):
    """Which light makes the picture."""

    VISIBLE = "visible"
    NEAR_INFRARED = "near infrared"  # a lamp's light, sent back by the surfaces
    THERMAL = "thermal"  # far infrared, given off by what is warm
