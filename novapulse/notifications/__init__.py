"""Notifications: what a person should know of, made from events."""
