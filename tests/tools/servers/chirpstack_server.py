"""ChirpStack's API, as far as we use it, with its rules: made from the servicer classes of `chirpstack-api`.

After chirpstack/src/api/*.rs and src/storage/*.rs, v4: every call needs a key; UUIDs and EUIs must parse; what is named
as a parent must be there; a list without a limit gives a count alone; a DevEUI and, stricter than ChirpStack, a name in
an application is there once; a key has 32 hex digits; keys belong to a device that is there; DevNonces outlive a change
of the keys and go with FlushDevNonces. A join is played as its join server does it.
"""

from __future__ import annotations

import re
import threading
import uuid
from concurrent import futures
from contextlib import suppress
from typing import Any

import grpc
from chirpstack_api import api
from google.protobuf import empty_pb2

MOST_AT_ONCE = 32
EMPTY = empty_pb2.Empty


class Store:
    """What the server has, and what it was asked."""

    def __init__(self) -> None:
        self.key = "the-api-key"
        self.lock = threading.RLock()
        self.tenants: dict[str, api.Tenant] = {}
        self.applications: dict[str, api.Application] = {}
        self.profiles: dict[str, api.DeviceProfile] = {}
        self.devices: dict[str, api.Device] = {}
        self.keys: dict[str, api.DeviceKeys] = {}
        self.dev_nonces: dict[str, list[int]] = {}
        self.join_nonces: dict[str, int] = {}
        self.calls: list[str] = []
        self.may_not: set[str] = set()  # calls that this key may not make
        self.fails: dict[str, tuple[grpc.StatusCode, str]] = {}  # what a call with that in its request is answered
        self.greatest_page = 0

    def join(self, dev_eui: str, app_key: bytes, dev_nonce: int) -> int | None:
        """A node asks to join with this key: the JoinNonce it is given; None when it is refused."""
        keys = self.keys.get(dev_eui)
        if keys is None or keys.nwk_key != app_key.hex() or dev_nonce in self.dev_nonces[dev_eui]:
            return None
        self.dev_nonces[dev_eui].append(dev_nonce)
        self.join_nonces[dev_eui] += 1
        return self.join_nonces[dev_eui]

    def writes(self) -> list[str]:
        """The calls that may have changed something."""
        return [name for name in self.calls if not re.search(r"\.(Get|List|GetKeys)$", name)]


class ChirpStack:
    """A server on a free port of the loopback; ends with the `with` block. `tls`: its key and certificate (PEM)."""

    def __init__(self, tls: tuple[bytes, bytes] | None = None) -> None:
        self.store = Store()
        options = [("grpc.so_reuseport", 0)]
        self._server = grpc.server(futures.ThreadPoolExecutor(MOST_AT_ONCE), options=options)
        api.add_TenantServiceServicer_to_server(Tenants(self.store), self._server)
        api.add_ApplicationServiceServicer_to_server(Applications(self.store), self._server)
        api.add_DeviceProfileServiceServicer_to_server(Profiles(self.store), self._server)
        api.add_DeviceServiceServicer_to_server(Devices(self.store), self._server)
        if tls:
            port = self._server.add_secure_port("localhost:0", grpc.ssl_server_credentials([tls]))
        else:
            port = self._server.add_insecure_port("127.0.0.1:0")
        self.url = f"https://localhost:{port}" if tls else f"http://127.0.0.1:{port}"

    def __enter__(self) -> ChirpStack:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None).wait()


class _Service:
    name = ""

    def __init__(self, store: Store) -> None:
        self.store = store

    def begin(self, call: str, request: Any, context: grpc.ServicerContext) -> None:
        """Whoever has no key is told so, before anything else."""
        call = f"{self.name}.{call}"
        with self.store.lock:
            self.store.calls.append(call)
        metadata = {item.key: item.value for item in context.invocation_metadata()}  # type: ignore[attr-defined]
        if metadata.get("authorization") != f"Bearer {self.store.key}":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "ExpiredSignature")
        if call in self.store.may_not:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "unauthorized")
        for marker, (code, said) in self.store.fails.items():
            if marker in str(request):
                context.abort(code, said)

    def page(self, found: list[Any], request: Any) -> list[Any]:
        self.store.greatest_page = max(self.store.greatest_page, request.limit)
        return found[request.offset : request.offset + request.limit]


def parse_uuid(text: str, context: grpc.ServicerContext) -> str:
    with suppress(ValueError):
        return str(uuid.UUID(text))
    context.abort(grpc.StatusCode.INVALID_ARGUMENT, "invalid length: expected length 32")
    raise AssertionError


def parse_hex(text: str, digits: int, context: grpc.ServicerContext) -> str:
    if not re.fullmatch(f"[0-9a-fA-F]{{{digits}}}", text):
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Invalid string length")
    return text.lower()


def must_be_there(things: dict[str, Any], key: str, context: grpc.ServicerContext) -> Any:
    if key not in things:
        context.abort(grpc.StatusCode.NOT_FOUND, f"Object does not exist (id: {key})")
    return things[key]


def must_have_name(thing: Any, context: grpc.ServicerContext) -> None:
    if not thing.name:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Validation error: name is not set")


class Tenants(_Service, api.TenantServiceServicer):
    name = "tenants"

    def List(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.begin("List", request, context)
        found = [t for t in self.store.tenants.values() if request.search.lower() in t.name.lower()]
        found.sort(key=lambda tenant: tenant.name)
        items = [api.TenantListItem(id=t.id, name=t.name) for t in self.page(found, request)]
        return api.ListTenantsResponse(total_count=len(found), result=items)

    def Get(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.begin("Get", request, context)
        tenant = must_be_there(self.store.tenants, parse_uuid(request.id, context), context)
        return api.GetTenantResponse(tenant=tenant)

    def Create(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.begin("Create", request, context)
        must_have_name(request.tenant, context)
        request.tenant.id = str(uuid.uuid4())
        self.store.tenants[request.tenant.id] = request.tenant
        return api.CreateTenantResponse(id=request.tenant.id)


class Applications(_Service, api.ApplicationServiceServicer):
    name = "applications"

    def List(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.begin("List", request, context)
        tenant = parse_uuid(request.tenant_id, context)
        every = self.store.applications.values()
        found = [a for a in every if a.tenant_id == tenant and request.search.lower() in a.name.lower()]
        items = [api.ApplicationListItem(id=a.id, name=a.name) for a in self.page(found, request)]
        return api.ListApplicationsResponse(total_count=len(found), result=items)

    def Get(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.begin("Get", request, context)
        application = must_be_there(self.store.applications, parse_uuid(request.id, context), context)
        return api.GetApplicationResponse(application=application)

    def Create(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.begin("Create", request, context)
        made = request.application
        must_have_name(made, context)
        must_be_there(self.store.tenants, parse_uuid(made.tenant_id, context), context)
        made.id = str(uuid.uuid4())
        self.store.applications[made.id] = made
        return api.CreateApplicationResponse(id=made.id)


class Profiles(_Service, api.DeviceProfileServiceServicer):
    name = "profiles"

    def List(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.begin("List", request, context)
        tenant = parse_uuid(request.tenant_id, context)
        every = self.store.profiles.values()
        found = [p for p in every if p.tenant_id == tenant and request.search.lower() in p.name.lower()]
        items = [api.DeviceProfileListItem(id=p.id, name=p.name) for p in self.page(found, request)]
        return api.ListDeviceProfilesResponse(total_count=len(found), result=items)

    def Get(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.begin("Get", request, context)
        profile = must_be_there(self.store.profiles, parse_uuid(request.id, context), context)
        return api.GetDeviceProfileResponse(device_profile=profile)

    def Create(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.begin("Create", request, context)
        made = request.device_profile
        self._check(made, context)
        must_be_there(self.store.tenants, parse_uuid(made.tenant_id, context), context)
        made.id = str(uuid.uuid4())
        self.store.profiles[made.id] = made
        return api.CreateDeviceProfileResponse(id=made.id)

    def Update(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.begin("Update", request, context)
        made = request.device_profile
        self._check(made, context)
        known = must_be_there(self.store.profiles, parse_uuid(made.id, context), context)
        made.tenant_id = known.tenant_id  # src/storage/device_profile.rs: it stays
        self.store.profiles[made.id] = made
        return EMPTY()

    @staticmethod
    def _check(profile: api.DeviceProfile, context: grpc.ServicerContext) -> None:
        must_have_name(profile, context)
        if not profile.adr_algorithm_id:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Validation error: adr_algorithm_id is not set")


class Devices(_Service, api.DeviceServiceServicer):
    name = "devices"

    def List(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.begin("List", request, context)
        application = parse_uuid(request.application_id, context)
        found = [device for device in self.store.devices.values() if device.application_id == application]
        items = [api.DeviceListItem(dev_eui=device.dev_eui, name=device.name) for device in self.page(found, request)]
        return api.ListDevicesResponse(total_count=len(found), result=items)

    def Get(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.begin("Get", request, context)
        device = must_be_there(self.store.devices, parse_hex(request.dev_eui, 16, context), context)
        return api.GetDeviceResponse(device=device)

    def Create(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.begin("Create", request, context)
        with self.store.lock:
            self._check(request.device, context)
            if request.device.dev_eui in self.store.devices:
                context.abort(grpc.StatusCode.ALREADY_EXISTS, "Object already exists")
            self.store.devices[request.device.dev_eui] = request.device
        return EMPTY()

    def Update(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.begin("Update", request, context)
        with self.store.lock:
            self._check(request.device, context)
            must_be_there(self.store.devices, request.device.dev_eui, context)
            self.store.devices[request.device.dev_eui] = request.device
        return EMPTY()

    def CreateKeys(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.begin("CreateKeys", request, context)
        with self.store.lock:
            keys = self._keys(request.device_keys, context)
            if keys.dev_eui in self.store.keys:
                context.abort(grpc.StatusCode.ALREADY_EXISTS, "Object already exists")
            self.store.keys[keys.dev_eui] = keys
            self.store.dev_nonces[keys.dev_eui], self.store.join_nonces[keys.dev_eui] = [], 0
        return EMPTY()

    def GetKeys(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.begin("GetKeys", request, context)
        keys = must_be_there(self.store.keys, parse_hex(request.dev_eui, 16, context), context)
        return api.GetDeviceKeysResponse(device_keys=keys)

    def UpdateKeys(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.begin("UpdateKeys", request, context)
        with self.store.lock:
            keys = self._keys(request.device_keys, context)
            must_be_there(self.store.keys, keys.dev_eui, context)
            self.store.keys[keys.dev_eui] = keys
        return EMPTY()

    def FlushDevNonces(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.begin("FlushDevNonces", request, context)
        dev_eui = parse_hex(request.dev_eui, 16, context)
        must_be_there(self.store.keys, dev_eui, context)
        self.store.dev_nonces[dev_eui] = []
        return EMPTY()

    def _check(self, device: api.Device, context: grpc.ServicerContext) -> None:
        device.dev_eui = parse_hex(device.dev_eui, 16, context)
        device.join_eui = parse_hex(device.join_eui or "0" * 16, 16, context)
        must_have_name(device, context)
        application = must_be_there(self.store.applications, parse_uuid(device.application_id, context), context)
        profile = must_be_there(self.store.profiles, parse_uuid(device.device_profile_id, context), context)
        if application.tenant_id != profile.tenant_id:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "application and device-profile are of other tenants")
        for other in self.store.devices.values():
            same = (other.application_id, other.name) == (device.application_id, device.name)
            if same and other.dev_eui != device.dev_eui:
                context.abort(grpc.StatusCode.ALREADY_EXISTS, f"Object already exists (name: {device.name})")

    def _keys(self, keys: api.DeviceKeys, context: grpc.ServicerContext) -> api.DeviceKeys:
        """As they are stored: keys that were not given are zeros."""
        keys.dev_eui = parse_hex(keys.dev_eui, 16, context)
        must_be_there(self.store.devices, keys.dev_eui, context)
        keys.nwk_key = parse_hex(keys.nwk_key, 32, context)
        for name in ("app_key", "gen_app_key"):
            setattr(keys, name, parse_hex(getattr(keys, name) or "0" * 32, 32, context))
        if keys.app_key != "0" * 32:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "app_key is for LoRaWAN 1.1; the profile is 1.0.4")
        return keys
