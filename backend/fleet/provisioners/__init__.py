"""Providers of machines behind one Protocol: create, list, describe by tag, terminate."""
