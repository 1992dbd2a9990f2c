"""Videos and their labels: lists, frames, pixels.

    lists, classes, regions   which videos, which labels, which part of the picture
    checking, prepare         are the videos there and whole; lists of the published data sets
    sampling, draws           which frames make a clip
    readers                   frames by PyAV, decord or OpenCV
    pixels, transforms        frames to the network's input
    dataset, seeding          all of it as a data set of mmengine

Importing :mod:`uas_swin.data.dataset` registers the data set and every step with mmengine.
"""
