"""Runs of workflows: every step recorded, resumed wherever it was cut off."""
