"""Anthropic's client."""

import json

from anthropic import Anthropic

from checks import CHAT, CITY, CITY_SCHEMA, KEY, STORY, TOOL, URL, WEATHER, run, weather

client = Anthropic(base_url=URL, api_key=KEY, max_retries=0)
offered = [{"name": TOOL["name"], "description": TOOL["description"], "input_schema": TOOL["parameters"]}]


def ask(model, messages, **more):
    return client.messages.create(model=model, max_tokens=200, messages=messages, **more)


def text(message):
    return "".join(block.text for block in message.content if block.type == "text")


def chat(model):
    return text(ask(model, [{"role": "user", "content": CHAT}]))


def stream(model):
    with client.messages.stream(
        model=model, max_tokens=100, messages=[{"role": "user", "content": STORY}]
    ) as events:
        yield from events.text_stream


def tools(model):
    messages = [{"role": "user", "content": WEATHER}]
    answer = ask(model, messages, tools=offered)
    messages.append({"role": "assistant", "content": answer.content})
    results = [
        {"type": "tool_result", "tool_use_id": block.id, "content": weather(**block.input)}
        for block in answer.content
        if block.type == "tool_use"
    ]
    messages.append({"role": "user", "content": results})
    return text(ask(model, messages, tools=offered))


def structured(model):
    form = {"format": {"type": "json_schema", "schema": CITY_SCHEMA}}
    return json.loads(text(ask(model, [{"role": "user", "content": CITY}], output_config=form)))


run(globals())
