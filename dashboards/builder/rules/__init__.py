"""The recording rules and alerts, and how they are written out."""
