"""``keyturn`` under somebody who collects spans, as `opentelemetry-instrument keyturn` has it; they
are written into the file that SPANS names.
"""

from __future__ import annotations

import os
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

from keyturn.cli import main


def in_one_line(span: ReadableSpan) -> str:
    return f"{span.to_json(indent=None)}\n"


if __name__ == "__main__":
    with Path(os.environ["SPANS"]).open("a") as file:
        exporter = ConsoleSpanExporter(out=file, formatter=in_one_line)
        provider = TracerProvider(resource=Resource.create({"service.name": "keyturn"}))
        # Holds spans back for an hour, in a thread of its own that is there before any worker.
        provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=3_600_000))
        trace.set_tracer_provider(provider)
        main()
