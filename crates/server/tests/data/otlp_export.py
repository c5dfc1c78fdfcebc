"""Sends numbered log records through OpenTelemetry's SDK and its exporters. Prints `ready`, then the id of every record
that was acknowledged; ends with 1 at the first batch that was not."""

import argparse
import sys
import time

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.resources import Resource


def exporter(args):
    if args.transport == "http":
        from opentelemetry.exporter.otlp.proto.http import Compression
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter

        return OTLPLogExporter(
            endpoint=f"http://{args.endpoint}/v1/logs",
            headers={"Authorization": f"Bearer {args.token}"},
            timeout=args.timeout,
            compression=Compression.Gzip if args.gzip else Compression.NoCompression,
        )
    from grpc import Compression
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter

    return OTLPLogExporter(
        endpoint=args.endpoint,
        insecure=True,
        headers=(("authorization", f"Bearer {args.token}"),),
        timeout=args.timeout,
        compression=Compression.Gzip if args.gzip else Compression.NoCompression,
    )


class Telling(LogRecordExporter):
    """Hands on to an exporter and prints what became of it."""

    def __init__(self, inner):
        self.inner = inner
        self.failed = False

    def export(self, batch):
        result = self.inner.export(batch)
        if result == LogRecordExportResult.SUCCESS:
            print("\n".join(record.log_record.attributes["id"] for record in batch), flush=True)
        else:
            self.failed = True
        return result

    def shutdown(self):
        self.inner.shutdown()

    def force_flush(self, timeout_millis=30000):
        return True


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("transport", choices=["http", "grpc"])
    parser.add_argument("endpoint")
    parser.add_argument("token")
    parser.add_argument("prefix")
    parser.add_argument("--batches", type=int, default=1)
    parser.add_argument("--records", type=int, default=5)
    parser.add_argument("--body", default="{id}")
    parser.add_argument("--filler-bytes", type=int, default=0)
    parser.add_argument("--timeout", type=int, default=60)
    parser.add_argument("--gzip", action="store_true")
    args = parser.parse_args()

    telling = Telling(exporter(args))
    resource = Resource({"service.name": "shop", "host.name": "WEB1", "k8s.pod.name": "web-0"})
    provider = LoggerProvider(resource=resource)
    # One export a batch: what is emitted waits for the flush.
    provider.add_log_record_processor(
        BatchLogRecordProcessor(telling, schedule_delay_millis=3_600_000, max_export_batch_size=args.records)
    )
    logger = provider.get_logger("app.auth", "2.0")
    print("ready", flush=True)
    for batch in range(args.batches):
        for number in range(args.records):
            name = f"{args.prefix}-{batch:06}-{number}"
            attributes = {"id": name, "user.name": "eve", "client.address": "203.0.113.9", "big": 2**63 - 1}
            if args.filler_bytes:
                attributes["filler"] = "x" * args.filler_bytes
            logger.emit(
                LogRecord(
                    timestamp=1_795_424_400_123_456_789,
                    observed_timestamp=time.time_ns(),
                    severity_text="WARN",
                    severity_number=SeverityNumber.WARN,
                    event_name="app.login",
                    body=args.body.format(id=name),
                    attributes=attributes,
                    trace_id=0x5B8EFFF798038103D269B633813FC60C,
                    span_id=0xEEE19B7EC3C1B174,
                )
            )
        provider.force_flush()
        if telling.failed:
            sys.exit(1)


main()
