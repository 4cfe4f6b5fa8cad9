"""TLS as a web configuration file asks for it; imported only where one does."""

from __future__ import annotations

import ipaddress
import ssl

from wattshed_exporter.errors import ConfigError

from .file import Tls

VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
VERIFY = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}


def build(tls: Tls) -> ssl.SSLContext:
    """Return what a server needs to speak TLS.

    Raises:
        ConfigError: where a file is absent, is no certificate or key, or two do not fit.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = VERSIONS[tls.min_version]
    context.maximum_version = VERSIONS[tls.max_version]
    problems = [*_load_key(context, tls), *_load_clients(context, tls), *_choose(context, tls)]
    if problems:
        raise ConfigError([f"tls_server_config.{problem}" for problem in problems])
    return context


def has_allowed_name(connection: ssl.SSLSocket, allowed: tuple[str, ...]) -> bool:
    """Return whether a verified client's certificate holds one of the alternative names."""
    certificate = connection.getpeercert() or {}
    names = certificate.get("subjectAltName", ())
    return any(_comparable(*name) in allowed for name in names if len(name) == 2)


def _comparable(kind: str, value: str) -> str:
    if kind != "IP Address":
        return value
    try:
        return str(ipaddress.ip_address(value.strip()))
    except ValueError:
        return value


def _load_key(context: ssl.SSLContext, tls: Tls) -> list[str]:
    for name, file in (("cert_file", tls.cert_file), ("key_file", tls.key_file)):
        try:
            file.read_bytes()
        except OSError as error:
            return [f"{name}: {file}: cannot be read: {error.strerror}"]
    try:
        # A key that is encrypted would be asked for on the terminal.
        context.load_cert_chain(tls.cert_file, tls.key_file, password=_no_password)
    except ssl.SSLError as error:
        said = error.reason or "are not a certificate and its key"
    except ValueError as error:
        said = str(error)
    else:
        return []
    return [f"cert_file: {tls.cert_file} and {tls.key_file}: {said}"]


def _no_password() -> str:
    raise ValueError("the key is encrypted")


def _load_clients(context: ssl.SSLContext, tls: Tls) -> list[str]:
    context.verify_mode = VERIFY[tls.client_auth_type]
    if context.verify_mode == ssl.CERT_NONE:
        return []
    if tls.client_ca_file is None:
        context.load_default_certs(ssl.Purpose.CLIENT_AUTH)
        return []
    try:
        context.load_verify_locations(tls.client_ca_file)
    except OSError as error:
        said = getattr(error, "reason", None) or error.strerror
        return [f"client_ca_file: {tls.client_ca_file}: {said}"]
    return []


def _choose(context: ssl.SSLContext, tls: Tls) -> list[str]:
    if tls.prefer_server_cipher_suites:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    else:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    try:
        if tls.cipher_suites:
            context.set_ciphers(":".join(tls.cipher_suites))
        if tls.curve:
            context.set_ecdh_curve(tls.curve)
    except (ssl.SSLError, ValueError) as error:
        return [f"cipher_suites: OpenSSL refuses: {error}"]
    return []
