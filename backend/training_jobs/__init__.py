"""The job kind that trains models."""
