"""OpenAI's client, responses."""

import json

from openai import OpenAI
from pydantic import BaseModel

from checks import CHAT, CITY, KEY, STORY, TOOL, URL, WEATHER, run, weather

client = OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0)


class City(BaseModel):
    name: str
    population: int
    capital: bool


def chat(model):
    return client.responses.create(model=model, input=CHAT, max_output_tokens=100).output_text


def stream(model):
    with client.responses.stream(model=model, input=STORY, max_output_tokens=100) as events:
        for event in events:
            if event.type == "response.output_text.delta":
                yield event.delta


def tools(model):
    history = [{"role": "user", "content": WEATHER}]
    offered = [{"type": "function", **TOOL}]
    answer = client.responses.create(model=model, input=history, tools=offered, include=["reasoning.encrypted_content"])
    history += answer.output
    for item in answer.output:
        if item.type == "function_call":
            result = weather(**json.loads(item.arguments))
            history.append({"type": "function_call_output", "call_id": item.call_id, "output": result})
    return client.responses.create(model=model, input=history, tools=offered).output_text


def structured(model):
    answer = client.responses.parse(model=model, input=CITY, text_format=City, max_output_tokens=200)
    return answer.output_parsed.model_dump()


run(globals())
