"""The dispatcher: which deliveries are sent when, and what becomes of them."""
