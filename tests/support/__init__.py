"""Helpers for tests in more than one room."""
