"""The audit log: every event is a line of it, chained, listed, verified and exported."""
