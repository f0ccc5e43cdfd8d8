"""Runs on an instance: syncs assignments, sandboxes, heartbeats, uploads."""
