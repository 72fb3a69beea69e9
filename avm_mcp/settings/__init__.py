"""The settings: every environment variable once, with its default, its meaning and its check.

Only this package and the fast start read the environment. An empty value counts as unset, and so does the literal
`${user_config.…}`, which Claude Desktop passes on for a field left empty. Any other placeholder is refused by name.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, ValidationInfo, field_validator

from avm_mcp.domain.accounts import LOOPBACK
from avm_mcp.domain.errors import BadSetting
from avm_mcp.domain.masking import describe_allowed, refuse_placeholder, refuse_value
from avm_mcp.fast_start import variables
from avm_mcp.settings.folders import NO_HOME, default_output_dir, default_state_dir, expand, shared_folders

__all__ = [
    "ALIASES",
    "HTTP_ONLY",
    "NO_HOME",
    "SANDBOX_KEY",
    "Settings",
    "child_environment",
    "network_variables",
    "shared_folders",
]

T = TypeVar("T")

SANDBOX_KEY = "sandbox"
"""The value of AVM_API_KEY that starts an embedded sandbox instead of using the real API."""

ALIASES: Mapping[str, str] = {"AIVIDEO_API_KEY": "AVM_API_KEY"}
"""Other names of a setting: the service's own skill calls the key AIVIDEO_API_KEY."""

HTTP_ONLY = ("AVM_HTTP_TOKEN", "AVM_ALLOWED_HOSTS", "AVM_ALLOWED_ORIGINS")
"""Settings of `avm-mcp serve` alone, which are not passed on to other processes."""

_NETWORK = frozenset(
    {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE"}
)
"""Variables of other libraries, in either case."""

_LEVELS: Mapping[str, str] = {"WARN": "WARNING", "CRITICAL": "ERROR", "FATAL": "ERROR"}

_FORMS: Mapping[str, tuple[str, str]] = {
    "AVM_API_KEY": (r"[\x21-\x7e]{1,512}", "a key without spaces or line breaks, at most 512 characters"),
    "AVM_USER_AGENT": (r"[\x20-\x7e]{1,256}", "one line of plain characters"),
    "AVM_HTTP_TOKEN": (
        r"[A-Za-z0-9._~+/-]{16,512}=*",
        "16 to 512 letters, digits or any of -._~+/, as `openssl rand -hex 32` makes them",
    ),
    "AVM_ALLOWED_HOSTS": (
        r"[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?|\[[0-9a-f:.]+\]",
        "names such as host.docker.internal, without scheme, port, path or *",
    ),
    "AVM_ALLOWED_ORIGINS": (
        r"[a-z][a-z0-9+.-]*://[a-z0-9._-]+(:[0-9]{1,5})?",
        "origins such as https://agent.example:8443, without path or *",
    ),
}
"""The form of a text, or of each item of a list, and what is allowed, in words."""


Credits = Annotated[int, Field(ge=0, le=1_000_000)]
Seconds = Annotated[float, Field(gt=0, le=600)]


class Settings(BaseModel):
    """All settings. Each field is the variable of the same name; `_FORMS` and the validators check its text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    AVM_API_KEY: SecretStr | None = Field(
        default=None,
        description="Key from https://aivideomaker.ai (`AIVIDEO_API_KEY` works too). "
        "`sandbox` starts a free local copy of the service.",
    )
    AVM_BASE_URL: str = Field(default="https://aivideomaker.ai", description="Where the API is; https, or loopback.")
    AVM_OUTPUT_DIR: Path = Field(
        default_factory=default_output_dir, description="Where finished videos go. Default: your Videos folder."
    )
    AVM_INPUT_DIRS: tuple[Path, ...] | None = Field(
        default=None,
        description="Folders that pictures may be read from, separated by `:` (`;` on Windows). "
        "Default: Pictures, Downloads, Desktop, Videos and the working folder.",
    )
    AVM_STATE_DIR: Path = Field(
        default_factory=default_state_dir,
        description="Where the state of paid jobs is kept. Default: the system's state folder.",
    )
    AVM_ALLOW_MEMORY_STATE: Literal["on", "off"] = Field(
        default="off",
        description="Whether paid calls are taken where no folder at all can be written: then two windows do not know "
        "of each other, and each pays for the same request.",
    )
    AVM_MAX_CREDITS_PER_CALL: Credits | None = Field(
        default=None, description="Refuse any video that costs more credits. 1 credit is 0.01 USD."
    )
    AVM_MAX_CREDITS_PER_DAY: Credits | None = Field(
        default=None, description="Refuse a video that would take the credits of this UTC day above this."
    )
    AVM_APPROVE_ABOVE: Credits = Field(
        default=50,
        description="A video that costs more credits needs the user's approval; also the default of `max_credits`. "
        "Approval is advice; the caps are enforced.",
    )
    AVM_DEDUPE_MINUTES: Annotated[float, Field(ge=0, le=1440)] = Field(
        default=60, description="How long after it was seen to be ready the same request returns the same video."
    )
    AVM_SAVE: Literal["mine", "all", "off"] = Field(
        default="mine",
        description="Which finished videos are saved: those started here, all of the last day with this key, or none.",
    )
    AVM_WORKER: Literal["on", "off"] = Field(
        default="on",
        description="Whether a small process goes on watching and saving after the host has ended ours.",
    )
    AVM_NOTIFY: Literal["on", "off"] = Field(default="off", description="A desktop notice when a video has been saved.")
    AVM_CONNECT_TIMEOUT: Seconds = Field(
        default=10, description="Seconds to reach the API, or the host of a finished video."
    )
    AVM_READ_TIMEOUT: Seconds = Field(
        default=30, description="Seconds for the API to answer a question, and longest silence during a download."
    )
    AVM_SUBMIT_TIMEOUT: Seconds = Field(default=90, description="Seconds for the API to answer a paid request.")
    AVM_USER_AGENT: str | None = Field(default=None, description="User-Agent header. Default: `avm-mcp/<version>`.")
    AVM_EGRESS_ID: str = Field(
        default="this-machine",
        max_length=100,
        description="Name of the IP address that requests leave by; the API allows 60 questions a minute for each.",
    )
    AVM_HTTP_TOKEN: SecretStr | None = Field(
        default=None,
        description="Bearer token that `avm-mcp serve` asks of its callers: 16 characters or more, not the API key.",
    )
    AVM_ALLOWED_HOSTS: tuple[str, ...] = Field(
        default=(),
        description="Further names under which `avm-mcp serve` may be reached, separated by commas, such as "
        "host.docker.internal. Names of this machine always work.",
    )
    AVM_ALLOWED_ORIGINS: tuple[str, ...] = Field(
        default=(),
        description="Further web pages that may use `avm-mcp serve`, separated by commas, such as "
        "https://agent.example. Pages from localhost always may.",
    )
    AVM_SANDBOX_SPEED: Annotated[float, Field(gt=0, le=10_000)] = Field(
        default=20, description="How many times faster than the real service the embedded sandbox runs."
    )
    AVM_FAST_START: Literal["on", "off"] = Field(
        default="on",
        description="Whether the stdio server answers first questions from a packaged snapshot while it is still "
        "starting.",
    )
    AVM_LOG_LEVEL: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="WARNING", description="What is written to stderr."
    )

    @field_validator("AVM_SAVE", "AVM_WORKER", "AVM_NOTIFY", "AVM_FAST_START", "AVM_ALLOW_MEMORY_STATE", mode="before")
    @classmethod
    def _read_switch(cls, value: object, info: ValidationInfo) -> object:
        word = variables.switch(value) if isinstance(value, str) else value
        return "mine" if word == "on" and info.field_name == "AVM_SAVE" else word

    @field_validator("AVM_LOG_LEVEL", mode="before")
    @classmethod
    def _read_level(cls, value: object) -> object:
        return _LEVELS.get(value.upper(), value.upper()) if isinstance(value, str) else value

    @field_validator("AVM_ALLOWED_HOSTS", "AVM_ALLOWED_ORIGINS", mode="before")
    @classmethod
    def _split_at_commas(cls, value: object) -> object:
        return tuple(p.strip().lower() for p in value.split(",") if p.strip()) if isinstance(value, str) else value

    @field_validator("AVM_INPUT_DIRS", mode="before")
    @classmethod
    def _split_paths(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(text for part in value.split(os.pathsep) if (text := variables.plain(part)))

    @field_validator(*_FORMS)
    @classmethod
    def _check_form(cls, value: T, info: ValidationInfo) -> T:
        form, allowed = _FORMS[str(info.field_name)]
        plain = value.get_secret_value() if isinstance(value, SecretStr) else value
        texts = (
            cast("tuple[str, ...]", plain) if isinstance(plain, tuple) else (plain,) if isinstance(plain, str) else ()
        )
        if not all(re.fullmatch(form, text) for text in texts):
            raise ValueError(allowed)
        return value

    @field_validator("AVM_HTTP_TOKEN")
    @classmethod
    def _differs_from_key(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is not None and value == info.data.get("AVM_API_KEY"):
            raise ValueError("another value than the API key, which callers are not to know")
        return value

    @field_validator("AVM_BASE_URL")
    @classmethod
    def _check_origin(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            port = parts.port
        except ValueError:  # a bracket that is not closed, a port that is none
            parts, port = urlsplit(""), 0
        secure = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
        plain = re.fullmatch(r"[\x21-\x7e]+", value) and "@" not in parts.netloc and port != 0
        if not secure or not plain or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("an https URL, or http on 127.0.0.1, without user, query or fragment")
        return value.rstrip("/")

    @field_validator("AVM_OUTPUT_DIR", "AVM_STATE_DIR")
    @classmethod
    def _expand_folder(cls, value: Path) -> Path:
        return expand(value)

    @field_validator("AVM_INPUT_DIRS")
    @classmethod
    def _expand_folders(cls, value: tuple[Path, ...] | None) -> tuple[Path, ...] | None:
        return None if value is None else tuple(map(expand, value))

    @property
    def api_key(self) -> str | None:
        return self.AVM_API_KEY.get_secret_value() if self.AVM_API_KEY else None

    @property
    def http_token(self) -> str | None:
        return self.AVM_HTTP_TOKEN.get_secret_value() if self.AVM_HTTP_TOKEN else None

    @property
    def sandboxed(self) -> bool:
        """Return whether the key asks for the embedded sandbox."""
        return self.api_key == SANDBOX_KEY

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> "Settings":
        """Read the settings.

        Raises:
            BadSetting: Names every variable whose value cannot be used, what it holds and what is allowed.
        """
        settings, refusal = cls.read(environ)
        if refusal is not None:
            raise refusal
        return settings

    @classmethod
    def read(cls, environ: Mapping[str, str] | None = None) -> "tuple[Settings, BadSetting | None]":
        """Return the settings, with the default for each that cannot be used, and the refusal of those.

        It is for programs that go on without these settings, and say at each call what is wrong.
        """
        given = os.environ if environ is None else environ
        texts: dict[str, str] = {}
        names: dict[str, str] = {}  # the name that the user wrote, by the setting's own
        for name in (*cls.model_fields, *ALIASES):
            if text := variables.value(given, name):
                texts.setdefault(ALIASES.get(name, name), text)
                names.setdefault(ALIASES.get(name, name), name)
        wrong: dict[str, str] = {}
        for name, text in texts.items():
            if variables.is_unfilled(text, key=name == "AVM_API_KEY"):
                wrong[name] = refuse_placeholder(names[name], text)
        values: dict[str, Any] = {name: text for name, text in texts.items() if name not in wrong}
        while True:
            try:
                settings = cls(**values)
                break
            except ValidationError as error:
                for one in error.errors(include_url=False, include_input=False):
                    name = str(one["loc"][0])
                    allowed = describe_allowed(one["type"], one["msg"].removeprefix("Value error, "))
                    wrong[name] = refuse_value(names[name], texts[name], allowed)
                    values.pop(name, None)
        first = next((names[name] for name in names if name in wrong), None)
        return settings, BadSetting(" ".join(wrong.values()), field=first) if first else None


def network_variables() -> Mapping[str, str]:
    """Return the variables, as they are spelled, from which other libraries take proxies and certificates."""
    return {name: text for name, text in os.environ.items() if name.upper() in _NETWORK and text}


def child_environment(settings: Settings) -> dict[str, str]:
    """Return the environment for a process of ours that is to have these settings, wherever they came from.

    The key is passed here alone, since every user of a machine can read a command line.
    """
    inherited = {name: value for name, value in os.environ.items() if name not in {*Settings.model_fields, *ALIASES}}
    given = settings.model_dump(exclude_none=True, exclude={*HTTP_ONLY})
    if settings.api_key is not None:
        given["AVM_API_KEY"] = settings.api_key
    if settings.AVM_INPUT_DIRS is not None:
        given["AVM_INPUT_DIRS"] = os.pathsep.join(map(str, settings.AVM_INPUT_DIRS))
    return inherited | {name: str(value) for name, value in given.items()} | {"AVM_WORKER": "off"}
