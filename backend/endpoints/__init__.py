"""Endpoints, configs, variants, replicas, routing, usage of the data plane."""
