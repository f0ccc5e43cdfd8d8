"""Pages of the reference made from code. Each is a module: `python -m docs.generators.NAME` writes its page."""
