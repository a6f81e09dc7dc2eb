"""Alerts: rules declared once, for Prometheus and for the program itself."""
