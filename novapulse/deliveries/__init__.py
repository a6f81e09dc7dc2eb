"""Deliveries of events to webhooks: what is planned, attempted, held, replayed and recovered."""
