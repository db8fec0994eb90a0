"""The target of a form: an action, and the subjects that were picked, or all that match a filter."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import Http404, HttpRequest, QueryDict

from ..core.statuses import Action
from ..operations import subjects, work_queue
from ..operations.operation import Operation
from ..operations.subject import Filter
from ..operations.work_queue import Group
from .buttons import SubjectKind, back_to, may_act


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The chosen action and subjects, without the kinds this user may not act on.

    Attributes:
        picks: kind, primary key and version token of each picked subject.
        meant: a filter; all subjects that match it, instead of picks.
        kinds: the chosen kinds, each with its operation.
        back: address of the page the user came from.
    """

    action: Action
    picks: tuple[tuple[str, str, str], ...]
    meant: Filter | None
    kinds: tuple[tuple[SubjectKind, Operation[Any]], ...]
    back: str

    @classmethod
    def of(cls, request: HttpRequest, query: QueryDict) -> "Choice":
        """Return the choice that a query string describes, as far as the user may act on it.

        Raises:
            Http404: there is no such action.
            PermissionDenied: the user may not act on a picked kind, or on any kind that the filter matches.
        """
        try:
            action = Action(query.get("action", ""))
        except ValueError:
            raise Http404 from None
        meant = Filter.of(query) if query.get("all") else None
        picks = () if meant is not None else tuple(pick for text in query.getlist("pick") if (pick := _pick(text)))
        chosen = {kind.kind for kind in work_queue.kinds()} if meant is not None else {kind for kind, _, _ in picks}
        kinds = [(kind, operation) for kind, operation in subjects.with_action(action) if kind.kind in chosen]
        allowed = tuple((kind, operation) for kind, operation in kinds if may_act(request, kind))
        may_act_at_all = any(may_act(request, kind) for kind in subjects.KINDS.values())
        # A filter is narrowed to the kinds the user may act on; picks are refused if one of them is not allowed.
        if not may_act_at_all or (len(allowed) < len(kinds) if meant is None else not allowed):
            raise PermissionDenied
        back = back_to(request, query.get("back", ""), otherwise="admin:sagas_queue")
        return cls(action=action, picks=picks, meant=meant, kinds=allowed, back=back)

    @property
    def names(self) -> set[str]:
        return {kind.kind for kind, _ in self.kinds}

    @property
    def is_one(self) -> bool:
        return self.meant is None and len(self.picks) == 1

    def asks_for(self, what: str) -> bool:
        """Say whether the form needs a field: `wants_result` or `wants_range` of an operation."""
        return any(getattr(operation, what) for _, operation in self.kinds)

    def warning(self, unanswered: int) -> str:
        return next((said for _, operation in self.kinds if (said := operation.warning(unanswered))), "")

    def picked(self) -> list[Model]:
        return subjects.fetch([(kind, pk) for kind, pk, _ in self.picks if kind in self.names])

    def rows(self) -> Iterator[Model]:
        return iter(self.picked()) if self.meant is None else work_queue.every(self.meant, self.names)

    def groups(self) -> list[Group]:
        return [] if self.meant is None else work_queue.groups(self.meant, self.names)

    def version_tokens(self) -> dict[tuple[str, str], str]:
        return {(kind, pk): token for kind, pk, token in self.picks}


def _pick(text: str) -> tuple[str, str, str] | None:
    """Read a pick as `Summary.pick` writes it; None if the text is not a pick."""
    kind, _, rest = text.partition(":")
    # From the right: a version token holds no "@", a name may.
    pk, _, token = rest.rpartition("@")
    if kind not in subjects.KINDS or not subjects.KINDS[kind].is_pk(pk):
        return None
    return kind, pk, token.replace("\x00", "")
