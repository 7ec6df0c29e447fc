"""Google's discovery document: which requests there are, and what may be in them.

https://developers.google.com/discovery/v1/reference/apis. The document is a file of google-api-python-client.
"""

from __future__ import annotations

import base64
import binascii
import importlib.util
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

SIZES = {"int32": (-(2**31), 2**31 - 1), "uint32": (0, 2**32 - 1), "int64": (-(2**63), 2**63 - 1)}
SIZES["uint64"] = (0, 2**64 - 1)


class Invalid(Exception):
    """The request is not one of the API's. `path`: where in it."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"Invalid value for field '{path}': {message}")


@dataclass(frozen=True)
class Method:
    """`id`: such as `instances.insert`; `pattern`: of the path, with its parameters as groups."""

    id: str
    verb: str
    pattern: re.Pattern[str]
    parameters: dict[str, Any]
    request: str
    response: str


@dataclass(frozen=True)
class Call:
    """A request that is in order. `path`: parameters of the path, `query`: the others."""

    method: Method
    path: dict[str, str]
    query: dict[str, str]
    body: dict[str, Any]


class Discovery:
    """The methods and schemas of one API (`compute.v1`)."""

    def __init__(self, name: str) -> None:
        spec = importlib.util.find_spec("googleapiclient")
        assert spec is not None, "google-api-python-client is not installed"
        assert spec.origin, "google-api-python-client is not installed"
        path = Path(spec.origin).parent / "discovery_cache" / "documents" / f"{name}.json"
        self.document: dict[str, Any] = json.loads(path.read_text())
        self.schemas: dict[str, Any] = self.document["schemas"]
        self.api = name.partition(".")[0]
        self.methods = [self._method(raw) for raw in self._raw(self.document)]

    def call(self, verb: str, url: str, raw_body: bytes) -> Call | None:
        """Return what is asked; nothing when no method has this path. Raises Invalid for a bad request."""
        parts = urlsplit(url)
        for method in self.methods:
            match = method.pattern.fullmatch(parts.path) if method.verb == verb else None
            if match:
                found = {name: unquote(value) for name, value in match.groupdict().items()}
                return self._checked(method, found, parts.query, raw_body)
        return None

    def _checked(self, method: Method, path: dict[str, str], query: str, raw_body: bytes) -> Call:
        self._check_pieces(method, path, "path")
        given = dict(parse_qsl(query, keep_blank_values=True))
        known = {name: value for name, value in given.items() if name not in self.document["parameters"]}
        self._check_pieces(method, known, "query")
        body = self._body(method, raw_body)
        return Call(method, path, given, body)

    def _check_pieces(self, method: Method, given: dict[str, str], location: str) -> None:
        for name, value in given.items():
            parameter = method.parameters.get(name)
            if parameter is None or parameter["location"] != location:
                raise Invalid(name, f"{method.id} has no such {location} parameter")
            self._check_text(parameter, value, name)
        for name, parameter in method.parameters.items():
            if parameter["location"] == location and parameter.get("required") and name not in given:
                raise Invalid(name, "it is required")
        if "requestId" in given and not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", given["requestId"]):
            raise Invalid("requestId", "not a UUID")

    def _check_text(self, schema: dict[str, Any], value: str, path: str) -> None:
        pattern = schema.get("pattern")
        if pattern and not re.fullmatch(pattern, value):
            raise Invalid(path, f"{value!r} does not match {pattern}")
        if schema["type"] == "boolean" and value.lower() not in ("true", "false"):
            raise Invalid(path, f"{value!r} is no boolean")
        if schema["type"] == "integer" and not re.fullmatch(r"-?\d+", value):
            raise Invalid(path, f"{value!r} is no integer")

    def _body(self, method: Method, raw: bytes) -> dict[str, Any]:
        if not method.request:
            if raw not in (b"", b"{}"):
                raise Invalid("body", f"{method.id} takes none")
            return {}
        try:
            body = json.loads(raw)
        except ValueError:
            raise Invalid("body", "not JSON") from None
        if not isinstance(body, dict):
            raise Invalid("body", "not an object")
        self.check({"$ref": method.request}, body, "resource", f"{self.api}.{method.id}")
        return body

    def check(self, schema: dict[str, Any], value: Any, path: str, method: str) -> None:
        """Raise Invalid unless `value` is what `schema` says: known fields, right types, nothing read-only.

        `method`: what it is the request of; empty for an answer."""
        if "$ref" in schema:
            schema = {"type": "object", **self.schemas[schema["$ref"]]}
        said = re.match(r"\s*(Output only\.)?\s*\[Output Only\]", schema.get("description", ""))
        if (schema.get("readOnly") or said) and method:
            raise Invalid(path, "it is set by the server")
        kind = schema["type"]
        if kind == "object":
            self._check_object(schema, value, path, method)
        elif kind == "array":
            if not isinstance(value, list):
                raise Invalid(path, "not an array")
            for number, item in enumerate(value):
                self.check(schema["items"], item, f"{path}[{number}]", method)
        else:
            _check_scalar(schema, value, path)

    def check_answer(self, method: Method, document: dict[str, Any]) -> None:
        """Raise Invalid unless `document` is what the method answers; keeps the pretended API honest."""
        self.check({"$ref": method.response}, document, "answer", "")

    def _check_object(self, schema: dict[str, Any], value: Any, path: str, method: str) -> None:
        if not isinstance(value, dict):
            raise Invalid(path, "not an object")
        properties, other = schema.get("properties", {}), schema.get("additionalProperties")
        for name, item in value.items():
            if name not in properties and other is None:
                raise Invalid(f"{path}.{name}", "unknown field")
            self.check(properties.get(name, other), item, f"{path}.{name}", method)
        for name, inner in properties.items():
            required = inner.get("annotations", {}).get("required", ())
            if method in required and name not in value:
                raise Invalid(f"{path}.{name}", "it is required")

    def _raw(self, node: dict[str, Any]) -> list[dict[str, Any]]:
        found = list(node.get("methods", {}).values())
        for child in node.get("resources", {}).values():
            found += self._raw(child)
        return found

    def _method(self, raw: dict[str, Any]) -> Method:
        parameters = raw.get("parameters", {})
        path = re.escape("/" + self.document["servicePath"] + (raw.get("flatPath") or raw["path"]))
        pattern = re.sub(r"\\\{(\w+)\\\}", lambda match: f"(?P<{match[1]}>[^/]+)", path)
        request, response = raw.get("request", {}).get("$ref", ""), raw.get("response", {}).get("$ref", "")
        name = raw["id"].partition(".")[2]
        return Method(name, raw["httpMethod"], re.compile(pattern), parameters, request, response)


def _check_scalar(schema: dict[str, Any], value: Any, path: str) -> None:
    kind, form = schema["type"], schema.get("format", "")
    accepted: tuple[type, ...] = {
        "string": (str,),
        "integer": (int,),
        "number": (int, float),
        "boolean": (bool,),
        "any": (object,),
    }[kind]
    # 64-bit integers are written as strings in JSON; Google takes numbers, too.
    if form in ("int64", "uint64"):
        accepted = (str, int)
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind not in ("boolean", "any")):
        raise Invalid(path, f"{value!r} is no {form or kind}")
    if form in SIZES:
        low, high = SIZES[form]
        if not re.fullmatch(r"-?\d+", str(value)) or not low <= int(str(value)) <= high:
            raise Invalid(path, f"{value!r} is no {form}")
    if form == "byte":
        try:
            base64.b64decode(str(value), altchars=b"-_", validate=True)
        except binascii.Error:
            raise Invalid(path, f"{value!r} is not base64") from None
    if "enum" in schema and value not in schema["enum"]:
        raise Invalid(path, f"{value!r} is none of {', '.join(schema['enum'])}")
    if "pattern" in schema and isinstance(value, str) and value and not re.fullmatch(schema["pattern"], value):
        raise Invalid(path, f"{value!r} does not match {schema['pattern']}")


@cache
def compute() -> Discovery:
    return Discovery("compute.v1")
