"""Pydantic AI; PROVIDER is openai, openai-responses, anthropic or ollama."""

import asyncio
import os

from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput

from checks import CHAT, CITY, KEY, STORY, URL, WEATHER, run, weather

PROVIDER = os.environ["PROVIDER"]


BRIEF = {"max_tokens": 200}


class City(BaseModel):
    name: str
    population: int
    capital: bool


def open_model(model):
    if PROVIDER == "anthropic":
        from anthropic import AsyncAnthropic
        from pydantic_ai.models.anthropic import AnthropicModel
        from pydantic_ai.providers.anthropic import AnthropicProvider

        client = AsyncAnthropic(base_url=URL, api_key=KEY, max_retries=0)
        return AnthropicModel(model, provider=AnthropicProvider(anthropic_client=client))
    from openai import AsyncOpenAI
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
    from pydantic_ai.providers.ollama import OllamaProvider
    from pydantic_ai.providers.openai import OpenAIProvider

    client = AsyncOpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0)
    if PROVIDER == "ollama":
        return OpenAIChatModel(model, provider=OllamaProvider(openai_client=client))
    kind = OpenAIResponsesModel if PROVIDER == "openai-responses" else OpenAIChatModel
    return kind(model, provider=OpenAIProvider(openai_client=client))


def chat(model):
    return Agent(open_model(model), model_settings=BRIEF).run_sync(CHAT).output


def stream(model):
    async def collect():
        async with Agent(open_model(model), model_settings=BRIEF).run_stream(STORY) as result:
            return [piece async for piece in result.stream_text(delta=True, debounce_by=None)]

    return asyncio.run(collect())


def tools(model):
    agent = Agent(open_model(model), model_settings=BRIEF)

    @agent.tool_plain
    def get_weather(city: str) -> str:
        """Returns the weather in a city."""
        return weather(city)

    return agent.run_sync(WEATHER).output


def structured(model):
    if PROVIDER == "openai":
        return Agent(open_model(model), model_settings=BRIEF, output_type=NativeOutput(City)).run_sync(CITY).output.model_dump()
    # The output is a call of a tool.
    prompt = CITY.replace("<<say ", "<<call final_result ")
    return Agent(open_model(model), model_settings=BRIEF, output_type=City).run_sync(prompt).output.model_dump()


run(globals())
