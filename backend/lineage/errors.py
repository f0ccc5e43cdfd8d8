"""Facts about lineage."""

from backend.core.errors import NotFound


class LineageNotFound(NotFound):
    """Nothing of this kind and id in this organization."""

    code = "lineage_not_found"
    title = "Nothing of this kind and id"
    remedy = "take the id from a list of that kind; an invoice line's is in another thing's lineage"
