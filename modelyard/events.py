"""Being told of events: webhooks and e-mail, and the log of what was sent."""

from collections.abc import Iterator, Sequence
from typing import Any

from modelyard.event_types import Delivery, Subscription
from modelyard.room import Room, given


class Subscriptions(Room):
    """Who is told of which events."""

    def event_types(self) -> Sequence[str]:
        """What can be subscribed to."""
        return [*self._http.get("/api/v1/event-types", dict[str, Any])["items"]]

    def create(
        self,
        target: str,
        event_types: Sequence[str],
        *,
        channel: str = "webhook",
        project_id: str | None = None,
        description: str = "",
    ) -> Subscription:
        """Tell an address (`webhook`) or a person (`email`). A webhook's `secret` is told here and never again."""
        body = {
            "channel": channel,
            "target": target,
            "event_types": list(event_types),
            "project_id": project_id,
            "description": description,
        }
        return self._http.post("/api/v1/event-subscriptions", body, Subscription)

    def list(self) -> Iterator[Subscription]:
        """Subscriptions, newest first."""
        return self._http.pages("/api/v1/event-subscriptions", Subscription)

    def get(self, subscription_id: str) -> Subscription:
        """One subscription."""
        return self._http.get(f"/api/v1/event-subscriptions/{subscription_id}", Subscription)

    def update(
        self,
        subscription_id: str,
        *,
        target: str | None = None,
        event_types: Sequence[str] | None = None,
        description: str | None = None,
        enabled: bool | None = None,
    ) -> Subscription:
        """Change what is given; `enabled=False` sends nothing more."""
        body = given(target=target, event_types=event_types, description=description, enabled=enabled)
        return self._http.patch(f"/api/v1/event-subscriptions/{subscription_id}", body, Subscription)

    def delete(self, subscription_id: str) -> None:
        """End it, and forget its log."""
        self._http.delete(f"/api/v1/event-subscriptions/{subscription_id}")

    def rotate_secret(self, subscription_id: str) -> str:
        """A new signing secret; the old one signs nothing any more."""
        path = f"/api/v1/event-subscriptions/{subscription_id}/rotate-secret"
        return self._http.post(path, {}, dict[str, str])["secret"]

    def test(self, subscription_id: str) -> Delivery:
        """Send it a test event."""
        return self._http.post(f"/api/v1/event-subscriptions/{subscription_id}/test", {}, Delivery)

    def deliveries(
        self,
        *,
        subscription_id: str | None = None,
        state: str | None = None,
        event_type: str | None = None,
        resource_id: str | None = None,
    ) -> Iterator[Delivery]:
        """What was sent, newest first."""
        where = given(subscription_id=subscription_id, state=state, event_type=event_type, resource_id=resource_id)
        return self._http.pages("/api/v1/event-deliveries", Delivery, **where)

    def delivery(self, delivery_id: str) -> Delivery:
        """One message with what was sent and every attempt."""
        return self._http.get(f"/api/v1/event-deliveries/{delivery_id}", Delivery)

    def replay(self, delivery_id: str) -> Delivery:
        """Send it once more, under the same event id."""
        return self._http.post(f"/api/v1/event-deliveries/{delivery_id}/replay", {}, Delivery)
