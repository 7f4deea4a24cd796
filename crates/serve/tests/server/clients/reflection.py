"""Finds out by gRPC's reflection client what a running server has, and calls it: HTTP GRPC KEY IMAGE."""

import collections
import sys

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

_, address, key, _ = sys.argv[1:]
Details = collections.namedtuple("Details", ("method", "timeout", "metadata", "credentials", "wait_for_ready", "compression"))


class WithKey(grpc.StreamStreamClientInterceptor, grpc.UnaryUnaryClientInterceptor):
    """The client takes a channel and no metadata, so the channel sends the key."""

    def intercept_stream_stream(self, proceed, details, requests):
        return proceed(self.keyed(details), requests)

    def intercept_unary_unary(self, proceed, details, request):
        return proceed(self.keyed(details), request)

    @staticmethod
    def keyed(details):
        metadata = [*(details.metadata or ()), ("authorization", f"Bearer {key}")]
        return Details(details.method, details.timeout, metadata, details.credentials, None, None)


channel = grpc.intercept_channel(grpc.insecure_channel(address), WithKey())
database = ProtoReflectionDescriptorDatabase(channel)
services = set(database.get_services())
assert {"inference.GRPCInferenceService", "grpc.health.v1.Health"} <= services, services
pool = DescriptorPool(database)
health = pool.FindServiceByName("grpc.health.v1.Health")
assert {method.name for method in health.methods} >= {"Check", "Watch"}


def call(method, **fields):
    """What a program does that knows only the method's name."""
    method = pool.FindMethodByName(method)
    request, response = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
    ask = channel.unary_unary(
        f"/{method.containing_service.full_name}/{method.name}", request.SerializeToString, response.FromString
    )
    return ask(request(**fields))


service = "inference.GRPCInferenceService"
assert call(f"{service}.ServerLive").live
metadata = call(f"{service}.ModelMetadata", name="tiny")
(tensor,) = metadata.inputs
assert tensor.name == "image" and list(tensor.shape) == [-1, 1, 4, 4]
inputs = [{"name": tensor.name, "datatype": tensor.datatype, "shape": [1, 16], "contents": {"fp32_contents": [0.5] * 16}}]
answer = call(f"{service}.ModelInfer", model_name="tiny", inputs=inputs)
assert len(answer.outputs[0].contents.fp32_contents) == 3 and answer.model_version == "1"

try:
    ProtoReflectionDescriptorDatabase(grpc.insecure_channel(address)).get_services()
    raise AssertionError("expected UNAUTHENTICATED")
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.UNAUTHENTICATED, error
print("all checks passed")
