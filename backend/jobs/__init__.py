"""The one job engine."""
