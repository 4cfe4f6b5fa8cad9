"""Pictures of boards, for people and for tests: by Grafana's front-end packages, in a browser.

A development tool: the packages are installed by npm into a checkout, none is part of the wheel.
"""
