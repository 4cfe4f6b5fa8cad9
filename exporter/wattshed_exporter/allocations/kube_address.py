"""Where the Kubernetes API answers a program in a pod, told without loading HTTP or TLS."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def address(api: str, credentials: Path, environ: Mapping[str, str]) -> str:
    """Return the URL of the API server: what is set, else the cluster's, "" where there is none.

    In a pod the environment names the service; without a token it is not asked. Source: "Accessing
    the API from a Pod" of Kubernetes' documentation.
    """
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT")
    if api or not host or not (credentials / "token").exists():
        return api.rstrip("/")
    return f"https://{f'[{host}]' if ':' in host else host}:{port or 443}"
