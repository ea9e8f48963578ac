"""What the admin API takes and answers. A key goes in and never comes out; a token comes out once, when it is made."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from nest.registry import DEFAULT_PRECISION, LONGEST_NAME
from nest.town import SLUG
from nest.web.models import Time


def _name(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("letters, digits and signs on one line were expected")
    return text


def _key(text: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[0-9a-fA-F]{32}", text.get_secret_value()):
        raise ValueError("32 hex digits were expected")
    return text


Eui = Annotated[str, Field(pattern="^[0-9a-fA-F]{16}$", examples=["70b3d57ed0001234"])]
Slug = Annotated[str, Field(pattern=f"^{SLUG.pattern}$", examples=["amsel"])]
Name = Annotated[str, Field(max_length=LONGEST_NAME), AfterValidator(_name)]
Latitude = Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False)]
Longitude = Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class _Placed(_Asked):
    latitude: Annotated[Latitude | None, Field(description="degrees, WGS 84")] = None
    longitude: Annotated[Longitude | None, Field(description="degrees, WGS 84")] = None

    @model_validator(mode="after")
    def _both(self) -> _Placed:
        if (self.latitude is None) != (self.longitude is None):
            raise ValueError("latitude and longitude: both or neither were expected")
        return self


class NewNode(_Placed):
    """A node to register."""

    slug: Annotated[Slug, Field(description="its name in addresses")]
    dev_eui: Annotated[Eui, Field(description="16 hex digits, from its label")]
    join_eui: Annotated[Eui | None, Field(description="else the one it had before, else the town's")] = None
    app_key: Annotated[
        SecretStr | None,
        AfterValidator(lambda key: key if key is None else _key(key)),
        Field(description="32 hex digits; without it the nest makes one. It is never given out."),
    ] = None
    name: Annotated[Name | None, Field(description="as citizens read it")] = None
    precision: Annotated[int, Field(ge=0, le=6, description="decimals of the position that are public")] = (
        DEFAULT_PRECISION
    )


class AdminNode(BaseModel):
    """A registered node, without its key."""

    slug: str
    name: str
    dev_eui: str
    join_eui: str
    latitude: Annotated[float | None, Field(description="degrees, as registered, not rounded")]
    longitude: float | None
    precision: int
    battery: Annotated[
        int | None,
        Field(description="as the node told it last: 0 external supply, 1 to 254 empty to full, 255 unknown"),
    ]
    margin_db: Annotated[int | None, Field(description="SNR in dB with which it heard the question")]


class NewGateway(_Placed):
    """A gateway to admit."""

    eui: Annotated[Eui, Field(description="16 hex digits")]
    name: Name | None = None
    altitude_m: Annotated[float | None, Field(ge=-500, le=10_000, allow_inf_nan=False)] = None
    antenna_gain_dbi: Annotated[float, Field(ge=-20, le=30, allow_inf_nan=False)] = 2.15
    station: Annotated[bool, Field(description="make a token for LoRa Basics Station")] = False


class AdminGateway(BaseModel):
    """A registered gateway, without its token."""

    eui: str
    name: str
    latitude: float | None
    longitude: float | None
    altitude_m: float | None
    antenna_gain_dbi: float
    station: Annotated[bool, Field(description="whether it has a token")]


class GatewayToken(BaseModel):
    """A gateway's new token."""

    eui: str
    token: Annotated[str | None, Field(description="shown this once; for the gateway's tc.key")]


class NewDownlink(_Asked):
    """A downlink to queue."""

    payload: Annotated[str, Field(pattern="^(?:[0-9a-fA-F]{2}){0,242}$", description="hex", examples=["01ff"])]
    port: Annotated[int, Field(ge=1, le=223, description="FPort")] = 1
    confirmed: bool = False
    window: Annotated[int | None, Field(ge=1, le=2, description="1 = RX1, 2 = RX2; else the nest chooses")] = None


class QueuedDownlink(BaseModel):
    """A downlink that waits for the node's next uplink."""

    id: int
    node: str


class AdminStatus(BaseModel):
    """Everything that the nest tells of itself: the snapshot that `nest status --json` shows."""

    model_config = ConfigDict(extra="allow")

    time: Time
