"""Dashboards, and the builder that writes them."""
