"""What the exporter costs beside its peers, all started together and measured in one run."""
