"""The HTTP side of the exporter: a small server, TLS, basic authentication and limits.

``server`` answers requests, each connection in a thread of its own. ``file`` reads the web
configuration file that Prometheus' exporters share; ``policy`` is what it asks for, in force, and
is loaded anew when the file or a certificate changes; ``tls`` and ``auth`` are loaded only then.
"""
