"""Workflows as people write them: a trigger, conditions, actions. Who runs them is `runs`."""
