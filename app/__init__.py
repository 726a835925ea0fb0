"""The job service: jobs (pure domain), handlers, engine, HTTP and command line."""
