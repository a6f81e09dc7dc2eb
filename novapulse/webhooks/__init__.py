"""Webhooks: subscriptions, and signed deliveries of events to them."""
