"""The collector's ingest beside VictoriaMetrics and Prometheus."""
