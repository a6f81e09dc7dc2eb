"""The job engine: Huey at the surface, a ledger in MongoDB underneath."""
