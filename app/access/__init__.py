"""Who may use the server: keys, tenants and scopes. Knows no HTTP, no engine and no job."""
