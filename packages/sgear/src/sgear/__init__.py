"""S-GEAR: semantically guided action anticipation (ECCV 2024)."""
