"""One e-mail about one event, over SMTP."""

import json
import smtplib
import ssl
from email.message import EmailMessage

from backend.core.settings import SmtpSettings
from backend.events.posting import Outcome


def compose(settings: SmtpSettings, *, to: str, identity: str, body: str) -> EmailMessage:
    """The message about an event. `body` is the JSON that a webhook would get; `identity` its stable id."""
    event = json.loads(body)
    data = event["data"]
    resource = data["resource"]
    message = EmailMessage()
    message["From"] = settings.sender
    message["To"] = to
    message["Subject"] = f"[Modelyard] {resource['kind']} {resource['name']}: {data['to']}"
    message["Message-ID"] = f"<{identity}@modelyard>"
    message["X-Modelyard-Event"] = event["type"]
    was = f" (was {data['from']})" if data["from"] else ""
    message.set_content(
        f"{resource['kind'].capitalize()} {resource['name']} is {data['to']}{was} since {event['timestamp']}.\n"
        f"Reason: {data['reason']}\n\nId: {resource['id']}\nEvent: {identity}\n"
    )
    return message


def send(settings: SmtpSettings, message: EmailMessage, *, timeout: float) -> Outcome:
    """Hand it to the mail server. Never raises."""
    if settings.host is None:
        return Outcome(ok=False, error="this platform has no mail server")
    try:
        context = ssl.create_default_context()
        if settings.encryption == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(settings.host, settings.port, timeout=timeout, context=context)
        else:
            server = smtplib.SMTP(settings.host, settings.port, timeout=timeout)
        with server:
            if settings.encryption == "starttls":
                server.starttls(context=context)
            if settings.username is not None and settings.password is not None:
                server.login(settings.username, settings.password.get_secret_value())
            server.send_message(message)
    except (OSError, smtplib.SMTPException, ValueError) as error:
        return Outcome(ok=False, error=(str(error) or type(error).__name__)[:300])
    return Outcome(ok=True, text="accepted by the mail server")
