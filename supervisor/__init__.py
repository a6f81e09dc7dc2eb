"""Starts, watches, restarts and stops the processes of a program; standard library only."""
