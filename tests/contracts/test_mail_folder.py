"""The folder that stands in for a mail server keeps each message once, whole, and as a mail program reads it."""

from concurrent.futures import ThreadPoolExecutor
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pytest
from django.core.mail import EmailMultiAlternatives, get_connection

from shop.platform.mail import MailFolder, file_name


@pytest.fixture
def folder(tmp_path: Path) -> MailFolder:
    return MailFolder(tmp_path / "mail")


def mail(message_id: str = "<1@shop>", body: str = "Söns") -> EmailMultiAlternatives:
    headers = {"Message-ID": message_id} if message_id else {}
    message = EmailMultiAlternatives("Your order", body, "shop@example.com", ["ada@example.com"], headers=headers)
    message.attach_alternative(f"<p>{body}</p>", "text/html")
    return message


def names(folder: MailFolder) -> list[str]:
    return sorted(path.name for path in folder.folder.iterdir())


def test_a_message_is_one_file_that_a_mail_program_reads(folder: MailFolder) -> None:
    assert folder.send_messages([mail(), mail("<2@shop>")]) == 2
    assert names(folder) == ["1@shop.eml", "2@shop.eml"]
    read = message_from_bytes((folder.folder / "1@shop.eml").read_bytes(), policy=policy.default)
    assert (read["Message-ID"], read["To"], read["Subject"]) == ("<1@shop>", "ada@example.com", "Your order")
    assert [part.get_content_type() for part in read.walk()][1:] == ["text/plain", "text/html"]
    assert isinstance(read, EmailMessage)
    body = read.get_body(("plain",))
    assert body is not None
    assert body.get_content().strip() == "Söns"


def test_a_message_that_stands_already_is_taken_and_left_as_it_is(folder: MailFolder) -> None:
    assert folder.send_messages([mail(body="first")]) == 1
    stood = (folder.folder / "1@shop.eml").read_bytes()
    assert folder.send_messages([mail(body="second")]) == 1
    assert names(folder) == ["1@shop.eml"]
    assert (folder.folder / "1@shop.eml").read_bytes() == stood


def test_one_message_sent_by_many_at_once_is_one_whole_file(folder: MailFolder) -> None:
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda number: folder.send_messages([mail(body=f"{number}" * 50_000)]), range(8)))
    assert taken == [1] * 8
    assert names(folder) == ["1@shop.eml"]
    assert (folder.folder / "1@shop.eml").stat().st_size > 100_000


def test_a_message_without_an_id_gets_one(folder: MailFolder) -> None:
    folder.send_messages([mail(""), mail("")])
    assert len(names(folder)) == 2


@pytest.mark.parametrize(
    "message_id", ["<../../etc/passwd>", "<a/b@shop>", "<.hidden@shop>", "<>", f"<{'x' * 300}@shop>"]
)
def test_an_id_that_is_no_good_name_is_hashed(folder: MailFolder, message_id: str) -> None:
    folder.send_messages([mail(message_id)])
    assert names(folder) == [file_name(message_id)]
    assert len(file_name(message_id)) == len("0" * 64 + ".eml")


def test_a_folder_that_cannot_be_written_is_an_error_or_silent_as_asked(tmp_path: Path) -> None:
    (tmp_path / "mail").write_text("in the way")
    with pytest.raises(OSError, match="mail"):
        MailFolder(tmp_path / "mail").send_messages([mail()])
    assert MailFolder(tmp_path / "mail", fail_silently=True).send_messages([mail()]) == 0


def test_django_finds_it_by_its_name(tmp_path: Path) -> None:
    connection = get_connection("shop.platform.mail.MailFolder", file_path=tmp_path)
    assert connection.send_messages([mail()]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["1@shop.eml"]
