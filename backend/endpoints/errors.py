"""Facts of endpoints."""

from backend.core.errors import Conflict, Invalid, NotFound, TooLarge, Unauthorized


class EndpointNotFound(NotFound):
    """No such endpoint in this organization."""

    code = "endpoint_not_found"
    title = "Endpoint not found"


class EndpointNameTaken(Conflict):
    """Another endpoint of the organization has this name."""

    code = "endpoint_name_taken"
    title = "Name taken"


class EndpointBeingDeleted(Conflict):
    """A deletion was asked for: nothing else can be changed."""

    code = "endpoint_being_deleted"
    title = "Endpoint is being deleted"


class VariantsInvalid(Invalid):
    """The production variants cannot stand behind one endpoint."""

    code = "variants_invalid"
    title = "Variants are not valid"


class VariantUnknown(Invalid):
    """The endpoint has no variant of this name."""

    code = "variant_unknown"
    title = "Unknown variant"


class SignatureMismatch(Invalid):
    """The variants do not take the same input."""

    code = "signature_mismatch"
    title = "Variants differ in their inputs"


class ModelVersionRejected(Invalid):
    """The model version was rejected: it may not serve."""

    code = "model_version_rejected"
    title = "Model version rejected"


class GatewayTokenUnknown(Unauthorized):
    """No gateway has this token."""

    code = "gateway_token_unknown"
    title = "Unknown gateway token"


class SegmentMalformed(Invalid):
    """The usage segment cannot be read, or does not belong to this assignment."""

    code = "usage_segment_malformed"
    title = "Malformed usage segment"


class SegmentTooLarge(TooLarge):
    """A usage segment has at most 2 MiB."""

    code = "usage_segment_too_large"


class SegmentChanged(Conflict):
    """A segment of this id was accepted with other content."""

    code = "usage_segment_changed"
    title = "Usage segment changed"


class TrafficPeriodInvalid(Invalid):
    """The period runs backwards or is too long."""

    code = "traffic_period_invalid"
    title = "Period is not valid"
