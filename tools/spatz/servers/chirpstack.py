"""ChirpStack v4: tenant, application, device profile with our decoder, and nodes with their keys, over its gRPC API.

Read first, written only where something differs, never deleted: the same call again changes nothing. Sources:
chirpstack/api/proto/api/{tenant,application,device_profile,device}.proto and chirpstack/src/api/*.rs (v4.20), and

- `DeviceKeys.nwk_key` holds the AppKey of a 1.0.x device; `app_key` is for 1.1 alone (device.proto, issue 453);
- used DevNonces are kept for ever, UpdateKeys leaves them (pull request 22, src/api/device.rs `update_keys`). After a
  change of the key a node counts from 0, so they are flushed; before the change, so that an interruption is mended by
  the next run;
- the JoinNonce begins at 0 (src/storage/device_keys.rs) and the API cannot set it. A node that has joined our nest with
  the same key refuses lower ones (TS001-1.0.4 section 6.2.3): it needs a new key before it moves.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from nest.errors import UserError
from nest.i18n import tr

from spatz.decoder import render_script
from spatz.servers.access import Access, clean
from spatz.servers.nodes import Entry
from spatz.servers.report import CHANGED, CREATED, FAILED, NODE, Item, Report, outcome_of

if TYPE_CHECKING:
    from chirpstack_api import api

KEY = "FUNKSPATZ_CHIRPSTACK_KEY"
"""Environment variable: a key of ChirpStack's API."""

PORT = 8080  # of ChirpStack's own server; behind a proxy with TLS it is 443
PROFILE = "Funkspatz EU868"
AT_ONCE = 16  # nodes; ChirpStack's pool of database connections has ten (configuration of v4), more would only wait
_PAGE = 100
_PATIENCE_S = 30.0  # for one answer


@dataclass(frozen=True, slots=True)
class Where:
    """Names or ids in ChirpStack. Without a tenant the only one that the key may see."""

    tenant: str = ""
    application: str = ""
    profile: str = PROFILE


class _Refused(Exception):  # noqa: N818  it is the server's word
    """One call was answered with an error. `code`: the name of its gRPC status."""

    def __init__(self, code: str, said: str) -> None:
        super().__init__(said)
        self.code = code


def register(
    at: Access, where: Where, entries: Sequence[Entry], *, longest_s: int = 0, dry_run: bool = False
) -> Report:
    """Put the nodes there, or see what would be done (`dry_run`). `longest_s`: the longest interval of other nodes
    that have the same profile.

    A node that ChirpStack refuses is an item of outcome "failed" and keeps no other waiting. Raises UserError: the
    server cannot be reached, does not take the key, or a tenant, application or profile cannot be had.
    """
    hidden = [at.key, *(entry.app_key.hex() for entry in entries)]
    client = _Client(at, hidden)
    try:
        return _Run(client, where, dry_run).all(entries, longest_s)
    except _Refused as error:
        raise _sentence(error, at) from None
    finally:
        client.close()


class _Client:
    """The calls, each with its key and its patience; errors come without keys."""

    def __init__(self, at: Access, hidden: Sequence[str]) -> None:
        import grpc
        from chirpstack_api import api

        # a proxy of the environment knows nothing of this computer
        options = [("grpc.enable_http_proxy", 0)] if at.is_here else []
        target = f"{'[' + at.host + ']' if ':' in at.host else at.host}:{at.port}"
        if at.tls:
            credentials = grpc.ssl_channel_credentials(root_certificates=at.ca)
            self._channel = grpc.secure_channel(target, credentials, options=options)
        else:
            self._channel = grpc.insecure_channel(target, options=options)
        self._error = grpc.RpcError
        self._metadata = [("authorization", f"Bearer {at.key}")]
        self._hidden = hidden
        self.api = api
        self.tenants = api.TenantServiceStub(self._channel)
        self.applications = api.ApplicationServiceStub(self._channel)
        self.profiles = api.DeviceProfileServiceStub(self._channel)
        self.devices = api.DeviceServiceStub(self._channel)

    def __call__(self, method: Callable[..., Any], request: object) -> Any:
        """The answer. Raises _Refused."""
        try:
            return method(request, metadata=self._metadata, timeout=_PATIENCE_S)
        except self._error as error:
            code, said = error.code().name, clean(error.details() or "", self._hidden)  # type: ignore[attr-defined]
        raise _Refused(code, said)

    def found(self, method: Callable[..., Any], request: object) -> Any | None:
        """The answer, None where there is no such thing. Raises _Refused: anything else."""
        try:
            return self(method, request)
        except _Refused as error:
            if error.code == "NOT_FOUND":
                return None
            raise

    def all(self, method: Callable[..., Any], request: Any) -> list[Any]:
        """Every item of a list, page by page: without a limit ChirpStack gives a count alone."""
        items: list[Any] = []
        while True:
            request.limit, request.offset = _PAGE, len(items)
            page = self(method, request)
            items += page.result
            if not page.result or len(items) >= page.total_count:
                return items

    def close(self) -> None:
        self._channel.close()


class _Run:
    """One registration, from the tenant down."""

    def __init__(self, client: _Client, where: Where, dry_run: bool) -> None:
        self._call, self._where, self._dry = client, where, dry_run
        self._api = client.api
        self._report = Report()

    def all(self, entries: Sequence[Entry], longest_s: int) -> Report:
        tenant = self._tenant()
        application = self._application(tenant)
        profile = self._profile(tenant, max((longest_s, *(entry.interval_s for entry in entries))))
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = [*pool.map(lambda entry: self._node(entry, application, profile), entries)]
        for item, note in found:
            self._report.items.append(item)
            if note:
                self._report.notes.append(note)
        return self._report

    def _tenant(self) -> str:
        """Its id; "" where it would be made."""
        call, api, name = self._call, self._api, self._where.tenant
        if _is_id(name):
            if call.found(call.tenants.Get, api.GetTenantRequest(id=name)) is None:
                raise _unknown(tr("ChirpStack has no tenant {name}.", name=name))
            return name
        try:
            known = call.all(call.tenants.List, api.ListTenantsRequest(search=name))
        except _Refused as error:
            if error.code != "PERMISSION_DENIED":
                raise
            raise UserError(
                tr("This key may not look through ChirpStack's tenants."),
                tr("Say which one by its id, from the address of its page: --tenant 52f14cd4-…"),
            ) from None
        same = [tenant for tenant in known if tenant.name == name or not name]
        if len(same) == 1:
            return same[0].id
        if same or not name:
            raise UserError(
                tr(
                    "Which tenant of ChirpStack? There are: {names}",
                    names=clean(", ".join(t.name for t in known) or "-", ()),
                ),
                tr("Say which one: --tenant NAME, or its id."),
            )
        self._report.add("tenant", name, CREATED)
        new = api.CreateTenantRequest(tenant=api.Tenant(name=name, can_have_gateways=True))
        return "" if self._dry else call(call.tenants.Create, new).id

    def _application(self, tenant: str) -> str:
        call, api, name = self._call, self._api, self._where.application
        if _is_id(name):
            if call.found(call.applications.Get, api.GetApplicationRequest(id=name)) is None:
                raise _unknown(tr("ChirpStack has no application {name}.", name=name))
            return name
        if tenant:
            listed = api.ListApplicationsRequest(tenant_id=tenant, search=name)
            same = [one.id for one in call.all(call.applications.List, listed) if one.name == name]
            if len(same) == 1:
                self._report.add("application", name, outcome_of(()))
                return same[0]
            if same:
                raise _ambiguous(name, "--application")
        self._report.add("application", name, CREATED)
        new = api.CreateApplicationRequest(application=api.Application(name=name, tenant_id=tenant))
        return "" if self._dry else call(call.applications.Create, new).id

    def _profile(self, tenant: str, longest_s: int) -> str:
        """The id of the device profile, brought to what our nodes need; what else stands in it stays."""
        call, api, name = self._call, self._api, self._where.profile
        known = name if _is_id(name) else ""
        if not known and tenant:
            listed = api.ListDeviceProfilesRequest(tenant_id=tenant, search=name)
            same = [one.id for one in call.all(call.profiles.List, listed) if one.name == name]
            if len(same) > 1:
                raise _ambiguous(name, "--profile")
            known = same[0] if same else ""
        if not known:
            self._report.add("device profile", name, CREATED)
            new = api.DeviceProfile(
                tenant_id=tenant,
                name=name,
                adr_algorithm_id="default",
                device_status_req_interval=1,
                flush_queue_on_activate=True,
                auto_detect_measurements=True,
            )
            _set(new, self._wanted_of_profile(longest_s))
            if self._dry:
                return ""
            return call(call.profiles.Create, api.CreateDeviceProfileRequest(device_profile=new)).id
        answer = call.found(call.profiles.Get, api.GetDeviceProfileRequest(id=known))
        if answer is None:
            raise _unknown(tr("ChirpStack has no device profile {name}.", name=name))
        profile = answer.device_profile
        different = _set(profile, self._wanted_of_profile(longest_s))
        if different and not self._dry:
            call(call.profiles.Update, api.UpdateDeviceProfileRequest(device_profile=profile))
        self._report.add("device profile", profile.name, outcome_of(different), different)
        return known

    def _wanted_of_profile(self, longest_s: int) -> dict[str, object]:
        from chirpstack_api import common

        return {
            "region": common.EU868,
            "mac_version": common.LORAWAN_1_0_4,
            "reg_params_revision": common.RP002_1_0_4,
            "supports_otaa": True,
            "payload_codec_runtime": self._api.JS,
            "payload_codec_script": render_script("chirpstack"),
            "uplink_interval": longest_s,  # s; a device that is silent for longer is shown as inactive
        }

    def _node(self, entry: Entry, application: str, profile: str) -> tuple[Item, str]:
        """One node: its device, then its keys; and a note, or ""."""
        try:
            created, different = self._device(entry, application, profile)
            keys = self._keys(entry)
        except _Refused as error:
            return Item(NODE, entry.slug, FAILED, why=str(error) or error.code), ""
        except UserError as error:
            return Item(NODE, entry.slug, FAILED, why=error.message), ""
        if created:
            note = ""
            if entry.join_nonce:
                note = tr(
                    "{slug} has joined our nest and will not believe another server. Before it moves: spatz nodes "
                    "rotate {slug}, then spatz flash.",
                    slug=entry.slug,
                )
            return Item(NODE, entry.slug, CREATED), note
        fields = (*different, *(("keys",) if keys else ()))
        return Item(NODE, entry.slug, CHANGED if fields else outcome_of(()), fields), ""

    def _device(self, entry: Entry, application: str, profile: str) -> tuple[bool, tuple[str, ...]]:
        """Whether it was new, and what of it was different."""
        call, api = self._call, self._api
        dev_eui = entry.dev_eui.hex()
        answer = call.found(call.devices.Get, api.GetDeviceRequest(dev_eui=dev_eui))
        wanted: dict[str, object] = {"name": entry.slug, "join_eui": entry.join_eui.hex(), "device_profile_id": profile}
        if answer is None:
            new = api.Device(dev_eui=dev_eui, application_id=application, description=_description(entry))
            _set(new, wanted)
            if not self._dry:
                call(call.devices.Create, api.CreateDeviceRequest(device=new))
            return True, ()
        device = answer.device
        if device.application_id != application:
            raise UserError(tr("It belongs to another application there: {id}", id=clean(device.application_id, ())))
        device.join_eui = device.join_eui.lower()
        different = _set(device, wanted)
        if different and not self._dry:
            call(call.devices.Update, api.UpdateDeviceRequest(device=device))
        return False, different

    def _keys(self, entry: Entry) -> bool:
        """Whether its keys were different, or not there."""
        call, api = self._call, self._api
        dev_eui = entry.dev_eui.hex()
        wanted = api.DeviceKeys(dev_eui=dev_eui, nwk_key=entry.app_key.hex())
        answer = call.found(call.devices.GetKeys, api.GetDeviceKeysRequest(dev_eui=dev_eui))
        if answer is None:
            if not self._dry:
                call(call.devices.CreateKeys, api.CreateDeviceKeysRequest(device_keys=wanted))
            return True
        if hmac.compare_digest(answer.device_keys.nwk_key.lower(), wanted.nwk_key):
            return False
        if not self._dry:
            call(call.devices.FlushDevNonces, api.FlushDevNoncesRequest(dev_eui=dev_eui))
            call(call.devices.UpdateKeys, api.UpdateDeviceKeysRequest(device_keys=wanted))
        return True


def _set(thing: api.Device | api.DeviceProfile, wanted: dict[str, object]) -> tuple[str, ...]:
    """Give a message those fields; which of them were different."""
    different = tuple(name for name, value in wanted.items() if getattr(thing, name) != value)
    for name in different:
        setattr(thing, name, wanted[name])
    return different


def _description(entry: Entry) -> str:
    return "" if entry.name == entry.slug else entry.name


def _is_id(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


def _unknown(what: str) -> UserError:
    return UserError(what, tr("Look in ChirpStack which there are, or give a name: a new one is made."))


def _ambiguous(name: str, option: str) -> UserError:
    return UserError(
        tr("ChirpStack has more than one {name}.", name=name),
        tr("Say which one by its id, from the address of its page: {option} 52f14cd4-…", option=option),
    )


def _sentence(error: _Refused, at: Access) -> UserError:
    """What a person can do about it."""
    if error.code == "UNAUTHENTICATED":
        return UserError(
            tr("ChirpStack does not take this key."),
            tr("Make a new one in ChirpStack, under API keys, and put it into the file."),
        )
    if error.code == "PERMISSION_DENIED":
        return UserError(
            tr("This key may not do that in ChirpStack: {said}", said=error),
            tr("Take a key of the tenant, or one of the whole server, that may write."),
        )
    if error.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
        return UserError(
            tr("ChirpStack does not answer at {url}.", url=at.url),
            tr("Is that the address of its page, with http:// or https:// as there, and does it run?"),
        )
    if error.code in ("UNIMPLEMENTED", "UNKNOWN", "INTERNAL"):
        return UserError(
            tr("What answers at {url} is no ChirpStack v4: {said}", url=at.url, said=error),
            tr("Check the address. Behind a proxy it must let gRPC through."),
        )
    return UserError(
        tr("ChirpStack refuses: {said}", said=f"{error} ({error.code})"), tr("Correct that there, then start again.")
    )
