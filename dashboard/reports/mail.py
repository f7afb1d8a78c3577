"""The report by mail: SMTP with STARTTLS, one message per recipient, with parts that every mail program shows."""

from __future__ import annotations

import hashlib
import ipaddress
import re
import smtplib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import parseaddr
from pathlib import Path
from typing import Literal

from sim.errors import InputError, SourceError

TIMEOUT_S = 30.0
#: Attachments beyond this stay at home and are named in the mail.
LARGEST = 10 * 1024**2

Tls = Literal["starttls", "implicit", "none"]

_ADDRESS = re.compile(r"[^@\s<>,;:\"()\[\]\\]+@[^@\s<>,;:\"()\[\]\\]+")


@dataclass(frozen=True, slots=True)
class Server:
    """How mail leaves.

    tls : starttls (the default), implicit, or none, which only a loopback server gets
    password_file : holds the password, nothing else
    ca_file : certificates to trust instead of the system's
    """

    host: str = "127.0.0.1"
    port: int = 25
    tls: Tls = "starttls"
    user: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None

    @classmethod
    def parse(cls, text: str, **more: object) -> Server:
        """Read HOST[:PORT].

        Examples
        --------
        >>> Server.parse("mail.example.org:587").port
        587
        """
        host, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
        if not colon:
            host, port = text, ""
        if not host or (port and not port.isdecimal()) or (port and not 0 < int(port) < 65536):
            raise InputError(f"--smtp {text[:80]!r}: expected HOST or HOST:PORT such as mail.example.org:587")
        default = 465 if more.get("tls") == "implicit" else 587
        return cls(host=host.strip("[]"), port=int(port) if port else default, **more)  # type: ignore[arg-type]

    def check(self) -> None:
        """Refuse what would send a report or a password in the clear over a network."""
        if self.tls == "none" and not _is_loopback(self.host):
            raise InputError(f"--tls none is for a server on this machine only, not for {self.host}")
        if self.user and self.tls == "none":
            raise InputError("--smtp-user needs TLS: a password isn't sent in the clear")
        if self.user and self.password_file is None:
            raise InputError("--smtp-user needs --smtp-password-file, a file that holds the password")

    def password(self) -> str:
        """The password of `password_file`."""
        assert self.password_file is not None
        try:
            return self.password_file.read_text("utf-8").strip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"--smtp-password-file {self.password_file}: can't be read ({error.__class__.__name__})"
            ) from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in {"localhost", "localhost.localdomain"}


def check_address(text: str) -> str:
    """A mail address, or InputError; nothing in it can add a header or a recipient."""
    if not _ADDRESS.fullmatch(text) or parseaddr(text)[1] != text or len(text) > 254:
        raise InputError(f"{text[:80]!r} is no mail address: expected one such as ops@example.org")
    return text


@dataclass(frozen=True, slots=True)
class Letter:
    """A message but for its recipient."""

    sender: str
    subject: str
    text: str
    html: str | None = None
    picture: bytes | None = None
    picture_id: str = "chart"
    attachments: Sequence[Path] = ()
    thread: str = ""

    def to(self, recipient: str) -> EmailMessage:
        """The message for a recipient; its id is stable, so that a copy of it threads with the first."""
        message = EmailMessage()
        message["From"], message["To"] = self.sender, recipient
        message["Subject"] = " ".join(self.subject.split())
        domain = self.sender.rpartition("@")[2]
        digest = hashlib.sha256(f"{self.thread}\n{recipient}".encode()).hexdigest()[:32]
        message["Message-ID"] = f"<{digest}@{domain}>"
        message["List-Id"] = f"poolscope reports <reports.poolscope.{domain}>"
        message["Auto-Submitted"] = "auto-generated"
        kept = [path for path in self.attachments if path.stat().st_size <= LARGEST]
        left = [path.name for path in self.attachments if path not in kept]
        message.set_content(self.text + (f"\nToo large for a mail: {', '.join(left)}\n" if left else ""))
        if self.html is not None:
            message.add_alternative(self.html, subtype="html")
            part = message.get_payload()[-1]  # type: ignore[index]
            if self.picture is not None and isinstance(part, EmailMessage):
                part.add_related(
                    self.picture,
                    maintype="image",
                    subtype="png",
                    cid=f"<{self.picture_id}>",
                    filename="chart.png",
                    disposition="inline",
                )
        for path in kept:
            kind, _, sub = _TYPES.get(path.suffix, "application/octet-stream").partition("/")
            message.add_attachment(path.read_bytes(), maintype=kind, subtype=sub, filename=path.name)
        return message


_TYPES = {
    ".pdf": "application/pdf",
    ".html": "text/html",
    ".csv": "text/csv",
    ".md": "text/markdown",
    ".zip": "application/zip",
}


def send(server: Server, message: EmailMessage) -> None:
    """Hand a message over; when this returns, the server has taken it.

    Raises
    ------
    SourceError : the server can't be reached, has no TLS, or refuses
    """
    server.check()
    context = ssl.create_default_context(cafile=str(server.ca_file) if server.ca_file else None)
    place = f"mail server {server.host}:{server.port}"
    try:
        with _session(server, context) as session:
            if server.tls == "starttls":
                session.starttls(context=context)
            if server.user:
                session.login(server.user, server.password())
            session.send_message(message)
    except smtplib.SMTPNotSupportedError as error:
        raise SourceError(f"{place} doesn't offer what is asked ({error}); name another, or --tls") from error
    except smtplib.SMTPAuthenticationError as error:
        raise SourceError(f"{place} refuses --smtp-user {server.user}: {_said(error)}") from error
    except smtplib.SMTPRecipientsRefused as error:
        why = "; ".join(_text(reply[1]) for reply in error.recipients.values())
        raise SourceError(f"{place} refuses {', '.join(error.recipients)}: {why}") from error
    except ssl.SSLError as error:
        raise SourceError(
            f"{place}: its TLS certificate or protocol isn't accepted ({error.reason or error})"
        ) from error
    except smtplib.SMTPException as error:
        raise SourceError(f"{place} refuses: {_said(error)}") from error
    except OSError as error:
        raise SourceError(
            f"{place} can't be reached ({error.strerror or error}); nothing was sent to {message['To']}"
        ) from error


def _session(server: Server, context: ssl.SSLContext) -> smtplib.SMTP:
    if server.tls == "implicit":
        return smtplib.SMTP_SSL(server.host, server.port, timeout=TIMEOUT_S, context=context)
    return smtplib.SMTP(server.host, server.port, timeout=TIMEOUT_S)


def _said(error: smtplib.SMTPException) -> str:
    return _text(error.smtp_error) if isinstance(error, smtplib.SMTPResponseException) else str(error)


def _text(reply: bytes | str) -> str:
    return reply.decode(errors="replace") if isinstance(reply, bytes) else str(reply)
