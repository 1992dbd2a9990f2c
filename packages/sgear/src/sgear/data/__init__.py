"""Data: annotations, clips before an action, and the frames or features that are seen.

Letters: B batch, T frames of a clip, F frames of a window, C channels, N classes.
"""
