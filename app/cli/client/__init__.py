"""Commands that talk to a server by `app.client`, and `narrator exec`, which needs none.

They load no server code: a client's command has to answer at once.
"""
