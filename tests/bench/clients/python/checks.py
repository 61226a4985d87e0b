"""What each client is asked to do, and how its answers are judged.

A client's file defines some of the functions chat, stream, tools, structured and embeddings, and ends with `run(globals())`.
It gets the server's URL in URL, and in MODEL the model for the feature at hand. Each feature prints one line of JSON:
{"feature", "ok", "reason"}. A feature without a function is not printed.
"""

import json
import os
import sys
import traceback

URL = os.environ["URL"]
KEY = os.environ.get("KEY", "none")
FEATURES = ("chat", "stream", "tools", "structured", "embeddings")
# The directives in brackets are followed by the scripted model.
CHAT = "Say hello in one word. <<say Hello there, friend.>>"
# Longer, so that a stream has several pieces.
STORY = "Tell a story about a lighthouse. <<say Once there was a lighthouse by the sea.>>"
WEATHER = 'What is the weather in Paris? Use the tool. <<call get_weather {"city": "Paris"}>> <<say It is {result}>>'
SUNNY = "22 degrees and sunny"
CITY = 'Describe the city of Paris as JSON. <<say {"name": "Paris", "population": 2102650, "capital": true}>>'
TEXTS = ["The cat sits on the mat.", "Stock prices fell sharply on Monday."]
TOOL = {
    "name": "get_weather",
    "description": "Returns the weather in a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "description": "The city's name."}},
        "required": ["city"],
    },
}
CITY_SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "population": {"type": "integer"}, "capital": {"type": "boolean"}},
    "required": ["name", "population", "capital"],
    "additionalProperties": False,
}


def weather(city: str) -> str:
    """Returns the weather in a city."""
    calls.append(city)
    return SUNNY


# Arguments of the calls that the client made.
calls: list = []


def model(feature: str) -> str:
    return os.environ[f"MODEL_{feature.upper()}"]


def want(condition: object, reason: str) -> None:
    if not condition:
        raise AssertionError(reason)


def judge(feature: str, result) -> None:
    if feature == "chat":
        want(isinstance(result, str) and result.strip(), f"no text: {result!r}")
    elif feature == "stream":
        pieces = [piece for piece in result if piece]
        want(len(pieces) > 1, f"{len(pieces)} pieces: {pieces!r}")
    elif feature == "tools":
        want(calls == ["Paris"], f"calls: {calls!r}")
        want(isinstance(result, str) and SUNNY in result, f"the tool's result is not in the answer: {result!r}")
    elif feature == "structured":
        city = result if isinstance(result, dict) else json.loads(result)
        types = {name: type(city.get(name)).__name__ for name in ("name", "population", "capital")}
        want(types == {"name": "str", "population": "int", "capital": "bool"}, f"got {city!r}")
        if model(feature) == "scripted":
            want(city["name"] == "Paris" and city["population"] == 2102650, f"got {city!r}")
    elif feature == "embeddings":
        want(len(result) == 2 and len(result[0]) == len(result[1]) > 8, "not two vectors of equal length")
        want(list(result[0]) != list(result[1]), "both vectors are equal")


def run(functions: dict) -> None:
    for feature in FEATURES:
        if feature not in functions or feature not in sys.argv[1:]:
            continue
        calls.clear()
        try:
            result = functions[feature](model(feature))
            judge(feature, list(result) if feature == "stream" else result)
            line = {"feature": feature, "ok": True}
        except BaseException as error:
            if os.environ.get("TRACE"):
                traceback.print_exc()
            line = {"feature": feature, "ok": False, "reason": f"{type(error).__name__}: {error}"}
        print(json.dumps(line), flush=True)
