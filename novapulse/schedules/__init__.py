"""Schedules: reports that are made every day, week or month, as their owner."""
