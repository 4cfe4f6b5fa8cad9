"""What the collector answers over HTTP: the JSON API, the page, its own metrics and health."""
