"""The control plane: identity, projects, data, jobs, fleet, endpoints and the bill."""
