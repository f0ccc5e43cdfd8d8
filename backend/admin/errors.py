"""Facts that stop an operator."""

from backend.core.errors import Invalid, NotFound


class OrganizationNotFound(NotFound):
    """There is no such organization."""

    code = "organization_not_found"
    title = "Organization not found"
    remedy = "GET /api/v1/admin/organizations lists them"


class SkuUnknown(Invalid):
    """Nothing is ever counted under this SKU."""

    code = "sku_unknown"
    title = "Unknown SKU"
    remedy = "write inference:call, or instance:<type>:<market> with on-demand or spot"
