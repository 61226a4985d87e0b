"""`llm`; PROVIDER is openai or ollama."""

import json
import os
import pathlib
import tempfile

from checks import CHAT, CITY, CITY_SCHEMA, KEY, STORY, TEXTS, URL, WEATHER, run, weather

PROVIDER = os.environ["PROVIDER"]
folder = pathlib.Path(tempfile.mkdtemp())
os.environ["LLM_USER_PATH"] = str(folder)
os.environ["OLLAMA_HOST"] = URL
(folder / "extra-openai-models.yaml").write_text(
    "\n".join(
        f"- model_id: forge-{name}\n  model_name: {name}\n  api_base: {URL}/v1\n  api_key_name: forge\n"
        "  supports_schema: true\n  supports_tools: true\n"
        for name in {value for variable, value in os.environ.items() if variable.startswith("MODEL_")}
    )
)
(folder / "keys.json").write_text(json.dumps({"forge": KEY}))

import llm


def get_weather(city: str) -> str:
    """Returns the weather in a city."""
    return weather(city)


def open_model(model):
    return llm.get_model(f"forge-{model}" if PROVIDER == "openai" else f"{model}:latest")


def brief():
    return {"max_tokens": 200} if PROVIDER == "openai" else {"num_predict": 200}


def chat(model):
    return open_model(model).prompt(CHAT, stream=False, **brief()).text()


def stream(model):
    yield from open_model(model).prompt(STORY, stream=True, **brief())


def tools(model):
    return open_model(model).chain(WEATHER, tools=[get_weather], options=brief()).text()


def structured(model):
    return open_model(model).prompt(CITY, schema=CITY_SCHEMA, stream=False, **brief()).text()


if PROVIDER == "ollama":

    def embeddings(model):
        return list(llm.get_embedding_model(f"{model}:latest").embed_multi(TEXTS))


run(globals())
