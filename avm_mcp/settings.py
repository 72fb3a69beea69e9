"""The settings: every environment variable once, with its default, its meaning and its check.

Only this module (and the fast start) reads the environment. An empty value, and the literal `${user_config.…}` that
Claude Desktop passes on when a user left a field empty, count as unset; any other placeholder is refused by name.
"""

import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, ValidationInfo, field_validator

from avm_mcp.domain.accounts import LOOPBACK
from avm_mcp.domain.errors import BadSetting, quoted
from avm_mcp.domain.masking import allowed_words, masked, refused
from avm_mcp.fast_start import variables

SANDBOX_KEY = "sandbox"
"""The value of AVM_API_KEY that starts an embedded sandbox instead of using the real API."""

ALIASES: Mapping[str, str] = {"AIVIDEO_API_KEY": "AVM_API_KEY"}
"""Names that other software uses for the same setting: the existing skill calls the key AIVIDEO_API_KEY."""

HTTP_ONLY = ("AVM_HTTP_TOKEN", "AVM_ALLOWED_HOSTS", "AVM_ALLOWED_ORIGINS")
"""Settings of `avm-mcp serve` alone: no other process of ours is given them."""

_OUTSIDE = frozenset(
    {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE"}
)


NO_HOME = Path(os.path.abspath(os.sep), "nonexistent", "avm-mcp")  # noqa: PTH100 - the root, on any system
"""What stands for a folder of a user who has no home: nothing is there, and whoever needs it says so."""


def _default_state_dir() -> Path:
    try:
        return platformdirs.user_state_path("avm-mcp")
    except RuntimeError:  # no HOME, and the system does not know this user: a container under any number
        return NO_HOME


def _default_output_dir() -> Path:
    try:
        path = platformdirs.user_videos_path()
    except RuntimeError:
        return NO_HOME
    return path if _is_text(path) else NO_HOME


def _is_text(path: Path) -> bool:
    """Return whether a path can be told: in an answer, and in the journal, bytes that are no text have no place."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


_LEVELS: Mapping[str, str] = {"WARN": "WARNING", "CRITICAL": "ERROR", "FATAL": "ERROR"}

Credits = Annotated[int, Field(ge=0, le=1_000_000)]
Seconds = Annotated[float, Field(gt=0, le=600)]


class Settings(BaseModel):
    """What can be set, and what holds when it is not. Each field is the variable of the same name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    AVM_API_KEY: SecretStr | None = Field(
        default=None,
        description="Key from https://aivideomaker.ai (`AIVIDEO_API_KEY` works too). "
        "`sandbox` starts a free local copy of the service.",
    )
    AVM_BASE_URL: str = Field(default="https://aivideomaker.ai", description="Where the API is; https, or loopback.")
    AVM_OUTPUT_DIR: Path = Field(
        default_factory=_default_output_dir, description="Where finished videos go. Default: your Videos folder."
    )
    AVM_INPUT_DIRS: tuple[Path, ...] | None = Field(
        default=None,
        description="Folders that pictures may be read from, separated by `:` (`;` on Windows). "
        "Default: Pictures, Downloads, Desktop, Videos and the working folder.",
    )
    AVM_STATE_DIR: Path = Field(
        default_factory=_default_state_dir,
        description="Where the journal of paid jobs is kept. Default: the system's state folder.",
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
    def _switched(cls, value: object, info: ValidationInfo) -> object:
        word = variables.switch(value) if isinstance(value, str) else value
        return "mine" if word == "on" and info.field_name == "AVM_SAVE" else word

    @field_validator("AVM_LOG_LEVEL", mode="before")
    @classmethod
    def _level(cls, value: object) -> object:
        return _LEVELS.get(value.upper(), value.upper()) if isinstance(value, str) else value

    @field_validator("AVM_API_KEY")
    @classmethod
    def _sendable(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.fullmatch(r"[\x21-\x7e]{1,512}", value.get_secret_value()):
            raise ValueError("a key without spaces or line breaks, at most 512 characters")
        return value

    @field_validator("AVM_HTTP_TOKEN")
    @classmethod
    def _own_token(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is not None:
            if not re.fullmatch(r"[A-Za-z0-9._~+/-]{16,512}=*", value.get_secret_value()):
                raise ValueError("16 to 512 letters, digits or any of -._~+/, as `openssl rand -hex 32` makes them")
            if value == info.data.get("AVM_API_KEY"):
                raise ValueError("another value than the API key, which callers are not to know")
        return value

    @field_validator("AVM_ALLOWED_HOSTS", "AVM_ALLOWED_ORIGINS", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        return tuple(p.strip().lower() for p in value.split(",") if p.strip()) if isinstance(value, str) else value

    @field_validator("AVM_ALLOWED_HOSTS")
    @classmethod
    def _names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(re.fullmatch(r"[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?|\[[0-9a-f:.]+\]", name) for name in value):
            raise ValueError("names such as host.docker.internal, without scheme, port, path or *")
        return value

    @field_validator("AVM_ALLOWED_ORIGINS")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(re.fullmatch(r"[a-z][a-z0-9+.-]*://[a-z0-9._-]+(:[0-9]{1,5})?", origin) for origin in value):
            raise ValueError("origins such as https://agent.example:8443, without path or *")
        return value

    @field_validator("AVM_BASE_URL")
    @classmethod
    def _safe_origin(cls, value: str) -> str:
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

    @field_validator("AVM_INPUT_DIRS", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(text for part in value.split(os.pathsep) if (text := variables.plain(part)))

    @field_validator("AVM_OUTPUT_DIR", "AVM_STATE_DIR", "AVM_INPUT_DIRS")
    @classmethod
    def _expanded(cls, value: Path | tuple[Path, ...] | None) -> Path | tuple[Path, ...] | None:
        def absolute(path: Path) -> Path:
            try:
                path = path.expanduser()
            except RuntimeError as error:
                raise ValueError(f"a folder without ~, since there is no home folder ({error})") from None
            if not path.is_absolute():
                raise ValueError("an absolute folder")
            if not _is_text(path):
                raise ValueError("a folder whose name is text in UTF-8")
            return path

        if value is None:
            return None
        return tuple(absolute(p) for p in value) if isinstance(value, tuple) else absolute(value)

    @field_validator("AVM_USER_AGENT")
    @classmethod
    def _one_line(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[\x20-\x7e]{1,256}", value):
            raise ValueError("one line of plain characters")
        return value

    @property
    def api_key(self) -> str | None:
        return self.AVM_API_KEY.get_secret_value() if self.AVM_API_KEY else None

    @property
    def http_token(self) -> str | None:
        return self.AVM_HTTP_TOKEN.get_secret_value() if self.AVM_HTTP_TOKEN else None

    @property
    def sandboxed(self) -> bool:
        """Return whether the embedded sandbox is asked for."""
        return self.api_key == SANDBOX_KEY

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> "Settings":
        """Read the settings.

        Raises:
            BadSetting: For all variables whose values cannot be used; it names each, what it holds and what is allowed.
        """
        settings, refusal = cls.read(environ)
        if refusal is not None:
            raise refusal
        return settings

    @classmethod
    def read(cls, environ: Mapping[str, str] | None = None) -> "tuple[Settings, BadSetting | None]":
        """Return the settings, with the default for each that cannot be used, and the refusal of those.

        For programs that have to go on, and to say at each call what is wrong.
        """
        given = os.environ if environ is None else environ
        texts: dict[str, str] = {}
        written: dict[str, str] = {}  # under which name the user wrote it
        for name in (*cls.model_fields, *ALIASES):
            if text := variables.value(given, name):
                texts.setdefault(ALIASES.get(name, name), text)
                written.setdefault(ALIASES.get(name, name), name)
        wrong: dict[str, str] = {}
        for name, text in texts.items():
            if variables.is_unfilled(text, key=name == "AVM_API_KEY"):
                meant = "a key from https://aivideomaker.ai" if name == "AVM_API_KEY" else "the value itself"
                held = f"is {quoted(masked(text), 60)}, a placeholder that was not filled in"
                wrong[written[name]] = f"{written[name]} {held}: allowed is {meant}."
        values: dict[str, Any] = {name: text for name, text in texts.items() if written[name] not in wrong}
        while True:
            try:
                settings = cls(**values)
                break
            except ValidationError as error:
                for one in error.errors(include_url=False, include_input=False):
                    name = str(one["loc"][0])
                    allowed = allowed_words(one["type"], one["msg"].removeprefix("Value error, "))
                    wrong[written[name]] = refused(written[name], texts[name], allowed)
                    values.pop(name, None)
        first = next((name for name in written.values() if name in wrong), None)
        return settings, BadSetting(" ".join(wrong.values()), field=first) if first else None


def network_variables() -> Mapping[str, str]:
    """Return the variables, as they are spelled, by which other libraries learn of proxies and certificates."""
    return {name: text for name, text in os.environ.items() if name.upper() in _OUTSIDE and text}


def shared_folders(state: Path) -> tuple[Path, ...]:
    """Return where processes can share a state for a while when the folder `state` cannot be written."""
    mark = hashlib.sha256(os.fsencode(state)).hexdigest()[:12]
    user = os.getuid() if hasattr(os, "getuid") else "user"
    bases = [os.environ.get("XDG_RUNTIME_DIR", "")]
    with contextlib.suppress(OSError):  # there is none that can be written
        bases.append(tempfile.gettempdir())
    return tuple(Path(base, f"avm-mcp-{user}-{mark}") for base in bases if Path(base).is_absolute())


def child_environment(settings: Settings) -> dict[str, str]:
    """Return the environment for a process of ours that goes on with these settings, wherever they came from.

    The key is in it, and nowhere else: a command line can be read by every user of a machine.
    """
    inherited = {name: value for name, value in os.environ.items() if name not in {*Settings.model_fields, *ALIASES}}
    given = settings.model_dump(exclude_none=True, exclude={*HTTP_ONLY})
    if settings.api_key is not None:
        given["AVM_API_KEY"] = settings.api_key
    if settings.AVM_INPUT_DIRS is not None:
        given["AVM_INPUT_DIRS"] = os.pathsep.join(map(str, settings.AVM_INPUT_DIRS))
    return inherited | {name: str(value) for name, value in given.items()} | {"AVM_WORKER": "off"}
