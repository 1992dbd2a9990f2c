"""Prototypes of the classes: what language says of them, and what the network saw of them."""

DEFAULT_MODEL = "all-mpnet-base-v2"
"""What the authors' script encodes with (768 features, unit norm)."""
