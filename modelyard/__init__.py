"""The public Python client of Modelyard."""
