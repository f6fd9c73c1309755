"""The six cameras of SYSU-MM01's layout: where they hang, what they do to light, one photograph.

Cameras 1 and 2 (rooms), 4 and 5 (outdoors) see colours; camera 3 (the room of camera 2 in the dark)
and camera 6 (a passage at night) see reflectances under their own infrared lamp.
"""

import numpy as np
from PIL import Image

from clustercontrast.rendering import exposure
from clustercontrast.rendering.bands import Band
from clustercontrast.rendering.exposure import Camera, Light, Sensor, View
from clustercontrast.rendering.people import Identity

FRAMES_PER_WALK = 8  # frames of one folder that show the same walk through the view
CAMERAS = {
    1: Camera(
        View("room", 1, heading=0.0, elevation=0.10),
        Light((0.85, 1.05), (1.06, 1.0, 0.84), 0.95, falloff=0.1, source=(0.6, 0.8, 0.2)),
        Sensor(Band.VISIBLE, blur=0.25, noise=4, quality=88),
    ),
    2: Camera(
        View("room", 2, heading=2.6, elevation=0.24),
        Light((0.65, 0.85), (0.9, 1.0, 1.08), 0.85, falloff=0.2, source=(-0.7, 0.7, 0.2)),
        Sensor(Band.VISIBLE, blur=0.45, noise=6, quality=82),
    ),
    3: Camera(
        View("room", 2, heading=0.7, elevation=0.20),
        Light((0.7, 0.95), (1.0, 0.99, 1.0), 1.0, falloff=0.5, source=(0.0, 0.2, 1.0)),
        Sensor(Band.NEAR_INFRARED, blur=0.45, noise=8, quality=82),
    ),
    4: Camera(
        View("gate", 4, heading=-0.9, elevation=0.16),
        Light((0.9, 1.2), (1.0, 1.0, 1.0), 1.1, falloff=0.0, source=(0.9, 0.5, 0.1)),
        Sensor(Band.VISIBLE, blur=0.3, noise=4, quality=86),
    ),
    5: Camera(
        View("garden", 5, heading=1.6, elevation=0.06),
        Light((0.7, 1.1), (0.92, 1.04, 0.9), 1.0, falloff=0.05, source=(-0.3, 1.0, 0.2)),
        Sensor(Band.VISIBLE, blur=0.4, noise=5, quality=84),
    ),
    6: Camera(
        View("passage", 6, heading=-2.2, elevation=0.14),
        Light((0.75, 1.05), (1.0, 0.99, 1.01), 1.15, falloff=0.75, source=(0.1, 0.2, 1.2)),
        Sensor(Band.NEAR_INFRARED, blur=0.6, noise=10, quality=78),
    ),
}
VISIBLE = tuple(n for n, camera in CAMERAS.items() if camera.sensor.band is Band.VISIBLE)
INFRARED = tuple(n for n in CAMERAS if n not in VISIBLE)


def photograph(
    person: Identity, number: int, frame: int, seed: int, size: tuple[int, int]
) -> Image.Image:
    """Frame ``frame`` of a person in camera ``number``; a pure function of its arguments.

    Args:
        person: who is seen.
        number: camera, 1 to 6.
        frame: counted from 1; eight frames in a row show one walk.
        seed: seed of the rendered world.
        size: nominal (height, width) of a crop; crops vary around it.

    Returns:
        RGB image; infrared cameras give three nearly equal channels.
    """
    camera = CAMERAS[number]
    walk = exposure.generator(seed, person.number, number, 1, (frame - 1) // FRAMES_PER_WALK)
    moment = exposure.generator(seed, person.number, number, 2, frame)
    light, course = exposure.walk_light(camera, walk), _course(camera, walk)
    stature = walk.uniform(0.75, 1.3) * moment.uniform(0.93, 1.07)
    high = round(size[0] * stature)
    wide = round(size[1] * stature * moment.uniform(0.88, 1.12))
    pose = exposure.walking_pose(camera, course, moment, (high, wide))
    crop = exposure.backdrop(camera, seed, walk, moment, (high, wide))
    image = exposure.compose(person, pose, camera, moment, crop)
    return exposure.expose(image, camera, light, moment)


def _course(camera: Camera, walk: np.random.Generator) -> float:
    """Yaw of one walk: mostly along the camera's favourite direction, sometimes any."""
    along = camera.view.heading + walk.normal(0, 0.6)
    return along if walk.uniform() < 0.6 else walk.uniform(-np.pi, np.pi)
