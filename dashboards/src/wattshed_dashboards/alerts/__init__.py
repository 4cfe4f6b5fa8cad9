"""Alerts, declared once in ``dashboards/alerts/alerts.yaml`` and compiled for two engines."""

from __future__ import annotations

from .catalogue import Alert, Catalogue, Severity, Signal, load, parse

__all__ = ["Alert", "Catalogue", "Severity", "Signal", "load", "parse"]
