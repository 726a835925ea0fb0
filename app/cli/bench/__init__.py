"""`narrator bench`: what watching costs on this machine, with an operation of the user's."""
