"""A PostgreSQL server of our own in a temporary folder, on a socket in it and on a port of the loopback."""

from __future__ import annotations

import contextlib
import functools
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from nest.database_url import DatabaseServer

LIMIT_S = 60.0
_PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin")


@functools.cache
def program(name: str) -> Path | None:
    """A program of PostgreSQL; Debian keeps them beside the path."""
    found = [path for place in _PLACES for path in Path("/").glob(f"{place[1:]}/{name}")]
    for path in sorted(found, key=lambda path: path.parts, reverse=True):
        return path
    there = shutil.which(name)
    return Path(there) if there else None


def user() -> tuple[int, int] | None:
    """The server does not run as root: the user and group it runs as then; None: no such user, or we are not root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            found = pwd.getpwnam(name)
            return found.pw_uid, found.pw_gid
    return None


def why_not() -> str:
    """Why there can be no server; "" where there can."""
    if program("initdb") is None or program("postgres") is None:
        return "PostgreSQL is not installed on this machine"
    if os.geteuid() == 0 and (user() is None or shutil.which("setpriv") is None):
        return "PostgreSQL does not run as root, and there is no user for it"
    return ""


needs_postgres = pytest.mark.skipif(bool(why_not()), reason=why_not() or "PostgreSQL is there")


class PostgresServer:
    """Started when it is made; `close` ends it and clears its folder away."""

    def __init__(self, *, durable: bool = False) -> None:
        """`durable`: it waits for the disk, as a town's does."""
        self.folder = Path(tempfile.mkdtemp(prefix="nest-pg-", dir="/tmp"))  # the socket's path must be short
        self._as: list[str] = []
        if (other := user()) is not None:
            os.chown(self.folder, *other)
            self._as = ["setpriv", f"--reuid={other[0]}", f"--regid={other[1]}", "--clear-groups"]
        self._options = [] if durable else ["-c", "fsync=off"]
        self._data = self.folder / "data"
        initdb = [program("initdb"), "-D", self._data, "-U", "postgres", "-A", "trust", "-E", "UTF8"]
        self._run(*initdb, "--locale=C", "--no-sync", "--no-instructions")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self.folder / "log.txt").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *self._as, str(program("postgres")), "-D", str(self._data), "-k", str(self.folder),
                    "-c", "listen_addresses=127.0.0.1", "-p", str(self.port), "-c", "max_connections=120",
                    *self._options,
                ],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        end = time.monotonic() + LIMIT_S
        while True:
            try:
                self.sql("SELECT 1")
            except Exception:
                assert self._process.poll() is None, (self.folder / "log.txt").read_text()
                assert time.monotonic() < end, (self.folder / "log.txt").read_text()
                time.sleep(0.05)
            else:
                return

    def stop(self, *, crash: bool = True) -> None:
        """End it as a power cut does, or in order."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT if crash else signal.SIGINT)
            self._process.wait(LIMIT_S)
            self._process = None

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def sql(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """What a person says to it."""
        import psycopg

        where = f"host={self.folder} port={self.port} user=postgres dbname={database} connect_timeout=5"
        with psycopg.connect(where, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def database(self, name: str = "") -> DatabaseServer:
        """A new, empty database."""
        name = name or f"town_{secrets.token_hex(6)}"
        self.sql(f"CREATE DATABASE {name}")
        return self.at(name)

    def at(self, name: str, who: str = "postgres") -> DatabaseServer:
        return DatabaseServer(f"postgresql://{who}@/{name}?host={self.folder}&port={self.port}")

    def drop(self, server: DatabaseServer) -> None:
        name = server.url.partition("@/")[2].partition("?")[0]
        self.sql(f"DROP DATABASE {name} WITH (FORCE)")

    def _run(self, *command: object) -> None:
        done = subprocess.run([*self._as, *map(str, command)], capture_output=True, text=True, check=False, cwd="/")
        assert done.returncode == 0, done.stderr
