"""The fields that Istio 1.0's custom resources have, and a strict reading of an object by them.

The custom resource definitions of 1.0 carry no schema, so the API server stores whatever it is given: a
misspelt field is found by Galley's webhook or by nobody. Upstream reads the spec as a protocol buffer
in its JSON form, which is what `read` does: an unknown field is an error, a field may be written in
camelCase or with underscores, a duration is a text such as ``7s``. Field names are those of the public
API (networking/v1alpha3, authentication/v1alpha1, rbac/v1alpha1, config client) as of 1.0.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ENUMS", "MESSAGES", "DecodingError", "read"]

# One line a message: fields by name, `*` marks a list, `%` a map by text, `:type` what is not a text.
MESSAGES: Mapping[str, str] = {
    "VirtualService": "hosts* gateways* http*:HTTPRoute tls*:TLSRoute tcp*:TCPRoute",
    "HTTPRoute": "match*:HTTPMatchRequest route*:DestinationWeight redirect:HTTPRedirect rewrite:HTTPRewrite "
    "websocketUpgrade:bool timeout:duration retries:HTTPRetry fault:HTTPFaultInjection mirror:Destination "
    "corsPolicy:CorsPolicy appendHeaders% removeResponseHeaders% appendResponseHeaders% "
    "removeRequestHeaders% appendRequestHeaders%",
    "HTTPMatchRequest": "uri:StringMatch scheme:StringMatch method:StringMatch authority:StringMatch "
    "headers%:StringMatch port:int sourceLabels% gateways*",
    "StringMatch": "exact prefix regex",
    "DestinationWeight": "destination:Destination weight:int removeResponseHeaders* appendResponseHeaders% "
    "removeRequestHeaders* appendRequestHeaders%",
    "Destination": "host subset port:PortSelector",
    "PortSelector": "number:int name",
    "HTTPRedirect": "uri authority",
    "HTTPRewrite": "uri authority",
    "HTTPRetry": "attempts:int perTryTimeout:duration",
    "HTTPFaultInjection": "delay:Delay abort:Abort",
    "Delay": "percent:int fixedDelay:duration exponentialDelay:duration",
    "Abort": "percent:int httpStatus:int grpcStatus http2Error",
    "CorsPolicy": "allowOrigin* allowMethods* allowHeaders* exposeHeaders* maxAge:duration "
    "allowCredentials:bool",
    "TLSRoute": "match*:TLSMatchAttributes route*:DestinationWeight",
    "TLSMatchAttributes": "sniHosts* destinationSubnets* port:int sourceSubnet sourceLabels% gateways*",
    "TCPRoute": "match*:L4MatchAttributes route*:DestinationWeight",
    "L4MatchAttributes": "destinationSubnets* port:int sourceSubnet sourceLabels% gateways*",
    "DestinationRule": "host trafficPolicy:TrafficPolicy subsets*:Subset",
    "Subset": "name labels% trafficPolicy:TrafficPolicy",
    "TrafficPolicy": "loadBalancer:LoadBalancerSettings connectionPool:ConnectionPoolSettings "
    "outlierDetection:OutlierDetection tls:TLSSettings portLevelSettings*:PortTrafficPolicy",
    "PortTrafficPolicy": "port:PortSelector loadBalancer:LoadBalancerSettings "
    "connectionPool:ConnectionPoolSettings outlierDetection:OutlierDetection tls:TLSSettings",
    "LoadBalancerSettings": "simple:SimpleLB consistentHash:ConsistentHashLB",
    "ConsistentHashLB": "httpHeaderName httpCookie:HTTPCookie useSourceIp:bool minimumRingSize:int",
    "HTTPCookie": "name path ttl:duration",
    "ConnectionPoolSettings": "tcp:TCPSettings http:HTTPSettings",
    "TCPSettings": "maxConnections:int connectTimeout:duration",
    "HTTPSettings": "http1MaxPendingRequests:int http2MaxRequests:int maxRequestsPerConnection:int "
    "maxRetries:int",
    "OutlierDetection": "consecutiveErrors:int interval:duration baseEjectionTime:duration "
    "maxEjectionPercent:int",
    "TLSSettings": "mode:TLSmode clientCertificate privateKey caCertificates subjectAltNames* sni",
    "Gateway": "servers*:Server selector%",
    "Server": "port:Port hosts* tls:TLSOptions",
    "Port": "number:int protocol name",
    "TLSOptions": "httpsRedirect:bool mode:ServerTLSmode serverCertificate privateKey caCertificates "
    "subjectAltNames*",
    "ServiceEntry": "hosts* addresses* ports*:Port location:Location resolution:Resolution "
    "endpoints*:Endpoint",
    "Endpoint": "address ports%:int labels%",
    "EnvoyFilter": "workloadLabels% filters*:Filter",
    "Filter": "listenerMatch:ListenerMatch insertPosition:InsertPosition filterType:FilterType filterName "
    "filterConfig:any",
    "ListenerMatch": "portNumber:int portNamePrefix listenerType listenerProtocol address*",
    "InsertPosition": "index:InsertIndex relativeTo",
    "Policy": "targets*:TargetSelector peers*:PeerAuthenticationMethod peerIsOptional:bool "
    "origins*:OriginAuthenticationMethod originIsOptional:bool principalBinding:PrincipalBinding",
    "TargetSelector": "name ports*:PortSelector",
    "PeerAuthenticationMethod": "mtls:MutualTls jwt:Jwt",
    "MutualTls": "allowTls:bool mode:MutualTlsMode",
    "OriginAuthenticationMethod": "jwt:Jwt",
    "Jwt": "issuer audiences* jwksUri jwks jwtHeaders* jwtParams*",
    "RbacConfig": "mode:RbacMode inclusion:RbacTarget exclusion:RbacTarget enforcementMode:EnforcementMode",
    "RbacTarget": "services* namespaces*",
    "ServiceRole": "rules*:AccessRule",
    "AccessRule": "services* paths* methods* constraints*:Constraint",
    "Constraint": "key values*",
    "ServiceRoleBinding": "subjects*:Subject roleRef:RoleRef mode:EnforcementMode",
    "Subject": "user group properties%",
    "RoleRef": "kind name",
    "HTTPAPISpec": "attributes:any patterns*:any apiKeys*:any",
    "HTTPAPISpecBinding": "services*:IstioService apiSpecs*:SpecReference",
    "QuotaSpec": "rules*:QuotaRule",
    "QuotaRule": "match*:any quotas*:Quota",
    "Quota": "quota charge:int",
    "QuotaSpecBinding": "services*:IstioService quotaSpecs*:SpecReference",
    "IstioService": "name namespace domain service labels%",
    "SpecReference": "name namespace",
    "Rule": "match actions*:Action requestHeaderOperations*:any responseHeaderOperations*:any",
    "Action": "handler instances* name",
    "AttributeManifest": "revision name attributes%:AttributeInfo",
    "AttributeInfo": "description valueType:ValueType",
}

ENUMS: Mapping[str, str] = {
    "SimpleLB": "ROUND_ROBIN LEAST_CONN RANDOM PASSTHROUGH",
    "TLSmode": "DISABLE SIMPLE MUTUAL ISTIO_MUTUAL",
    "ServerTLSmode": "PASSTHROUGH SIMPLE MUTUAL",
    "Location": "MESH_EXTERNAL MESH_INTERNAL",
    "Resolution": "NONE STATIC DNS",
    "FilterType": "INVALID HTTP NETWORK",
    "InsertIndex": "FIRST LAST BEFORE AFTER",
    "MutualTlsMode": "STRICT PERMISSIVE",
    "PrincipalBinding": "USE_PEER USE_ORIGIN",
    "RbacMode": "OFF ON ON_WITH_INCLUSION ON_WITH_EXCLUSION",
    "EnforcementMode": "ENFORCED PERMISSIVE",
    "ValueType": "VALUE_TYPE_UNSPECIFIED STRING INT64 DOUBLE BOOL TIMESTAMP IP_ADDRESS EMAIL_ADDRESS URI "
    "DNS_NAME DURATION STRING_MAP",
}

# JSON, as the API server sent it.
_Json = Any

_SCALARS: Mapping[str, type] = {"string": str, "bool": bool, "int": int, "duration": str}
_DURATION = re.compile(r"[-+]?(\d+(\.\d*)?(ns|us|µs|ms|s|m|h))+")


class DecodingError(Exception):
    """A spec is not of the form that its kind has; the text names the field."""


def read(message: str, value: _Json, where: str = "") -> _Json:
    """Return a value with its fields' names in camelCase, if it is of the form of a message.

    Args:
        message: A name in `MESSAGES` or `ENUMS`, or one of ``string bool int duration any``.
        value: JSON, as the API server sent it.
        where: The path of the value inside the spec, for errors.

    Raises:
        DecodingError: A field is unknown, or a value is of another type.
    """
    if value is None or message == "any":
        return value
    if message in ENUMS:
        return _read_enum(message, value, where)
    if message not in MESSAGES:
        return _read_scalar(message, value, where)
    if not isinstance(value, dict):
        raise DecodingError(f"{where or 'spec'}: expected the fields of {message}, got {value!r}")
    fields = _fields(message)
    result = {}
    for given, inner in value.items():
        name = _camel(str(given))
        if name not in fields:
            raise DecodingError(f'unknown field "{given}" in {message}{f" at {where}" if where else ""}')
        shape, kind = fields[name]
        result[name] = _read_field(shape, kind, inner, f"{where}.{given}" if where else str(given))
    return result


def _fields(message: str) -> dict[str, tuple[str, str]]:
    fields = {}
    for field in MESSAGES[message].split():
        name, _, kind = field.partition(":")
        fields[name.rstrip("*%")] = (name[-1] if name[-1] in "*%" else "", kind or "string")
    return fields


def _read_field(shape: str, kind: str, value: _Json, where: str) -> _Json:
    if value is None or not shape:
        return read(kind, value, where)
    if shape == "*":
        if not isinstance(value, list):
            raise DecodingError(f"{where}: expected a list, got {value!r}")
        return [_read_item(kind, item, f"{where}[{number}]") for number, item in enumerate(value)]
    if not isinstance(value, dict):
        raise DecodingError(f"{where}: expected a map, got {value!r}")
    return {str(key): _read_item(kind, item, f"{where}[{key}]") for key, item in value.items()}


def _read_item(kind: str, value: _Json, where: str) -> _Json:
    if value is None:
        raise DecodingError(f"{where}: null is no {kind}")
    return read(kind, value, where)


def _read_enum(name: str, value: _Json, where: str) -> str:
    values = ENUMS[name].split()
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(values):
        return values[value]
    if value not in values:
        raise DecodingError(
            f"{where}: unknown value {value!r} for enum {name}, expected one of {', '.join(values)}"
        )
    return str(value)


def _read_scalar(kind: str, value: _Json, where: str) -> _Json:
    if kind == "int" and isinstance(value, str) and re.fullmatch(r"-?\d+", value):
        return int(value)  # the JSON form of protocol buffers allows it
    if not isinstance(value, _SCALARS[kind]) or (kind == "int" and isinstance(value, bool)):
        raise DecodingError(f"{where}: expected a {kind}, got {value!r}")
    if kind == "duration" and not _DURATION.fullmatch(str(value)):
        raise DecodingError(f"{where}: bad Duration: invalid duration {value!r}")
    return value


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word[:1].upper() + word[1:] for word in rest)
