"""Who may do what, and how much of it: rules, TLS, limits and tenants."""
