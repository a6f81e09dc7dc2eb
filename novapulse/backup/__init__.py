"""Backups: one moment of the database with what opens it, in one file that can be verified."""
