"""Mail: one job kind, and where messages go."""
