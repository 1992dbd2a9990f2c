"""Prototypes of the classes: what language says of them, and what the network saw of them."""
