"""What the command line shows a collector that asks who it is, and how it knows the collector.

A token is never an argument, because everybody on a machine sees the arguments of a process: it is
in a file, in ``WATTSHED_TOKEN``, or, for whoever owns the data folder, in there.
"""

from __future__ import annotations

import argparse
import getpass
import os
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wattshed_collector import address
from wattshed_collector.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Key:
    """``certificate`` is the collector's own, whatever name it has; ``ca_file`` an authority."""

    token: str = field(default="", repr=False)
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    certificate: str = ""

    def context(self) -> ssl.SSLContext:
        """Return how to speak https. Raises InvalidInput where a file cannot be used."""
        try:
            made = ssl.create_default_context(cafile=self.ca_file or None)
            if self.certificate and not self.ca_file:
                made = ssl.create_default_context(cafile=self.certificate)
                made.check_hostname = False
                made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            if self.cert_file:
                made.load_cert_chain(self.cert_file, self.key_file or None)
        except OSError as error:
            said = getattr(error, "reason", None) or error.strerror
            raise InvalidInput(f"the certificates cannot be used: {said}", "tls") from error
        return made


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add what is shown to a collector that asks for it."""
    command.add_argument(
        "--token-file",
        default=os.environ.get("WATTSHED_TOKEN_FILE", ""),
        metavar="FILE",
        help="file with a token for the collector [WATTSHED_TOKEN_FILE; or WATTSHED_TOKEN]",
    )
    command.add_argument(
        "--ca-file",
        default=os.environ.get("WATTSHED_CA_FILE", ""),
        metavar="FILE",
        help="authority of the collector's certificate [WATTSHED_CA_FILE]",
    )
    command.add_argument("--cert-file", default="", metavar="FILE", help="our own certificate")
    command.add_argument("--key-file", default="", metavar="FILE", help="its key")


def key(arguments: argparse.Namespace, url: str) -> Key:
    """Return what to show the collector at ``url``.

    Raises:
        InvalidInput: the file of the token cannot be read.
    """
    token = _token(arguments.token_file)
    left, certificate = address.key(Path(arguments.data), url)
    return Key(
        token or left, arguments.ca_file, arguments.cert_file, arguments.key_file, certificate
    )


def from_environment(environ: Mapping[str, str] = os.environ) -> Key:
    """Return what the environment alone says."""
    return Key(
        _token(environ.get("WATTSHED_TOKEN_FILE", ""), environ), environ.get("WATTSHED_CA_FILE", "")
    )


def user(name: Callable[[], str] = getpass.getuser) -> str:
    """Return what the system calls whoever runs this, "" where it has no name for them."""
    try:
        return name()
    except (OSError, KeyError, ImportError):  # a container's user of whom no passwd knows
        return ""


def _token(file: str, environ: Mapping[str, str] = os.environ) -> str:
    try:
        text = Path(file).read_text(encoding="ascii") if file else environ.get("WATTSHED_TOKEN", "")
    except OSError as error:
        raise InvalidInput(f"{file}: holds no token: {error.strerror}", "token") from error
    except ValueError:
        text = "no token"
    token = text.strip()
    # What it holds instead may be a secret as well.
    if not re.fullmatch(r"[!-~]+" if file else r"[!-~]*", token):
        raise InvalidInput(f"{file or 'WATTSHED_TOKEN'}: holds no token: it is one word", "token")
    return token
