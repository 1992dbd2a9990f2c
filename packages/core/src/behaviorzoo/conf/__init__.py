"""Configuration groups that every method shares; found by ``behaviorzoo.config.compose``."""
