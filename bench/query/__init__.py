"""The collector's disk and queries beside VictoriaMetrics and Prometheus."""
