"""The verdict: pure functions from what was asked and what stands to what is wrong, one sentence each."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from .asking import CONFIRMED, PRICE_MINOR, Answers, Ask
from .facts import Facts, OrderFacts

#: Kind of mail by the status of the order.
_KINDS = {"confirmed": "order_confirmed", "rejected": "order_rejected"}


@dataclass(kw_only=True)
class Finding:
    """One promise, how many things were held against it, and what broke it."""

    promise: str
    checked: int = 0
    breaches: list[str] = field(default_factory=list)


def judge(*, asked: Sequence[Ask], answers: Answers, facts: Facts, stock: Mapping[str, int]) -> list[Finding]:
    """Hold what stands against what was asked for.

    Args:
        stock: SKU → pieces there were at the start.
    """
    ask_of = {ask.key: ask for ask in asked}
    known = [(ask_of[order.key], order) for order in facts.orders if order.key in ask_of]
    about_orders: list[tuple[str, Callable[[Ask, OrderFacts], Iterable[str]]]] = [
        ("every order ends, as it should", _ended),
        ("nobody is charged twice, or for nothing", _charged),
        ("nothing is shipped unpaid, and what is paid is shipped", _shipped),
        ("every customer is told once, and what is true", _told),
    ]
    findings = [Finding(promise="every order asked for is there, once", checked=len(asked))]
    findings[0].breaches += _missing_or_doubled(asked, answers, facts)
    for promise, check in about_orders:
        finding = Finding(promise=promise, checked=len(known))
        for ask, order in known:
            finding.breaches += [f"{order}: {what}" for what in check(ask, order)]
        findings.append(finding)
    findings.append(
        Finding(
            promise="the stock adds up, and is never below zero", checked=len(stock), breaches=[*_stock(facts, stock)]
        )
    )
    credit = [
        f"credit of {who}: {was} held, its orders hold {of}" for who, (was, of) in facts.credit.items() if was != of
    ]
    findings.append(Finding(promise="the credit adds up", checked=len(facts.credit), breaches=credit))
    findings.append(
        Finding(promise="nothing is left over", checked=len(facts.orders), breaches=facts.strays + facts.left_over)
    )
    return findings


def _missing_or_doubled(asked: Sequence[Ask], answers: Answers, facts: Facts) -> Iterator[str]:
    stands: dict[str, list[OrderFacts]] = defaultdict(list)
    for order in facts.orders:
        stands[order.key].append(order)
    for ask in asked:
        told, orders = answers.order_ids.get(ask.key), stands.pop(ask.key, [])
        if ask.key in answers.refused:
            yield f"{ask.key}: answered {answers.refused[ask.key]}"
        elif told is None:
            yield f"{ask.key}: never answered"
        if len(orders) != 1:
            yield f"{ask.key}: {len(orders)} orders, answered {told}"
        elif told not in (None, str(orders[0].id)):
            yield f"{ask.key}: answered {told}, there is {orders[0].id}"
        for order in orders:
            total_minor = PRICE_MINOR * sum(ask.quantities.values())
            wanted = (ask.quantities, ask.method, ask.email, total_minor)
            if (stands_for := (order.lines, order.method, order.email, order.total_minor)) != wanted:
                yield f"{order}: {wanted} was asked for, {stands_for} stands there"
    for order in (order for orders in stands.values() for order in orders):
        yield f"{order}: nobody asked for it"


def _ended(ask: Ask, order: OrderFacts) -> Iterator[str]:
    outcome = _outcome(order)
    if order.status not in _KINDS:
        yield f"is {order.status}"
    elif outcome not in ask.outcomes and not (order.status == "rejected" and "*" in ask.outcomes):
        yield f"became {outcome} ({order.reason}) and should be {' or '.join(sorted(ask.outcomes))}"
    if order.reactions:
        yield from _ended_among_themselves(order)
        return
    expected = "completed" if order.status == "confirmed" else "undone"
    if [status for status, _ in order.runs] != [expected]:
        yield f"is {order.status}, its runs are {order.runs}"


def _ended_among_themselves(order: OrderFacts) -> Iterator[str]:
    if order.runs:
        yield f"was choreographed, and has runs: {order.runs}"
    gave_up = [name for name, status, _ in order.reactions if status == "failed"]
    if len(gave_up) != (order.status == "rejected"):
        yield f"is {order.status}, {gave_up} gave up"
    if [name for name, *_ in order.reactions].count("start-fulfil-order") != 1:
        yield f"was begun by {order.reactions}"


def _outcome(order: OrderFacts) -> str:
    """Return `confirmed`, or the name of the error it was rejected for."""
    if order.status == "confirmed":
        return CONFIRMED
    failed = [failure["error"] for _, failure in order.runs if failure]
    failed += [error.partition(":")[0] for _, status, error in order.reactions if status == "failed"]
    return ", ".join(failed) or order.status


def _charged(_: Ask, order: OrderFacts) -> Iterator[str]:
    paid = order.status == "confirmed"
    by_card = paid and order.method != "invoice"
    charged = [amount for status, amount in order.charges if status == "charged"]
    if charged != [order.total_minor] * by_card:
        yield f"is {order.status}, costs {order.total_minor}, was charged {charged}"
    captured = [amount for status, amount, _ in order.payments if status == "captured"]
    if captured != charged:
        yield f"was charged {charged}, our books say {captured}"
    refunds = [status for status, _ in order.charges].count("refunded")
    if refunds != [status for status, *_ in order.payments].count("refunded"):
        yield f"{refunds} refunds, our books say {order.payments}"
    if paid and refunds:
        yield "was refunded, though it is confirmed"
    held = [amount for status, amount, _ in order.holds if status == "held"]
    if held != [order.total_minor] * (paid and not by_card):
        yield f"is {order.status}, costs {order.total_minor}, holds credit of {held}"


def _shipped(_: Ask, order: OrderFacts) -> Iterator[str]:
    if len(order.parcels) != (order.status == "confirmed"):
        yield f"is {order.status}, {len(order.parcels)} parcels left"
    paid_at = [at for status, _, at in (*order.payments, *order.holds) if status in ("captured", "held")]
    for number, booked_at in order.parcels:
        if not paid_at or booked_at < min(paid_at):
            yield f"parcel {number} left at {booked_at}, paid at {paid_at}"
    shipped = Counter({sku: quantity for sku, quantity, status in order.reservations if status == "shipped"})
    if shipped != Counter(order.lines if order.parcels else {}):
        yield f"{order.lines} ordered, {dict(shipped)} shipped"
    if len({sku for sku, *_ in order.reservations}) != len(order.reservations):
        yield f"reserved twice: {order.reservations}"


def _told(_: Ask, order: OrderFacts) -> Iterator[str]:
    wanted = [_KINDS[order.status]] if order.status in _KINDS else []
    if [mail.kind for mail in order.mails] != wanted:
        yield f"is {order.status}, was told {[mail.kind for mail in order.mails]}"
    if order.notifications != [(kind, "sent") for kind in wanted]:
        yield f"is {order.status}, notifications are {order.notifications}"
    words = [order.reason] if order.status == "rejected" else [number for number, _ in order.parcels]
    for mail in order.mails:
        if mail.to != order.email:
            yield f"told {mail.to} instead of {order.email}"
        missing = [word for word in (order.number, *words) if word not in " ".join(mail.text.split())]
        if missing:
            yield f"the mail does not say {missing}"


def _stock(facts: Facts, stock: Mapping[str, int]) -> Iterator[str]:
    shipped, held = Counter[str](), Counter[str]()
    for order in facts.orders:
        for sku, quantity, status in order.reservations:
            shipped[sku] += quantity * (status == "shipped")
            held[sku] += quantity * (status == "held")
    for sku in {*stock, *facts.stock}:
        on_hand, reserved = facts.stock.get(sku, (0, 0))
        if min(on_hand, reserved, on_hand - reserved) < 0:
            yield f"{sku}: {on_hand} on hand, {reserved} reserved"
        if on_hand != stock.get(sku, 0) - shipped[sku]:
            yield f"{sku}: of {stock.get(sku, 0)} were shipped {shipped[sku]}, there are {on_hand}"
        if reserved != held[sku]:
            yield f"{sku}: {reserved} reserved, orders hold {held[sku]}"
        if held[sku]:
            yield f"{sku}: {held[sku]} still held"
