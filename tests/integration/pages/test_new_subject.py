"""A new kind of thing that people retry is one class; queue, form, batches and command know nothing more of it."""

from collections.abc import Sequence
from datetime import datetime
from io import StringIO
from typing import Any, Self
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission
from django.core.management import CommandError, call_command
from django.db.models import QuerySet, Value
from django.test import Client
from django.utils import timezone

from orders.models import Product
from sagas.core.key_names import KeyLabel
from sagas.core.statuses import Action
from sagas.models import Intervention
from sagas.operations import interventions, subjects
from sagas.operations.operation import Operation
from sagas.operations.subject import Filter, Messages, NotNow, Subject
from sagas.operations.summary import Summary
from tests.factories.people import StaffFactory, browser_of

from .conftest import text_of

QUEUE, FORM = "/admin/sagas/intervention/queue/", "/admin/sagas/intervention/intervene/"


class Withdrawn(Subject[Product]):
    """A product that was withdrawn from sale."""

    kind = "product"
    plural = "Withdrawn products"
    model = Product
    read = ("sku", "active")
    tag = "withdrawn"
    option = "--product"

    @property
    def status(self) -> str:
        return "for sale" if self.row.active else "withdrawn"

    @property
    def version_token(self) -> str:
        return self.status

    def summary(self, named: KeyLabel | None, *, now: datetime) -> Summary:
        return Summary(
            kind=self.kind,
            pk=str(self.row.pk),
            process="sale",
            status=self.status,
            error="Withdrawn",
            message="Its supplier is gone.",
            since=datetime.fromisoformat("2026-01-31T14:00Z"),
            key=self.row.sku,
            version_token=self.version_token,
            actions=tuple(self.possible(now=now)),
        )

    @classmethod
    def meant(cls, meant: Filter) -> QuerySet[Product]:
        return Product.objects.filter(active=False) if meant.kind in ("", cls.kind) else Product.objects.none()

    @classmethod
    def reasons(cls) -> tuple[Any, Any, Any]:
        return Value("sale"), Value(""), Value("Withdrawn")

    @classmethod
    def since(cls) -> Any:
        return Value(timezone.now())

    @classmethod
    def lock(cls, asked: Sequence[Intervention]) -> list[Self]:
        ids = [each.subject_id for each in asked]
        return [
            cls(row) for row in Product.objects.order_by("pk").select_for_update(skip_locked=True).filter(pk__in=ids)
        ]

    @classmethod
    def save(cls, changed: Sequence[Self], *, now: datetime) -> Messages:
        Product.objects.bulk_update([each.row for each in changed], ["active"])
        return Messages()


class Offer(Operation[Withdrawn]):
    action = Action.RETRY
    description = "Offer it again."
    done = "is for sale again"

    def is_possible(self, subject: Withdrawn, *, now: datetime) -> bool:
        return not subject.row.active

    def apply(self, subject: Withdrawn, asked: Intervention, *, now: datetime) -> None:
        subject.row.active = True


Withdrawn.operations = (Offer(),)


@pytest.fixture
def withdrawn(shelves: None, monkeypatch: pytest.MonkeyPatch) -> Product:
    monkeypatch.setitem(subjects.KINDS, Withdrawn.kind, Withdrawn)
    product = Product.objects.get(sku="MUG")
    product.active = False
    product.save()
    return product


def is_for_sale() -> bool:
    return Product.objects.get(sku="MUG").active


@pytest.mark.usefixtures("withdrawn")
def test_it_stands_in_the_work_queue_and_is_retried_by_its_form(boss: Client) -> None:
    queue = boss.get(QUEUE)
    assert "MUG withdrawn sale Its supplier is gone." in text_of(queue)
    assert "Withdrawn products (1)" in text_of(queue)
    (button,) = queue.context["rows"][0].buttons
    form = boss.get(button.url)
    assert "Offer it again." in text_of(form)
    typed = {"reason": "A new supplier.", "batch": str(uuid4())} | dict(form.context["hidden"])
    sent = boss.post(FORM, typed, follow=True)
    assert [str(message) for message in sent.context["messages"]] == ["Done: sale of MUG is for sale again."]
    assert is_for_sale()
    assert "Nothing needs a person." in text_of(boss.get(QUEUE))


@pytest.mark.usefixtures("withdrawn")
def test_it_is_retried_with_all_others_that_match(boss: Client) -> None:
    form = boss.get(FORM, {"action": "retry", "all": "1", "kind": "product"})
    typed = {"reason": "A new supplier.", "batch": str(uuid4())} | dict(form.context["hidden"])
    assert "/batch/" in boss.post(FORM, typed).headers["Location"]
    assert interventions.work(now=timezone.now()).done == 1
    assert is_for_sale()


def test_a_stale_click_on_it_changes_nothing(withdrawn: Product) -> None:
    interventions.ask([withdrawn], Action.RETRY, version_tokens="for sale", reason="why", by="ada", now=timezone.now())
    assert interventions.work(now=timezone.now()).refused == 1
    assert Intervention.objects.get().outcome == "It moved on meanwhile: it is withdrawn now. Nothing was changed."
    assert not is_for_sale()


def test_an_action_it_does_not_know_is_refused(withdrawn: Product) -> None:
    with pytest.raises(NotNow, match="skip is nothing that a product has"):
        interventions.ask([withdrawn], Action.SKIP, reason="why", by="ada", now=timezone.now())
    assert not Intervention.objects.exists()
    assert not is_for_sale()


def test_the_permission_of_its_model_is_needed(boss: Client, withdrawn: Product) -> None:
    user = StaffFactory.create()
    user.user_permissions.add(Permission.objects.get(codename="view_product"))
    clerk = browser_of(user)
    assert "MUG withdrawn" in text_of(clerk.get(QUEUE))
    form = {"action": "retry", "pick": f"product:{withdrawn.pk}@withdrawn", "batch": str(uuid4()), "reason": "x"}
    assert clerk.post(FORM, form).status_code == 403
    user.user_permissions.add(Permission.objects.get(codename="change_product"))
    assert clerk.post(FORM, form).status_code == 302
    assert is_for_sale()


def test_it_is_listed_and_retried_at_the_terminal(withdrawn: Product) -> None:
    call_command("sagas", "queue", stdout=(queue := StringIO()))
    assert f"MUG: sale (product {withdrawn.pk})\n    Withdrawn: Its supplier is gone." in queue.getvalue()
    with pytest.raises(CommandError, match="There is no product '0'"):
        call_command("sagas", "retry", "--product", "0", "--reason", "why")
    call_command("sagas", "retry", "--product", str(withdrawn.pk), "--reason", "why", stdout=(out := StringIO()))
    assert out.getvalue() == "Done: sale of MUG is for sale again.\n"
    assert is_for_sale()


def test_what_was_deleted_meanwhile_is_refused_and_holds_nothing_up(withdrawn: Product) -> None:
    interventions.ask([withdrawn], Action.RETRY, reason="why", by="ada", now=timezone.now())
    Product.objects.filter(pk=withdrawn.pk).delete()
    assert interventions.work(now=timezone.now()).refused == 1
    assert Intervention.objects.get().outcome == "The product is gone."
