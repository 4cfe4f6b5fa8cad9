"""The store: ClickHouse, embedded (chDB) or a server, through one client library."""
