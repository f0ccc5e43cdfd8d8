"""Facts of endpoints."""

from backend.core.errors import Conflict, Invalid, NotFound, TooLarge, Unauthorized


class EndpointNotFound(NotFound):
    """No such endpoint in this organization."""

    code = "endpoint_not_found"
    title = "Endpoint not found"
    remedy = "GET /api/v1/endpoints lists your endpoints"


class EndpointNameTaken(Conflict):
    """Another endpoint of the organization has this name."""

    code = "endpoint_name_taken"
    title = "Name taken"
    remedy = "choose another name, or delete the endpoint that has it"


class EndpointBeingDeleted(Conflict):
    """A deletion was asked for: nothing else can be changed."""

    code = "endpoint_being_deleted"
    title = "Endpoint is being deleted"
    remedy = "create an endpoint anew once this one is deleted"


class EndpointChanged(Conflict):
    """Somebody else asked for another config meanwhile."""

    code = "endpoint_changed"
    title = "Endpoint has changed"
    remedy = "read the endpoint again, and repeat the change with the If-Match of what you read"


class VariantsInvalid(Invalid):
    """The production variants cannot stand behind one endpoint."""

    code = "variants_invalid"
    title = "Variants are not valid"
    remedy = "give each variant a name of its own, and one at least a weight above 0"


class VariantUnknown(Invalid):
    """The endpoint has no variant of this name."""

    code = "variant_unknown"
    title = "Unknown variant"
    remedy = "GET /api/v1/endpoints/{endpoint_id} names its variants"


class SignatureMismatch(Invalid):
    """The variants do not take the same input."""

    code = "signature_mismatch"
    title = "Variants differ in their inputs"
    remedy = "put model versions with the same inputs behind one endpoint"


class ModelVersionRejected(Invalid):
    """The model version was rejected: it may not serve."""

    code = "model_version_rejected"
    title = "Model version rejected"
    remedy = "approve it first, or choose another version"


class ModelVersionNotApproved(Invalid):
    """The endpoint is protected, and nobody has approved the model version."""

    code = "model_version_not_approved"
    title = "Model version not approved"
    remedy = "approve the model version, or choose an approved one"


class GatewayTokenUnknown(Unauthorized):
    """No gateway has this token."""

    code = "gateway_token_unknown"
    title = "Unknown gateway token"
    remedy = "give the gateway the token that `modelyard up` made for it"


class SegmentMalformed(Invalid):
    """The usage segment cannot be read, or does not belong to this assignment."""

    code = "usage_segment_malformed"
    title = "Malformed usage segment"
    remedy = "the segment is kept by the agent: tell whoever runs the platform"


class SegmentTooLarge(TooLarge):
    """A usage segment has at most 2 MiB."""

    code = "usage_segment_too_large"
    title = "Usage segment too large"
    remedy = "seal usage segments sooner"


class SegmentChanged(Conflict):
    """A segment of this id was accepted with other content."""

    code = "usage_segment_changed"
    title = "Usage segment changed"
    remedy = "deliver a segment's first content only, new usage under a new id"


class TrafficPeriodInvalid(Invalid):
    """The period runs backwards or is too long."""

    code = "traffic_period_invalid"
    title = "Period is not valid"
    remedy = "let `from` lie before `to`, at most 7 days apart"
