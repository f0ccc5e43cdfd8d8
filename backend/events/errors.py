"""Facts about subscriptions to events and their deliveries."""

from backend.core.errors import Conflict, InternalFact, Invalid, NotFound


class SubscriptionNotFound(NotFound):
    """No such subscription in this organization."""

    code = "event_subscription_not_found"
    title = "Event subscription not found"
    remedy = "GET /api/v1/event-subscriptions lists yours"


class DeliveryNotFound(NotFound):
    """No such delivery in this organization, or it is older than the log."""

    code = "event_delivery_not_found"
    title = "Event delivery not found"
    remedy = "GET /api/v1/event-deliveries lists what was sent"


class TargetRefused(Invalid):
    """Messages cannot be sent there."""

    code = "event_target_refused"
    title = "Messages cannot be sent there"
    remedy = "give a public https:// address, or one whose host the operator allows in MODELYARD_EVENTS__ALLOWED_HOSTS"


class EmailNotConfigured(Conflict):
    """This platform has no mail server."""

    code = "email_not_configured"
    title = "E-mail is off"
    remedy = "use a webhook, or ask the operator to set MODELYARD_SMTP__HOST"


class TooManySubscriptions(Conflict):
    """The organization has as many as it may."""

    code = "too_many_event_subscriptions"
    title = "Too many event subscriptions"
    remedy = "delete one, or let one subscription take several event types"


class SubscriptionDisabled(Conflict):
    """Nothing is sent to it."""

    code = "event_subscription_disabled"
    title = "The subscription is disabled"
    remedy = 'enable it first: PATCH it with {"enabled": true}'


class DeliveryPending(Conflict):
    """It is still being tried."""

    code = "event_delivery_pending"
    title = "The delivery is not over"
    remedy = "wait until it was delivered or has failed"


class AddressRefused(InternalFact):
    """A host name leads where webhooks must not go."""
