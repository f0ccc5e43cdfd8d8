"""The schema's history (Alembic). Run by `modelyard migrate`, once, under an advisory lock."""
