"""Departments: who belongs together in a company, and who leads them."""
