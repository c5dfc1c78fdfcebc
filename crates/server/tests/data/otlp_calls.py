"""Calls of OTLP/gRPC whose outcome is looked at: one line of JSON each, with the code, the details and what the server
said of trying again, or the answer."""

import json
import sys

import grpc
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc as logs_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as traces_grpc


def outcome(call):
    try:
        answer = call()
    except grpc.RpcError as error:
        trailers = dict(error.trailing_metadata() or ())
        status = status_pb2.Status.FromString(trailers.get("grpc-status-details-bin", b""))
        retry_after_s = None
        for detail in status.details:
            info = error_details_pb2.RetryInfo()
            if detail.Unpack(info):
                retry_after_s = info.retry_delay.seconds
        return {
            "code": error.code().name,
            "details": error.details(),
            "status": status.code,
            "retry_after_s": retry_after_s,
        }
    partial = answer.partial_success if isinstance(answer, logs.ExportLogsServiceResponse) else None
    return {
        "code": "OK",
        "rejected": partial.rejected_log_records if partial else 0,
        "details": partial.error_message if partial else "",
    }


def request(resource_bytes, records):
    made = logs.ExportLogsServiceRequest()
    group = made.resource_logs.add()
    group.resource.attributes.add(key="filler").value.string_value = "x" * resource_bytes
    scope = group.scope_logs.add()
    for number in range(records):
        scope.log_records.add(severity_number=9).body.string_value = f"called-{number:04}"
    return made


def main():
    endpoint, token, narrow = sys.argv[1:4]
    channel = grpc.insecure_channel(endpoint)
    metadata = (("authorization", f"Bearer {token}"),)
    export = logs_grpc.LogsServiceStub(channel).Export
    raw = channel.unary_unary("/opentelemetry.proto.collector.logs.v1.LogsService/Export")
    spans = traces_grpc.TraceServiceStub(channel).Export
    unknown = channel.unary_unary("/no.such.Service/Call")
    calls = {
        "empty": lambda: export(logs.ExportLogsServiceRequest(), metadata=metadata),
        "plain": lambda: export(request(10, 2), metadata=metadata),
        "gzip": lambda: export(request(10, 2), metadata=metadata, compression=grpc.Compression.Gzip),
        "deflate": lambda: export(request(10, 2), metadata=metadata, compression=grpc.Compression.Deflate),
        "no token": lambda: export(request(10, 2)),
        "wrong token": lambda: export(request(10, 2), metadata=(("authorization", "Bearer alc_no"),)),
        "other source": lambda: export(request(10, 2), metadata=(("authorization", f"Bearer {narrow}"),)),
        "no request": lambda: raw(b"\x0a\xff", metadata=metadata),
        "traces": lambda: spans(traces.ExportTraceServiceRequest(), metadata=metadata),
        "unknown": lambda: unknown(b"", metadata=metadata),
        "too much": lambda: export(request(1 << 20, 30), metadata=metadata),
        "too large": lambda: export(request(20 << 20, 1), metadata=metadata),
        # The connection is as good as before.
        "after": lambda: export(request(10, 1), metadata=metadata),
    }
    for name, call in calls.items():
        print(json.dumps({"call": name} | outcome(call)), flush=True)


main()
