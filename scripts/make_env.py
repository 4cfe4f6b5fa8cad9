"""Write what docker-compose.yml needs and nobody should choose: ``.env`` and ``compose/secrets``.

What is there already is kept, so that it may be run again at any time. ``.env`` holds no secret.
The folder of secrets is its owner's alone (0700); the files in it can be read by the owner's group,
because containers, whose users are not the owner, are given that group. It needs Python alone.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import secrets
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

TOKENS: Mapping[str, str] = {
    "exporter": "ingest",
    "prometheus": "metrics",
    "grafana": "read",
    "reader": "read",
    "admin": "admin",
}
"""Who has a token of the collector, and its role; ``reader`` and ``admin`` are people."""
PASSWORDS = (
    "clickhouse-admin",
    "clickhouse-collector",
    "clickhouse-migrate",
    "clickhouse-grafana",
    "grafana-admin",
)
METERS = {
    "gpu": ("proc/driver/nvidia/version",),
    "node": (
        "sys/class/powercap/*/energy_uj",
        "sys/class/hwmon/*/power*_average",
        "sys/class/hwmon/*/power*_input",
        "sys/class/power_supply/BAT*/power_now",
        "sys/class/power_supply/BAT*/current_now",
    ),
}
"""Files that say that this machine has a meter, and the profile that reads it."""
NODE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
NEEDED = ("COMPOSE_PROFILES", "WATTSHED_NODE", "WATTSHED_GID")
"""What docker-compose.yml starts nothing without."""
PREFIX = "wsd_"
"""As tokens of `wattshed token new` begin."""

SECURITY = """\
# Who may do what at the collector; see docs/SECURITY.md. Changes count while it runs.
tokens:
{tokens}"""
ADMINISTRATOR = """\
<clickhouse>
    <users>
        <default remove="remove"/>
        <wattshed_admin>
            <password_sha256_hex>{digest}</password_sha256_hex>
            <networks><ip>::/0</ip></networks>
            <profile>default</profile>
            <quota>default</quota>
            <access_management>1</access_management>
        </wattshed_admin>
    </users>
</clickhouse>
"""
ENVIRONMENT = """\
# Written by `make env`, read by `docker compose`; yours to change. Secrets are in compose/secrets.

# One of server (ClickHouse) and embedded (no server), one of node and gpu (NVIDIA), and, as you
# like, alerting (Prometheus, Alertmanager) and demo (a simulated fleet).
COMPOSE_PROFILES={profiles}

# Name of this machine.
WATTSHED_NODE={node}
# Group of the files in compose/secrets, which containers are given. Rootless Docker needs 0.
WATTSHED_GID={gid}
# webhook sends alerts to the URL in compose/secrets/alert-webhook.url; quiet shows them only.
WATTSHED_ALERTS={alerts}
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Write what is missing, and say what was written and what was kept."""
    arguments = _parser().parse_args(argv)
    root, folder = arguments.root, arguments.root / "compose/secrets"
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    meter = meters(arguments.host)
    profiles = _profiles(arguments, meter)
    for name, text in _files(folder, arguments.webhook).items():
        _write(root, folder / name, text, 0o640)
    alerts = "webhook" if arguments.webhook else "quiet"
    environment = ENVIRONMENT.format(
        profiles=",".join(profiles), node=_node(arguments.node), gid=os.getgid(), alerts=alerts
    )
    if _write(root, root / ".env", environment, 0o600):
        print(_explained(profiles, meter))
    for problem in [*_stale(folder), *_lacking(root / ".env")]:
        print(f"make_env: {problem}", file=sys.stderr)
    return 0


def meters(host: Path) -> str:
    """Return the profile that reads the meters below a root folder, "" where there are none."""
    for profile, patterns in METERS.items():
        if any(True for pattern in patterns for _ in host.glob(pattern)):
            return profile
    return ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make env ARGS=...", description=__doc__)
    parser.add_argument("--webhook", default="", metavar="URL", help="where alerts are sent")
    parser.add_argument("--embedded", action="store_true", help="without a ClickHouse server")
    parser.add_argument("--gpu", action="store_true", help="read NVIDIA GPUs")
    parser.add_argument(
        "--demo",
        action=argparse.BooleanOptionalAction,
        help="a simulated fleet; without either where no meter is found",
    )
    parser.add_argument("--node", default=socket.gethostname(), help="name of this machine")
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1], help="the clone")
    parser.add_argument("--host", type=Path, default=Path("/"), help=argparse.SUPPRESS)
    return parser


def _profiles(arguments: argparse.Namespace, meter: str) -> list[str]:
    store = "embedded" if arguments.embedded else "server"
    exporter = "gpu" if arguments.gpu or meter == "gpu" else "node"
    shows_demo = arguments.demo if arguments.demo is not None else not meter
    return [store, exporter, "alerting", *(["demo"] if shows_demo else [])]


def _node(said: str) -> str:
    if not NODE.fullmatch(said):
        sys.exit(f"make_env: {said!r} is no name of a machine: say --node NAME")
    return said


def _files(folder: Path, webhook: str) -> dict[str, str]:
    """Return each file of secrets as it would be; what depends on another goes by what is there."""
    made = {f"{name}.token": PREFIX + secrets.token_urlsafe(32) for name in TOKENS}
    made |= {f"{name}.password": secrets.token_urlsafe(24) for name in PASSWORDS}
    there = made | {name: (folder / name).read_text() for name in made if (folder / name).exists()}
    lines = [f"  - {{name: {n}, file: {n}.token, roles: [{r}]}}\n" for n, r in TOKENS.items()]
    return made | {
        "security.yaml": SECURITY.format(tokens="".join(lines)),
        "exporter.yaml": _exporter(there["exporter.token"]),
        "clickhouse-users.xml": _administrator(there["clickhouse-admin.password"]),
        "alert-webhook.url": webhook,
    }


def _exporter(token: str) -> str:
    return f"otlp:\n  token: {token.strip()}\n"


def _administrator(password: str) -> str:
    return ADMINISTRATOR.format(digest=hashlib.sha256(password.strip().encode()).hexdigest())


def _write(root: Path, path: Path, text: str, mode: int) -> bool:
    """Write a file that is not there yet, and say so; return whether it was written."""
    shown = path.relative_to(root)
    try:
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        print(f"kept   {shown}")
        return False
    with os.fdopen(opened, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)
    print(f"wrote  {shown}")
    return True


def _explained(profiles: Sequence[str], meter: str) -> str:
    found = "a meter was found" if meter else "no power meter was found here"
    fleet = "a simulated fleet is shown" if "demo" in profiles else "no fleet is simulated"
    return (
        f"{found}: {fleet}. Profiles in .env: {', '.join(profiles)}.\n"
        "Next: docker compose up --detach --wait, then http://127.0.0.1:9740; any name, and as\n"
        "password what is in compose/secrets/reader.token."
    )


def _stale(folder: Path) -> list[str]:
    """Return what no longer fits the secret that it was made of."""
    made_of = {
        "exporter.yaml": (folder / "exporter.token").read_text().strip(),
        "clickhouse-users.xml": hashlib.sha256(
            (folder / "clickhouse-admin.password").read_text().strip().encode()
        ).hexdigest(),
    }
    return [
        f"compose/secrets/{name} was made of another secret: remove it and run make env again"
        for name, part in made_of.items()
        if part not in (folder / name).read_text()
    ]


def _lacking(environment: Path) -> list[str]:
    """Return what Compose needs and a ``.env`` that was there before does not say."""
    said = environment.read_text()
    return [
        f".env does not say {name}: write it, or move .env away and run make env again"
        for name in NEEDED
        if not re.search(rf"^\s*(export\s+)?{name}=", said, re.M)
    ]


if __name__ == "__main__":
    sys.exit(main())
