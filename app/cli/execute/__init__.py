"""`narrator exec`: a local command as a narrated, traced job, without a server."""
