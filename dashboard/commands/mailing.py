"""The options that say how mail leaves: shared by report and alert."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

NAMES = ("sender", "smtp", "tls", "smtp_user", "smtp_password_file", "smtp_ca")


def mailing(command: Command) -> Command:
    """Add --from, --smtp, --tls, --smtp-user, --smtp-password-file, --smtp-ca."""
    for option in reversed(
        (
            click.option("--from", "sender", default="poolscope@localhost", show_default=True, envvar="POOLSCOPE_FROM", help="The sender."),
            click.option("--smtp", default="127.0.0.1:25", show_default=True, envvar="POOLSCOPE_SMTP", help="HOST[:PORT] of the mail server."),
            click.option("--tls", type=click.Choice(["starttls", "implicit", "none"]), default="starttls", show_default=True,
                         envvar="POOLSCOPE_SMTP_TLS", help="none only for a server on this machine."),
            click.option("--smtp-user", envvar="POOLSCOPE_SMTP_USER", help="The account on the mail server."),
            click.option("--smtp-password-file", type=click.Path(path_type=Path), envvar="POOLSCOPE_SMTP_PASSWORD_FILE",
                         help="Holds its password."),
            click.option("--smtp-ca", type=click.Path(path_type=Path), envvar="POOLSCOPE_SMTP_CA",
                         help="Certificates to trust instead of the system's."),
        )
    ):  # fmt: skip
        command = option(command)
    return command


def server(said: dict[str, Any]) -> Any:
    """The mail server that these options name."""
    from dashboard.reports.mail import Server

    return Server.parse(
        said["smtp"],
        tls=said["tls"],
        user=said["smtp_user"],
        password_file=said["smtp_password_file"],
        ca_file=said["smtp_ca"],
    )
