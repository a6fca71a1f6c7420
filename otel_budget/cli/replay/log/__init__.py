"""Reads logs of model calls in any usual form."""
