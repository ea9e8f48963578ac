"""The web side: the citizens' page, the open-data API and the stream of events."""

from nest.web.app import create_app

__all__ = ["create_app"]
