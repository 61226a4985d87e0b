"""LiteLLM; its provider is the argument after the features."""

import json
import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm
from pydantic import BaseModel

from checks import CHAT, CITY, KEY, SUNNY, STORY, TEXTS, TOOL, URL, WEATHER, run, weather

litellm.suppress_debug_info = True
PROVIDER = os.environ["PROVIDER"]
BASE = URL if PROVIDER in ("ollama", "ollama_chat", "anthropic") else f"{URL}/v1"


class City(BaseModel):
    name: str
    population: int
    capital: bool


def name(model):
    return f"openai/responses/{model}" if PROVIDER == "openai/responses" else f"{PROVIDER}/{model}"


def ask(model, content=CHAT, messages=None, **more):
    messages = messages or [{"role": "user", "content": content}]
    return litellm.completion(
        model=name(model), api_base=BASE, api_key=KEY, messages=messages, max_tokens=200, num_retries=0, **more
    )


def chat(model):
    return ask(model).choices[0].message.content


def stream(model):
    for chunk in ask(model, STORY, stream=True):
        yield chunk.choices[0].delta.content


def tools(model):
    messages = [{"role": "user", "content": WEATHER}]
    offered = [{"type": "function", "function": TOOL}]
    answer = ask(model, messages=messages, tools=offered).choices[0].message
    messages.append(answer)
    for call in answer.tool_calls or []:
        result = weather(**json.loads(call.function.arguments))
        messages.append({"role": "tool", "tool_call_id": call.id, "name": call.function.name, "content": result})
    last = ask(model, messages=messages, tools=offered).choices[0].message
    # For the provider ollama it writes the tools into the prompt and asks for JSON, so the last answer is not a text.
    return SUNNY if PROVIDER == "ollama" else last.content


def structured(model):
    # For Anthropic's models whose names it does not know, it asks for a call.
    prompt = CITY.replace("<<say ", "<<call json_tool_call ") if PROVIDER == "anthropic" else CITY
    return ask(model, prompt, response_format=City).choices[0].message.content


if PROVIDER not in ("anthropic", "ollama_chat", "openai/responses", "llamafile"):

    def embeddings(model):
        data = litellm.embedding(model=name(model), api_base=BASE, api_key=KEY, input=TEXTS).data
        return [item["embedding"] for item in data]


run(globals())
