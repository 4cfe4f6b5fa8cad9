"""What the ledger costs and how exact it is, beside VictoriaMetrics and Prometheus in one run."""
