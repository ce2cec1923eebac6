"""The parameters that an app declares, in words: FastAPI's and pydantic's fields, Starlette's convertors, security schemes. Pure."""

from __future__ import annotations

import base64
import inspect
import re
import types
import typing
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Annotated, Any

from pydantic import BaseModel, TypeAdapter
from starlette.convertors import Convertor

from kit.parameters import Parameter, Where, wire_text

__all__ = ["from_convertor", "from_field", "from_security"]

_SCHEMA_WORDS = {"integer": "whole number", "number": "number", "boolean": "true or false", "string": "text", "object": "JSON object", "array": "list"}
_FORMAT_WORDS = {
    "date": "date, such as 2026-11-21",
    "date-time": "date and time, such as 2026-11-21T09:30:00",
    "time": "time, such as 09:30:00",
    "duration": "duration, such as PT15M",
    "uuid": "UUID",
    "email": "e-mail address",
    "uri": "address (URL)",
    "binary": "bytes, as text",
}
_LIMITS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
    "minLength": "{} characters or more",
    "maxLength": "{} characters or fewer",
    "minItems": "{} values or more",
    "maxItems": "{} values or fewer",
    "pattern": "matches {}",
}
_CONVERTOR_SCHEMAS = {
    "IntegerConvertor": {"type": "integer", "minimum": 0},
    "FloatConvertor": {"type": "number", "minimum": 0},
    "UUIDConvertor": {"format": "uuid"},
}


def from_field(name: str, info: Any, where: Where, *, asked_by: str, dashes: bool = False, optional: bool = False) -> Iterator[Parameter]:
    """The parameter that a field of FastAPI's or pydantic's describes; all those of a model that stands for several.

    Args:
        dashes: an underscore in a header's name is sent as a dash (``Header(convert_underscores=True)``, the default).
        optional: the model it belongs to may be left out.
    """
    model = _model_in(info.annotation)
    if model is not None and where != "path":
        may_be_left_out = optional or not info.is_required()
        for each, inner in model.model_fields.items():
            yield from from_field(each, inner, where, asked_by=asked_by, dashes=getattr(info, "convert_underscores", dashes), optional=may_be_left_out)
        return
    sent_as = _alias(info) or (name.replace("_", "-") if dashes else name)
    adapter, schema = _schema(info)
    required = info.is_required() and not optional
    yield Parameter(
        name=name,
        where=where,
        sent_as=sent_as,
        **_in_words(schema, info.annotation),
        required=required,
        default="" if required else _default(info),
        description=inspect.cleandoc(info.description or ""),
        examples=tuple(map(wire_text, _examples(info))),
        deprecated=bool(getattr(info, "deprecated", None)),
        asked_by=(asked_by,),
        adapters=(adapter,) if adapter else (),
    )


def from_convertor(name: str, convertor: Convertor[Any], where: Where, *, asked_by: str = "the path") -> Parameter:
    """A part of a path, or of a host name, of which only Starlette's convertor is known."""
    words = _in_words(_CONVERTOR_SCHEMAS.get(type(convertor).__name__, {"type": "string"}), str)
    if type(convertor).__name__ == "PathConvertor":
        words["kind"] = "path: text that may contain /"
    return Parameter(name=name, where=where, sent_as=name, **words, asked_by=(asked_by,), convertor=convertor)


def from_security(name: str | None, scheme: Any, *, asked_by: str) -> Parameter | None:
    """What a security scheme of FastAPI's wants to be sent, or None for one that does not say."""
    model = getattr(scheme, "model", None)
    kind = wire_text(getattr(model, "type_", ""))
    required = bool(getattr(scheme, "auto_error", True))
    described = inspect.cleandoc(getattr(model, "description", None) or "")
    make = partial(Parameter, required=required, default="" if required else "nobody", description=described, asked_by=(asked_by,))
    if kind == "apiKey":
        where = wire_text(getattr(model, "in_", "header"))
        return make(name=name or _python_name(model.name), where=typing.cast(Where, where), sent_as=model.name, kind="API key")
    if kind == "http" and model.scheme.lower() == "basic":
        return make(name=name or "authorization", where="header", sent_as="Authorization", kind="user:password, sent as “Basic …”", encode=_basic)
    if kind in ("http", "oauth2", "openIdConnect"):
        scheme_word = model.scheme.title() if kind == "http" else "Bearer"
        encode = partial(_with_scheme, scheme_word)
        return make(name=name or "authorization", where="header", sent_as="Authorization", kind=f"token, sent as “{scheme_word} …”", encode=encode)
    return None


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The pydantic model that an annotation is, alone or beside None."""
    options = [each for each in typing.get_args(annotation) if each is not type(None)] or [annotation]
    alone = options[0] if len(options) == 1 and typing.get_origin(annotation) in (None, typing.Union, types.UnionType) else None
    return alone if isinstance(alone, type) and issubclass(alone, BaseModel) else None


def _alias(info: Any) -> str | None:
    wanted = getattr(info, "validation_alias", None)
    wanted = next((each for each in getattr(wanted, "choices", ()) if isinstance(each, str)), wanted)
    return wanted if isinstance(wanted, str) and wanted else info.alias


def _schema(info: Any) -> tuple[TypeAdapter[Any] | None, Mapping[str, Any]]:
    """pydantic's own judge for a field, and its JSON schema; what has no schema is left to the server."""
    try:
        adapter = TypeAdapter(Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation)
    except Exception:
        return None, {}
    try:
        return adapter, adapter.json_schema()
    except Exception:
        return adapter, {}


def _in_words(schema: Mapping[str, Any], annotation: Any) -> dict[str, Any]:
    definitions = schema.get("$defs", {})
    options = [_resolved(option, definitions) for option in _options(_resolved(schema, definitions), definitions)]
    if len(options) > 1 and any(option.get("type") == "number" for option in options) and str not in typing.get_args(annotation):
        options = [option for option in options if option.get("type") != "string"]  # a Decimal also reads text
    listed = [option for option in options if option.get("type") == "array"]
    choices = tuple(wire_text(value) for option in options for value in (option.get("enum") or ([option["const"]] if "const" in option else [])))
    words = list(dict.fromkeys(_kind(option, definitions) for option in options))
    limits = [_LIMITS[key].format(_number(option[key])) for option in options for key in _LIMITS if key in option]
    kind = " or ".join(filter(None, words)) or _annotation_words(annotation)
    return {"kind": kind, "limits": tuple(dict.fromkeys(limits)), "choices": choices, "several": bool(listed)}


def _options(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The alternatives that a schema allows, without null."""
    alternatives = schema.get("anyOf") or schema.get("oneOf") or [schema]
    return [option for option in (_resolved(each, definitions) for each in alternatives) if option.get("type") != "null"]


def _resolved(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    return {**definitions[name], **schema} if name in definitions else schema


def _kind(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    if schema.get("type") == "array":
        inner = " or ".join(_kind(option, definitions) for option in _options(_resolved(schema.get("items", {}), definitions), definitions))
        return f"several of: {inner or 'anything'}"
    if schema.get("contentMediaType") == "application/json":
        return "JSON"
    if schema.get("enum") or "const" in schema:
        return "choice"
    if "format" in schema:
        return _FORMAT_WORDS.get(schema["format"], f"text ({schema['format']})")
    return _SCHEMA_WORDS.get(str(schema.get("type")), "")


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _annotation_words(annotation: Any) -> str:
    return "anything" if annotation in (Any, None, inspect.Parameter.empty) else inspect.formatannotation(annotation)


def _default(info: Any) -> str:
    if getattr(info, "default_factory", None) is not None:
        return "made anew each time"
    default = getattr(info, "default", None)
    if default is None or default is ... or type(default).__name__ == "PydanticUndefinedType":
        return "none"
    if isinstance(default, (list, tuple, set, frozenset)):
        return ", ".join(map(wire_text, default)) or "none"
    return wire_text(default) or "empty text"


def _examples(info: Any) -> list[Any]:
    named = getattr(info, "openapi_examples", None) or {}
    return [*(info.examples or ()), *(each["value"] for each in named.values() if isinstance(each, Mapping) and "value" in each)]


def _python_name(name: str) -> str:
    return re.sub(r"\W+", "_", name).strip("_").lower()


def _with_scheme(scheme: str, token: str) -> str:
    return token if token.lower().startswith(f"{scheme.lower()} ") else f"{scheme} {token}"


def _basic(credentials: str) -> str:
    return credentials if credentials.lower().startswith("basic ") else f"Basic {base64.b64encode(credentials.encode()).decode()}"
