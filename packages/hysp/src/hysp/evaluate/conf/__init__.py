"""Recipes of the evaluation."""
