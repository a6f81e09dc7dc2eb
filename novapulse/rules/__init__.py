"""What people write into their automation: paths, templates, conditions, times. Pure."""
