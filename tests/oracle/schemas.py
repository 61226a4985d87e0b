"""Other libraries' view of JSON schemas and texts, for the tests of src/grammar. Each line of the input is a request, each line of the
output its answer, as JSON.

    {"pydantic": null}                        → {type name: JSON schema}, of ordinary field types
    {"pydantic": name, "texts": [...]}        → [error or null, ...]
    {"jsonschema": schema, "texts": [...]}    → [true where the text is JSON that validates, ...]
    {"llguidance": schema, "texts": [...]}    → [true where the text is accepted, ...], or {"error": ...}
"""

import datetime
import decimal
import enum
import ipaddress
import json
import pathlib
import sys
import typing
import uuid
import warnings


def pydantic_models():
    from pydantic import BaseModel, Base64Bytes, EmailStr, Field, HttpUrl, Json, SecretStr, create_model

    class A(BaseModel):
        k: typing.Literal["a"]
        x: int

    class B(BaseModel):
        k: typing.Literal["b"]
        y: str

    class E(enum.Enum):
        x = "x"
        y = "y"

    def having(kind, **limits):
        return typing.Annotated[kind, Field(**limits)]

    types = {
        "HttpUrl": HttpUrl,
        "set[int]": set[int],
        "frozenset[str]": frozenset[str],
        "Decimal": decimal.Decimal,
        "timedelta": datetime.timedelta,
        "IPv6Address": ipaddress.IPv6Address,
        "IPv4Address": ipaddress.IPv4Address,
        "Path": pathlib.Path,
        "bytes": bytes,
        "SecretStr": SecretStr,
        "UUID": uuid.UUID,
        "datetime": datetime.datetime,
        "date": datetime.date,
        "time": datetime.time,
        "discriminated union": having(typing.Union[A, B], discriminator="k"),
        "union": typing.Union[A, B],
        "multiple_of": having(int, multiple_of=5),
        "dict[str, int]": dict[str, int],
        "dict of some": having(dict[str, int], min_length=1),
        "dict[Literal, int]": dict[typing.Literal["a", "b"], int],
        "tuple[int, str]": tuple[int, str],
        "Any": typing.Any,
        "Optional[str]": typing.Optional[str],
        "Enum": E,
        "pattern of an address": having(str, pattern=r"^[^@\s]+@[^@\s]+$"),
        "pattern of digits": having(str, pattern=r"^\d{3}-\d{4}$"),
        "examples": having(str, examples=["a"], description="x"),
        "json_schema_extra": having(str, json_schema_extra={"x-order": 1}),
        "deprecated": having(str, deprecated=True),
        "Json": Json,
        "float range": having(float, ge=0.5, lt=2),
        "list[list[int]]": list[list[int]],
        "Base64Bytes": Base64Bytes,
        "EmailStr": EmailStr,
    }
    return {name: create_model("X", f=(kind, ...)) for name, kind in types.items()}


def check_pydantic(model, text):
    try:
        model.model_validate_json(text)
        return None
    except Exception as error:
        return str(error)


def exact(text):
    """Numbers without rounding: whole ones as int, also where they are written as 1.0."""

    def number(digits):
        value = decimal.Decimal(digits)
        return int(value) if value == value.to_integral_value() else value

    return json.loads(text, parse_float=number, parse_constant=lambda name: 1 / 0)


def check_jsonschema(validator, text):
    try:
        return validator.is_valid(exact(text))
    except (ValueError, ArithmeticError, RecursionError):
        return False


class Acceptor:
    """Matches whole texts with llguidance, byte by byte."""

    def __init__(self, schema):
        import llguidance

        self.tokenizer = llguidance.LLTokenizer("byte")
        grammar = llguidance.LLMatcher.grammar_from_json_schema(json.dumps(schema, default=float), {"whitespace_flexible": True})
        self.matcher = llguidance.LLMatcher(self.tokenizer, grammar, log_level=0)
        if self.matcher.get_error():
            raise ValueError(self.matcher.get_error())

    def accepts(self, text):
        tokens = list(text.encode())
        if self.matcher.validate_tokens(tokens) < len(tokens):
            return False
        self.matcher.consume_tokens(tokens)
        accepted = self.matcher.is_accepting()
        self.matcher.reset()
        return accepted


def answer(request, state):
    if "pydantic" in request:
        if not state:
            state.update(pydantic_models())
        models = state
        if request["pydantic"] is None:
            return {name: model.model_json_schema() for name, model in models.items()}
        return [check_pydantic(models[request["pydantic"]], text) for text in request["texts"]]
    if "jsonschema" in request:
        import jsonschema

        kind = jsonschema.Draft202012Validator
        validator = kind(request["jsonschema"], format_checker=kind.FORMAT_CHECKER)
        return [check_jsonschema(validator, text) for text in request["texts"]]
    try:
        acceptor = Acceptor(request["llguidance"])
        return [acceptor.accepts(text) for text in request["texts"]]
    except ValueError as error:
        return {"error": str(error)}


warnings.simplefilter("ignore")
state = {}
for line in sys.stdin:
    print(json.dumps(answer(exact(line), state)), flush=True)
