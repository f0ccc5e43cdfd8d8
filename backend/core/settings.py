"""Settings: nested groups read from `MODELYARD_*` variables, at composition roots only.

Groups nest with two underscores: `MODELYARD_API__PORT=9000`. A process gets only the credentials it
needs: the API never sees the controller's, a gateway sees no database at all.
"""

from ipaddress import ip_network
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

DEFAULT_HOME = Path(".modelyard")
API_GAP_SECONDS = 10.0
"""An API that was away for less counts as having been up (`backend.uptime`)."""


class DatabaseSettings(BaseModel):
    """SQLAlchemy URLs (`postgresql+psycopg://…`), one per database role; None = not given to this process."""

    admin_url: SecretStr | None = None
    """A superuser's, for `migrate` alone: it creates roles and database where they are missing."""
    owner_url: SecretStr | None = None
    """Of the role that owns the tables; for `migrate` alone."""
    app_url: SecretStr | None = None
    """Of the role *app*: the API's. It sees the tenant of the transaction."""
    controller_url: SecretStr | None = None
    """Of the role *controller*: the control workers'."""
    operator_url: SecretStr | None = None
    """Of the role *operator*, which only reads: the admin console's."""
    pool_size: int = Field(default=10, ge=1, le=200)
    """Connections that a process keeps, and as many again under load."""


class RolePasswords(BaseModel):
    """Passwords the `migrate` step gives the database roles it creates."""

    owner: SecretStr | None = None
    """Of `modelyard_owner`."""
    app: SecretStr | None = None
    """Of `modelyard_app`."""
    controller: SecretStr | None = None
    """Of `modelyard_controller`."""
    operator: SecretStr | None = None
    """Of `modelyard_operator`."""


class BrokerSettings(BaseModel):
    """Redis-protocol broker. `url` is the control plane's own user; agents get derived users."""

    url: SecretStr | None = None
    """The control plane's own broker user."""
    agent_secret: SecretStr | None = None
    """Agents' broker passwords are an HMAC of the instance id under this secret."""


class ApiSettings(BaseModel):
    """Where the API and the dashboard listen, and how others reach them."""

    host: str = "127.0.0.1"
    """Address that the API and the dashboard listen on."""
    port: int = Field(default=8700, ge=1, le=65535)
    """Their port."""
    internal_url: str | None = None
    """Address that agents and gateways use; default: host and port."""
    requests_per_minute: int = Field(default=6000, ge=0)
    """How many requests a credential may send in a minute to one API process, unless its organization has a number of
    its own; 0 = any number."""
    max_body_bytes: int = 64 * 1024 * 1024
    """Longest body of a request; routes that stream (parts of uploads) have limits of their own."""

    @property
    def url(self) -> str:
        """Address agents and gateways use."""
        return self.internal_url or f"http://{self.host}:{self.port}"


class GatewaySettings(BaseModel):
    """Where inference is answered."""

    host: str = "127.0.0.1"
    """Address that inference is answered on."""
    port: int = Field(default=8701, ge=1, le=65535)
    """Its port."""
    grpc_port: int = Field(default=8702, ge=1, le=65535)
    """Port of inference over gRPC, on the same address."""
    token: SecretStr | None = None
    """Bearer token with which gateways read the routing table; the gRPC gateway's is made from it."""
    internal_url: str | None = None
    """Address at which the API reaches a gateway, for the dashboard's playground; default: host and port."""
    public_url: str | None = None
    """Address that people are shown, such as the one of a proxy; default: host and port."""
    public_grpc_address: str | None = None
    """`host:port` that people are shown for gRPC; default: host and port."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks of proxies before the gateway, a JSON list: their `X-Forwarded-For` alone is believed."""
    queue_seconds: float = Field(default=5.0, gt=0)
    """A replica process refuses calls (503) while those that wait there need longer than this."""
    key_calls: int = Field(default=512, ge=0)
    """Calls of one key that a replica process has under way at once; more get 429. 0: any number."""

    @field_validator("trusted_proxies")
    @classmethod
    def _refuse_what_is_no_network(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            ip_network(each)
        return value

    def arguments(self) -> list[str]:
        """The gateway's own options, for its command line."""
        trusted = [word for each in self.trusted_proxies for word in ("--trusted-proxy", each)]
        return ["--host", self.host, "--port", str(self.port), *self._bounds(), *trusted]

    def grpc_arguments(self) -> list[str]:
        """The gRPC gateway's."""
        return ["--host", self.host, "--port", str(self.grpc_port), *self._bounds()]

    def _bounds(self) -> list[str]:
        return ["--queue-seconds", str(self.queue_seconds), "--key-calls", str(self.key_calls)]

    @property
    def url(self) -> str:
        """Address at which the API reaches a gateway."""
        return self.internal_url or self._own_url

    @property
    def shown_url(self) -> str:
        """Address that people are shown."""
        return self.public_url or self._own_url

    @property
    def shown_grpc_address(self) -> str:
        """`host:port` that people are shown for gRPC."""
        return self.public_grpc_address or f"{self._own_host}:{self.grpc_port}"

    @property
    def _own_url(self) -> str:
        return f"http://{self._own_host}:{self.port}"

    @property
    def _own_host(self) -> str:
        host = "127.0.0.1" if self.host in {"0.0.0.0", "::"} else self.host  # noqa: S104 - compared, not listened on
        return f"[{host}]" if ":" in host else host


class SecuritySettings(BaseModel):
    """Keys and cookies."""

    master_key: SecretStr | None = None
    """Base64 of 32 random bytes; wraps every organization's key."""
    session_hours: int = 24 * 7
    """How long a log-in lasts."""
    secure_cookies: bool = False
    """Send cookies over TLS only: set it behind a TLS proxy."""
    argon2_memory_kib: int = Field(default=65536, ge=8)
    """Memory of one password check."""
    argon2_iterations: int = Field(default=3, ge=1)
    """Cost of one password check (RFC 9106's second recommendation); lower only in tests."""

    @field_validator("master_key")
    @classmethod
    def _refuse_short_keys(cls, value: SecretStr | None) -> SecretStr | None:
        minimum = 43
        if value is not None and len(value.get_secret_value()) < minimum:
            raise ValueError("master_key must be base64 of 32 random bytes")
        return value


class ControlSettings(BaseModel):
    """Rhythm of the control plane, in seconds."""

    tick_seconds: float = 2.0
    """How often the control worker looks for due rows by itself."""
    lease_seconds: float = 30.0
    """How long a controller owns a row; after a kill the next one waits this long."""
    heartbeat_seconds: float = 2.0
    """How often agents sync."""
    lost_after_seconds: float = 20.0
    """Silence, while the API is up, after which an instance is lost."""
    boot_timeout_seconds: float = 120.0
    """An instance whose agent has not said hello by then is ended."""
    stop_grace_seconds: float = 120.0
    """From SIGTERM to SIGKILL: time to write a checkpoint."""
    usage_slice_seconds: float = 50.0
    """Slices are looked for every few seconds, so this keeps them under the promised minute."""


class ImportSettings(BaseModel):
    """Data that the control worker fetches for datasets."""

    allowed_hosts: frozenset[str] = frozenset()
    """Host names and addresses, as JSON, that may be private or loopback and may speak plain http; all others must be
    public and speak https."""
    max_bytes: int = Field(default=16 * 1024**3, ge=1)
    """Largest file that is fetched."""
    at_once: int = Field(default=2, ge=1, le=32)
    """Imports that one process works on at the same time."""
    stalled_seconds: float = Field(default=20.0, gt=0)
    """A source that sends nothing for so long is asked again later."""


class EventSettings(BaseModel):
    """How job and endpoint events are told outside (`backend.events`)."""

    allowed_hosts: tuple[str, ...] = ()
    """Host names that webhooks may reach at private addresses and without TLS, as a JSON list. None but public
    addresses over TLS otherwise."""
    timeout_seconds: float = Field(default=10.0, gt=0, le=14)
    """How long a receiver may take to answer; under half a lease."""
    retry_seconds: tuple[float, ...] = (5, 30, 120, 600, 1800, 3600, 7200, 14400, 28800)
    """Waits between the attempts of one delivery, as a JSON list; the last one repeats."""
    give_up_seconds: float = Field(default=86_400.0, gt=0)
    """A delivery that did not succeed by then has failed."""
    disable_after_failures: int = Field(default=20, ge=1)
    """Attempts in a row that fail before a subscription is disabled, if none succeeded for `disable_after_seconds`."""
    disable_after_seconds: float = Field(default=3600.0, ge=0)
    """A receiver that is away for less is never disabled."""
    keep_days: int = Field(default=30, ge=1)
    """How long the delivery log is kept."""


class SmtpSettings(BaseModel):
    """The mail server; without a host no e-mail is sent and none can be subscribed to."""

    host: str | None = None
    """Its name."""
    port: int = Field(default=587, ge=1, le=65535)
    """Its port."""
    encryption: Literal["starttls", "tls", "none"] = "starttls"
    """How the connection is protected; `none` for a relay on this host only."""
    username: str | None = None
    """Whom to log in as, if anybody."""
    password: SecretStr | None = None
    """That user's."""
    sender: str = "modelyard@localhost"
    """Whom messages come from."""


class SandboxSettings(BaseModel):
    """Only the unsafe way out; the sandbox itself is found by the agent."""

    unsafe_no_sandbox: bool = False
    """Run tenants' code without a sandbox, with the agent's own rights."""


class Settings(BaseSettings):
    """All groups. `Settings()` reads the environment once."""

    model_config = SettingsConfigDict(env_prefix="MODELYARD_", env_nested_delimiter="__", extra="ignore")

    home: Path = DEFAULT_HOME
    """The folder in which everything lasts."""
    environment: Literal["development", "test", "production"] = "development"
    """`production` writes logs as JSON lines."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe line that is logged."""
    database: DatabaseSettings = DatabaseSettings()
    """Postgres."""
    roles: RolePasswords = RolePasswords()
    """Passwords of its roles."""
    broker: BrokerSettings = BrokerSettings()
    """Valkey or Redis."""
    api: ApiSettings = ApiSettings()
    """The API and the dashboard."""
    gateway: GatewaySettings = GatewaySettings()
    """The data plane."""
    security: SecuritySettings = SecuritySettings()
    """Keys and cookies."""
    control: ControlSettings = ControlSettings()
    """Rhythm."""
    imports: ImportSettings = ImportSettings()
    """Fetching data for datasets."""
    sandbox: SandboxSettings = SandboxSettings()
    """The sandbox."""
    events: EventSettings = EventSettings()
    """Webhooks."""
    smtp: SmtpSettings = SmtpSettings()
    """E-mail."""

    @field_validator("control")
    @classmethod
    def _refuse_losing_by_a_restart(cls, value: ControlSettings) -> ControlSettings:
        # An agent's last words are up to one heartbeat old when the API goes, and its next come one after it is back.
        least = API_GAP_SECONDS + 2 * value.heartbeat_seconds
        if value.lost_after_seconds < least:
            raise ValueError(
                f"lost_after_seconds is {value.lost_after_seconds:g}, and must be {least:g} or more with a heartbeat"
                f" every {value.heartbeat_seconds:g} s: an API that is away for less than {API_GAP_SECONDS:g} s counts"
                " as up, so its restart would lose every instance; set MODELYARD_CONTROL__LOST_AFTER_SECONDS"
            )
        return value

    storage_url: str | None = None
    """obstore URL (`file:///…`, `s3://bucket/prefix`); default: `<home>/objects`."""
    localhost_socket: Path | None = None
    """Unix socket of the local provider, where this host provides `local.*` instances."""

    @property
    def object_url(self) -> str:
        """Where objects lie."""
        return self.storage_url or f"file://{(self.home / 'objects').resolve()}"


def require(value: SecretStr | None, name: str) -> str:
    """The secret's text; RuntimeError naming the variable when it is not set."""
    if value is None:
        raise RuntimeError(f"{name} is not set; start with `modelyard up`, or set it in the environment")
    return value.get_secret_value()
