"""Logs and metrics; traces join them when they are built."""
