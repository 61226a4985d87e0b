"""Haystack; PROVIDER is openai or ollama."""

import os

from haystack.dataclasses import ChatMessage, Document
from haystack.tools import create_tool_from_function
from haystack.utils import Secret

from checks import CHAT, CITY, CITY_SCHEMA, KEY, STORY, TEXTS, URL, WEATHER, run, weather

PROVIDER = os.environ["PROVIDER"]


def get_weather(city: str) -> str:
    """Returns the weather in a city."""
    return weather(city)


def generator(model, form=None, **more):
    if PROVIDER == "ollama":
        from haystack_integrations.components.generators.ollama import OllamaChatGenerator

        limit = {"num_predict": 200}
        return OllamaChatGenerator(model=model, url=URL, generation_kwargs=limit, response_format=form, **more)
    from haystack.components.generators.chat import OpenAIChatGenerator

    schema = {"type": "json_schema", "json_schema": {"name": "city", "strict": True, "schema": form}}
    settings = {"max_completion_tokens": 200, **({"response_format": schema} if form else {})}
    return OpenAIChatGenerator(
        Secret.from_token(KEY),
        model,
        api_base_url=f"{URL}/v1",
        generation_kwargs=settings,
        max_retries=0,
        **more,
    )


def chat(model):
    return generator(model).run([ChatMessage.from_user(CHAT)])["replies"][0].text


def stream(model):
    pieces = []
    generator(model, streaming_callback=lambda chunk: pieces.append(chunk.content)).run([ChatMessage.from_user(STORY)])
    return pieces


def tools(model):
    talker = generator(model, tools=[create_tool_from_function(get_weather)])
    messages = [ChatMessage.from_user(WEATHER)]
    answer = talker.run(messages)["replies"][0]
    messages.append(answer)
    for call in answer.tool_calls:
        messages.append(ChatMessage.from_tool(get_weather(**call.arguments), call))
    return talker.run(messages)["replies"][0].text


def structured(model):
    return generator(model, CITY_SCHEMA).run([ChatMessage.from_user(CITY)])["replies"][0].text


def embeddings(model):
    documents = [Document(content=text) for text in TEXTS]
    if PROVIDER == "ollama":
        from haystack_integrations.components.embedders.ollama import OllamaDocumentEmbedder

        embedder = OllamaDocumentEmbedder(model=model, url=URL, progress_bar=False)
    else:
        from haystack.components.embedders import OpenAIDocumentEmbedder

        embedder = OpenAIDocumentEmbedder(
            Secret.from_token(KEY), model, api_base_url=f"{URL}/v1", progress_bar=False, max_retries=0
        )
    return [document.embedding for document in embedder.run(documents)["documents"]]


run(globals())
