"""Assertions that say what they saw, for checks that run without pytest."""


def equal(got, want, what: object = ""):
    assert got == want, f"{what}: got {show(got)}, want {show(want)}"


def show(value):
    return bytes(value).hex() if isinstance(value, (bytes, bytearray)) else repr(value)


def some(value):
    """The value, which must not be None."""
    assert value is not None, "got None"
    return value


def raises(error, call, *arguments):
    """Call it; fail unless it raises `error`, which is returned."""
    try:
        call(*arguments)
    except error as raised:
        return raised
    raise AssertionError(f"{error.__name__} not raised")
