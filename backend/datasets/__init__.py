"""Datasets, uploads in parts, immutable versions, manifests."""
