"""Pages of the documentation that are made from code when the site is built, so that they cannot be out of date.

Each module has `pages() -> dict[str, str]`: path below `docs/` → Markdown. `hook.py` is what MkDocs calls.
"""
