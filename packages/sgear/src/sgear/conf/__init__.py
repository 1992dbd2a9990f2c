"""The configuration tree of S-GEAR as its authors laid it out, read by Hydra."""
