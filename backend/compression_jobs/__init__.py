"""The job kind that compresses models."""
