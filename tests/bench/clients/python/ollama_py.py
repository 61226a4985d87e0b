"""Ollama's client."""

import ollama

from checks import CHAT, CITY, CITY_SCHEMA, STORY, TEXTS, URL, WEATHER, run, weather

client = ollama.Client(host=URL)
# Without a limit, a small model may go on to the end of its context.
BRIEF = {"num_predict": 100, "temperature": 0}


def get_weather(city: str) -> str:
    """Returns the weather in a city.

    Args:
        city: The city's name.
    """
    return weather(city)


def chat(model):
    return client.chat(model, [{"role": "user", "content": CHAT}], options=BRIEF).message.content


def stream(model):
    for part in client.chat(model, [{"role": "user", "content": STORY}], stream=True, options=BRIEF):
        yield part.message.content


def tools(model):
    messages = [{"role": "user", "content": WEATHER}]
    answer = client.chat(model, messages, tools=[get_weather]).message
    messages.append(answer)
    for call in answer.tool_calls or []:
        messages.append(
            {"role": "tool", "tool_name": call.function.name, "content": get_weather(**call.function.arguments)}
        )
    return client.chat(model, messages, tools=[get_weather]).message.content


def structured(model):
    return client.chat(model, [{"role": "user", "content": CITY}], format=CITY_SCHEMA).message.content


def embeddings(model):
    return client.embed(model, TEXTS).embeddings


run(globals())
