"""A team's workspace inside an organization; owns datasets, jobs, models and endpoints.

A project is created with a name that is unique in its organization and never changes (jobs, models and bills
carry it), gets a description and tags, and can be deleted while nothing is in it and nothing was billed to it.
"""
