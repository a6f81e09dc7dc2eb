"""Webhooks as subscriptions: who gets which events where; nothing is sent from here."""
