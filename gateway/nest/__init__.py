"""The nest: hears a town's nodes, keeps every reading, and shows it to citizens."""

__version__ = "0.1.0"
