"""OpenAI's client, chat completions."""

import json

from openai import OpenAI
from pydantic import BaseModel

from checks import CHAT, CITY, KEY, STORY, TEXTS, TOOL, URL, WEATHER, run, weather

client = OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0)


class City(BaseModel):
    name: str
    population: int
    capital: bool


def ask(model, **more):
    more.setdefault("messages", [{"role": "user", "content": CHAT}])
    return client.chat.completions.create(model=model, max_tokens=200, **more)


def chat(model):
    return ask(model).choices[0].message.content


def stream(model):
    for chunk in ask(model, messages=[{"role": "user", "content": STORY}], stream=True, stream_options={"include_usage": True}):
        for choice in chunk.choices:
            yield choice.delta.content


def tools(model):
    messages = [{"role": "user", "content": WEATHER}]
    offered = [{"type": "function", "function": TOOL}]
    answer = ask(model, messages=messages, tools=offered).choices[0].message
    messages.append(answer.model_dump())
    for call in answer.tool_calls:
        result = weather(**json.loads(call.function.arguments))
        messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    return ask(model, messages=messages, tools=offered).choices[0].message.content


def structured(model):
    messages = [{"role": "user", "content": CITY}]
    answer = client.chat.completions.parse(model=model, messages=messages, response_format=City, max_tokens=200)
    return answer.choices[0].message.parsed.model_dump()


def embeddings(model):
    return [item.embedding for item in client.embeddings.create(model=model, input=TEXTS).data]


run(globals())
