"""Exports: a company's rows, streamed as CSV or one JSON object a line."""
