"""Projects: what a company's tasks are gathered in."""
