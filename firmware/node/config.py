"""config.json: what this node is made of and how it shall behave; compiled on the host from board and sensors."""

import json

FORMAT = 1

# what must be there, and of which type; everything else is optional
_REQUIRED = (
    ("name", str),
    ("region", str),
    ("interval_s", int),
    ("safe_window_s", int),
    ("radio", dict),
    ("sensors", list),
)


class ConfigError(Exception):
    """config.json is missing or cannot be used; the text says so in plain words."""


def load(path="config.json"):
    """The configuration as a dict. Raises ConfigError."""
    try:
        with open(path) as file:
            config = json.load(file)
    except OSError:
        raise ConfigError("This node has no config.json yet.") from None
    except ValueError:
        raise ConfigError("config.json on this node is damaged.") from None
    return checked(config)


def checked(config):
    """The same configuration, when it can be used. Raises ConfigError."""
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise ConfigError(f"config.json on this node is not of format {FORMAT}, which this firmware reads.")
    for key, kind in _REQUIRED:
        if not isinstance(config.get(key), kind):
            raise ConfigError(f'config.json on this node has no usable "{key}".')
    if config["interval_s"] <= 0 or config["safe_window_s"] < 0:
        raise ConfigError("config.json on this node has an interval or a safe window below zero.")
    return config
