"""UAS-Swin: the universal action space of a Video Swin transformer."""
