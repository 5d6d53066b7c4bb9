"""The parameter types of the policy format: allowlists of shapes, each with one normal form per value.

`AnyParam` reads a spec from a policy; the spec is also the compiled type. `PARAM_TYPES` names them all.
"""

from typing import Annotated, get_args

from pydantic import Field

from cmdhttp.policy.params.base import CODES, ParamSpec
from cmdhttp.policy.params.digests import HashParam, UuidParam
from cmdhttp.policy.params.documents import FileParam, JsonParam, SecretParam
from cmdhttp.policy.params.hostnames import EmailParam, HostnameParam
from cmdhttp.policy.params.lists import ListParam
from cmdhttp.policy.params.narrowing import Narrowing
from cmdhttp.policy.params.networks import CidrParam, IpParam
from cmdhttp.policy.params.numbers import IntParam, NumberParam, PortParam
from cmdhttp.policy.params.paths import FilenameParam, PathParam
from cmdhttp.policy.params.scalars import Scalar
from cmdhttp.policy.params.times import DateParam, DatetimeParam, DurationParam
from cmdhttp.policy.params.urls import UrlParam
from cmdhttp.policy.params.values import Json, Secret, Upload, Value
from cmdhttp.policy.params.words import BoolParam, EnumParam, StringParam, UsernameParam

AnyParam = Annotated[Scalar | JsonParam | ListParam | SecretParam | FileParam, Field(discriminator="type")]

PARAM_TYPES: dict[str, type[ParamSpec]] = {
    get_args(model.model_fields["type"].annotation)[0]: model
    for model in (*get_args(Scalar), JsonParam, ListParam, SecretParam, FileParam)
}

__all__ = [
    "CODES",
    "PARAM_TYPES",
    "AnyParam",
    "BoolParam",
    "CidrParam",
    "DateParam",
    "DatetimeParam",
    "DurationParam",
    "EmailParam",
    "EnumParam",
    "FileParam",
    "FilenameParam",
    "HashParam",
    "HostnameParam",
    "IntParam",
    "IpParam",
    "Json",
    "JsonParam",
    "ListParam",
    "Narrowing",
    "NumberParam",
    "ParamSpec",
    "PathParam",
    "PortParam",
    "Scalar",
    "Secret",
    "SecretParam",
    "StringParam",
    "Upload",
    "UrlParam",
    "UsernameParam",
    "UuidParam",
    "Value",
]
