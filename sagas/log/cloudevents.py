"""Events as receivers get them: CloudEvents 1.0 in JSON, for every transport."""

from typing import Any

from ..core.events import StoredEvent

#: Media type of one event.
MEDIA_TYPE = "application/cloudevents+json"


def envelope(event: StoredEvent) -> dict[str, Any]:
    """Return an event of the log as a CloudEvent; the ids of its causes and its trace are extensions.

    Source: CloudEvents 1.0.2, "JSON Event Format"; its extensions "Sequence", "Partitioning", "Distributed Tracing".
    """
    context = event.type.partition(".")[0]
    extensions = {
        "causationid": "" if event.causation_id is None else str(event.causation_id),
        "traceparent": event.traceparent,
    }
    return {
        "specversion": "1.0",
        "id": str(event.id),
        "source": f"/{context}",
        "type": event.type,
        "subject": f"{event.aggregate}/{event.subject}",
        "time": event.occurred_at.isoformat(),
        "datacontenttype": "application/json",
        "dataschema": f"urn:event:{event.type}:{event.version}",
        "sequence": str(event.sequence),
        "partitionkey": event.key,
        "correlationid": str(event.correlation_id),
        **{name: value for name, value in extensions.items() if value},
        "data": event.data,
    }


#: The fields of an envelope that describe the change; a ping leaves them out.
_SAID = ("datacontenttype", "dataschema", "data")


def ping(event: StoredEvent, *, dataref: str) -> dict[str, Any]:
    """Return an event as a notification: its subject, and the address at which the receiver reads the current state.

    Source: CloudEvents 1.0.2, extension "Dataref (Claim Check Pattern)".

    Args:
        dataref: a URI reference.
    """
    said = {name: value for name, value in envelope(event).items() if name not in _SAID}
    return said | {"dataref": dataref}


#: The JSON Schema of such an envelope, without its data.
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["specversion", "id", "source", "type", "subject", "time", "dataschema", "data"],
    "properties": {
        "specversion": {"const": "1.0"},
        "id": {
            "type": "string",
            "format": "uuid",
            "description": "The same in every delivery: what to be idempotent by.",
        },
        "source": {"type": "string", "format": "uri-reference", "description": "The context that published it."},
        "type": {"type": "string"},
        "subject": {"type": "string", "description": "Its subject: kind and id."},
        "time": {"type": "string", "format": "date-time"},
        "datacontenttype": {"const": "application/json"},
        "dataschema": {"type": "string", "format": "uri", "description": "The contract: type and version."},
        "sequence": {"type": "string", "description": "Its number among the events of its subject, 1, 2, 3 …"},
        "partitionkey": {"type": "string", "description": "The key: events with the same key are in order."},
        "correlationid": {"type": "string", "format": "uuid"},
        "causationid": {"type": "string", "format": "uuid"},
        "traceparent": {"type": "string"},
        "data": {},
    },
}
