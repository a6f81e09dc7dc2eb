"""Migrations of the database; each lives in a module of its own number."""
