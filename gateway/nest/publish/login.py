"""Where the broker is, how it is reached, and what to tell the operator when it cannot be."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import ipaddress
import os
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from nest.errors import UserError
from nest.i18n import tr
from nest.publish import mqtt_wire

TIMEOUT_S = 10.0  # for name, connection, TLS and login together
_PORTS = {"mqtt": 1883, "mqtts": 8883}

_PAHO_CODES = {132: 1, 133: 2, 136: 3, 134: 4, 135: 5}  # it says it in MQTT 5's numbers
_WRONG_NAME = {62, 64}  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
_WRONG_TIME = {9, 10}  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED


@dataclasses.dataclass(frozen=True, slots=True)
class Broker:
    """Where the broker is. The password is never printed.

    `ca_file`: PEM of the authority that signed its certificate, None: those this computer trusts.
    """

    host: str
    port: int
    tls: bool = False
    username: str | None = None
    password: str | None = dataclasses.field(default=None, repr=False)
    ca_file: Path | None = None

    @classmethod
    def from_url(cls, url: str, ca_file: Path | None = None) -> Broker:
        """`mqtt://[user[:password]@]host[:port]` or `mqtts://…`, as `town.toml` has already checked it."""
        parts = urlsplit(url)
        return cls(
            host=parts.hostname or "",
            port=parts.port or _PORTS[parts.scheme],
            tls=parts.scheme == "mqtts",
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password is not None else None,
            ca_file=ca_file,
        )


class RefusedError(Exception):
    """The broker answered CONNECT with a return code other than 0 (a key of `mqtt_wire.REFUSALS`)."""

    def __init__(self, code: int) -> None:
        super().__init__(mqtt_wire.REFUSALS.get(code, str(code)))
        self.code = code


def tls_context(broker: Broker) -> ssl.SSLContext | None:
    """TLS that checks certificate and host name; None: the broker is spoken to without.

    Raises UserError: `ca_file` cannot be read or holds no certificate.
    """
    if not broker.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=broker.ca_file)
    except OSError as error:  # SSLError is one
        reason = error.strerror if error.errno and not isinstance(error, ssl.SSLError) else tr("no PEM file")
        raise UserError(
            tr("{path} holds no certificate that can be used ({reason}).", path=broker.ca_file, reason=reason),
            tr("Put the PEM file there, or correct ca_file under [mqtt] in town.toml."),
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def in_words(broker: Broker, error: BaseException) -> UserError:
    """What to tell the operator about why there is no connection. Never holds the password."""
    where = {"host": broker.host, "port": broker.port}
    if isinstance(error, UserError):
        return error
    if isinstance(error, RefusedError):
        return _refused(broker, error.code, where)
    if isinstance(error, ssl.SSLCertVerificationError):
        return _bad_certificate(error, where)
    if isinstance(error, ssl.SSLError):
        return UserError(
            tr("No TLS with the MQTT broker {host}:{port} ({reason}).", **where, reason=error.reason or error),
            tr("Correct url under [mqtt] in town.toml: mqtts:// is for a port with TLS, often 8883, mqtt:// is not."),
        )
    if isinstance(error, mqtt_wire.ProtocolError):
        return UserError(
            tr("What answers at {host}:{port} does not speak MQTT 3.1.1 ({reason}).", **where, reason=error),
            tr("Correct url under [mqtt] in town.toml."),
        )
    return UserError(
        tr("The MQTT broker {host}:{port} is away ({trouble}).", **where, trouble=_trouble(error)),
        tr("Start it, or correct url under [mqtt] in town.toml. The nest keeps every reading and connects by itself."),
    )


async def addresses(broker: Broker) -> list[str]:
    """The IP addresses of the broker's host, in the system's order. Raises OSError: there are none.

    The system's resolver can hang for minutes and cannot be cancelled: it runs in a daemon thread that nobody waits
    for at the end of the program.
    """
    with contextlib.suppress(ValueError):
        return [str(ipaddress.ip_address(broker.host))]
    found = await in_thread(lambda: socket.getaddrinfo(broker.host, broker.port, type=socket.SOCK_STREAM))
    return list(dict.fromkeys(entry[4][0] for entry in found))


async def in_thread(work: Callable[[], Any]) -> Any:
    """What `work` returns or raises. Cancelled or late, it is left alone to end by itself."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()

    def finish(result: Any, error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except Exception as caught:
            error = caught
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody asks any more
            loop.call_soon_threadsafe(finish, result, error)

    threading.Thread(target=run, daemon=True, name="mqtt").start()
    return await done


async def check_broker(broker: Broker) -> None:
    """Log in as the nest would and out again. Raises UserError: what is wrong, and the next step."""
    try:
        context = tls_context(broker)
        async with asyncio.timeout(TIMEOUT_S):
            await in_thread(lambda: _log_in(broker, context))
    except (OSError, ValueError, RefusedError) as error:  # TimeoutError is an OSError
        raise in_words(broker, error) from None


def _log_in(broker: Broker, context: ssl.SSLContext | None) -> None:
    """With a client that is not ours: should ours be wrong, this one says so."""
    from paho.mqtt.client import Client, MQTTv311
    from paho.mqtt.enums import CallbackAPIVersion

    answers: list[int] = []
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv311)
    client.on_connect = lambda *arguments: answers.append(arguments[3].value)
    client.connect_timeout = TIMEOUT_S
    if context is not None:
        client.tls_set_context(context)
    if broker.username is not None:
        client.username_pw_set(broker.username, broker.password)
    client.connect(broker.host, broker.port, keepalive=int(TIMEOUT_S))
    while not answers:
        if client.loop(timeout=0.2) and not answers:
            raise ConnectionError(tr("it closed the connection"))
    client.disconnect()
    if answers[0]:
        raise RefusedError(_PAHO_CODES.get(answers[0], answers[0]))


def _refused(broker: Broker, code: int, where: dict[str, Any]) -> UserError:
    if code not in (mqtt_wire.BAD_LOGIN, mqtt_wire.NOT_AUTHORISED):
        reason = mqtt_wire.REFUSALS.get(code, code)
        return UserError(
            tr("The MQTT broker {host}:{port} refuses the connection ({reason}).", **where, reason=reason),
            tr("Look into the broker's log. The nest keeps every reading and tries again by itself."),
        )
    if broker.username is None:
        what = tr("The MQTT broker {host}:{port} lets nobody in without a user name and a password.", **where)
    else:
        what = tr("The MQTT broker {host}:{port} refuses this user name and password.", **where)
    return UserError(what, tr("Correct url under [mqtt] in town.toml: mqtts://user:password@host"))


def _bad_certificate(error: ssl.SSLCertVerificationError, where: dict[str, Any]) -> UserError:
    if error.verify_code in _WRONG_NAME:
        return UserError(
            tr("The MQTT broker {host}:{port} shows a certificate for another name.", **where),
            tr("Write that name into url under [mqtt] in town.toml, or give the broker a certificate for this one."),
        )
    if error.verify_code in _WRONG_TIME:
        return UserError(
            tr("The certificate of the MQTT broker {host}:{port} has run out or is not valid yet.", **where),
            tr("Renew it, and look whether this computer's date is right."),
        )
    return UserError(
        tr("Nobody whom this computer trusts has signed the certificate of the MQTT broker {host}:{port} ({reason}).",
           **where, reason=error.verify_message),
        tr("Put the certificate of whoever signed it into the town's folder and name it: ca_file under [mqtt]."),
    )  # fmt: skip


def _trouble(error: BaseException) -> str:
    """The system's words, without numbers of errors and addresses."""
    if isinstance(error, socket.gaierror):
        return error.strerror or str(error)
    if isinstance(error, TimeoutError) and not error.errno:
        return tr("no answer within {seconds} s", seconds=int(TIMEOUT_S))
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    if isinstance(error, ConnectionError):
        return str(error) or tr("it closed the connection")
    return str(error) or type(error).__name__
