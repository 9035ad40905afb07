"""Where a server listens, who may use it, and how much one request may ask for."""

import ipaddress
import secrets
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from florence_rag.errors import InputError
from florence_rag.validation import validate_arguments

MIN_TOKEN_CHARACTERS = 16
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


@validate_arguments
@dataclass(frozen=True, slots=True)
class ServerConfig:
    """The settings of a server.

    Attributes:
        host: The address to listen on.
        port: The port; 0 lets the system choose one.
        token: What each request has to carry; "" admits everybody, which is allowed on this machine only.
        allowed_hosts: The names under which browsers may reach the server, besides IP addresses and localhost.
        allowed_folders: The folders from which clients may have files indexed.
        upload_folder: Where uploads are stored; None refuses them.
        read_only: Whether clients can neither index, upload nor delete.
        max_upload_mb: The largest upload.
        timeout_s: After this many seconds, a search or an answer is given up.

    Raises:
        InputError: If a value is out of range, or the server would be open to other machines without a token.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str = ""
    allowed_hosts: tuple[str, ...] = ()
    allowed_folders: tuple[Path, ...] = ()
    upload_folder: Path | None = None
    read_only: bool = False
    max_upload_mb: int = 1000
    timeout_s: float = 120.0

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise InputError(f"port is {self.port}; it must lie between 0 and 65535")
        if not (self.max_upload_mb > 0 and self.timeout_s > 0):
            raise InputError("max_upload_mb and timeout_s must be above 0")
        if self.token and (len(self.token) < MIN_TOKEN_CHARACTERS or not _is_header_value(self.token)):
            raise InputError(f"the token must have at least {MIN_TOKEN_CHARACTERS} characters of ASCII, without spaces")
        if not self.token and not self.is_local:
            raise InputError(f"host is {self.host!r}, which other machines reach: give a token")
        check_folders(self.allowed_folders)

    @property
    def is_local(self) -> bool:
        """Whether only programs on this machine reach the server."""
        return is_local(self.host)

    @property
    def host_names(self) -> frozenset[str]:
        """The names that the Host header of a request may have, in addition to IP addresses."""
        return LOCAL_NAMES | {name.lower() for name in (self.host, socket.gethostname(), *self.allowed_hosts)}


def is_local(host: str) -> bool:
    """Return whether only programs on this machine reach an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def new_token() -> str:
    """Return a random token."""
    return secrets.token_urlsafe(32)


def check_folders(folders: Iterable[Path]) -> tuple[Path, ...]:
    """Return folders that clients may have indexed, or raise InputError if one does not exist."""
    checked = tuple(folders)
    for folder in checked:
        if not folder.is_dir():
            raise InputError(f"{str(folder)!r} is not a folder; allow folders that exist")
    return checked


def allowed_path(name: str, folders: Iterable[Path]) -> Path:
    """Return a file or folder inside one of some folders, after links and ".." are resolved, or raise InputError.

    The message is the same whether or not a file outside exists.
    """
    for folder in folders:
        try:
            root = folder.resolve()
            path = (root / name).resolve()
            if path.is_relative_to(root) and path.exists():
                return path
        except (OSError, ValueError, RuntimeError):  # too long, with a null byte, a loop of links
            continue
    raise InputError(f"there is no {name!r:.200} in the allowed folders")


def _is_header_value(token: str) -> bool:
    return token.isascii() and token.isprintable() and " " not in token
