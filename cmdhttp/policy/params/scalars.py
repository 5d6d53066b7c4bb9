"""The types that are one argument each, and may therefore be the items of a list."""

from typing import Annotated, TypeAlias

from pydantic import Field

from cmdhttp.policy.params.digests import HashParam, UuidParam
from cmdhttp.policy.params.hostnames import EmailParam, HostnameParam
from cmdhttp.policy.params.networks import CidrParam, IpParam
from cmdhttp.policy.params.numbers import IntParam, NumberParam, PortParam
from cmdhttp.policy.params.paths import FilenameParam, PathParam
from cmdhttp.policy.params.times import DateParam, DatetimeParam, DurationParam
from cmdhttp.policy.params.urls import UrlParam
from cmdhttp.policy.params.words import BoolParam, EnumParam, StringParam, UsernameParam

Scalar: TypeAlias = (
    EnumParam
    | IntParam
    | NumberParam
    | BoolParam
    | StringParam
    | IpParam
    | CidrParam
    | HostnameParam
    | PortParam
    | UsernameParam
    | EmailParam
    | UuidParam
    | HashParam
    | DateParam
    | DatetimeParam
    | DurationParam
    | PathParam
    | FilenameParam
    | UrlParam
)
ScalarParam = Annotated[Scalar, Field(discriminator="type")]
