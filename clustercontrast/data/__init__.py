"""From a dataset folder to labelled batches on the device.

``sysu`` reads a folder into image lists, ``verify`` counts them, ``images`` resizes every image
once into arrays, ``sampler`` draws rows, ``augment`` transforms them, ``batches`` joins it all.
"""
