"""Boards, data source and rules in a Grafana that one cannot provision by files."""
