"""A month of tenants' traffic, healthy and running away, and what the shipped alerts make of it."""
