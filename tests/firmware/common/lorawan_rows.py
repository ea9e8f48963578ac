"""The rows of tests/vectors/lorawan.json that apply to a LoRaWAN 1.0.4 device in EU868, and why the others do not."""

# (group, name of the row): why no check uses it
NOT_APPLICABLE = {
    ("airtime", "SX1276 SF5 formula len253"): "the SX1276 has no SF5; at SF5 the formula of the SX126x is in use",
}


def rows(vectors, group):
    """The rows of a group that apply."""
    return [row for row in vectors[group] if (group, row.get("name")) not in NOT_APPLICABLE]


def find(vectors, group, start):
    """The one row of a group whose name begins with `start`."""
    found = [row for row in vectors[group] if row["name"].startswith(start)]
    assert len(found) == 1, (group, start, len(found))
    return found[0]
