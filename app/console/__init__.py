"""The web console: static files, served by `app/http/console.py`. No code of the server's."""
