"""Alerts one by one, for people and scripts: what fink-client does, as a member of the user's own group."""
