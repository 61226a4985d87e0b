"""OpenAI's Agents SDK; PROVIDER is responses or chat."""

import asyncio
import os

from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI
from pydantic import BaseModel

from checks import CHAT, CITY, KEY, STORY, URL, WEATHER, run, weather

set_tracing_disabled(True)
BRIEF = ModelSettings(max_tokens=200)
PROVIDER = os.environ["PROVIDER"]


class City(BaseModel):
    name: str
    population: int
    capital: bool


@function_tool
def get_weather(city: str) -> str:
    """Returns the weather in a city."""
    return weather(city)


def agent(model, **more):
    client = AsyncOpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0)
    kind = OpenAIResponsesModel if PROVIDER == "responses" else OpenAIChatCompletionsModel
    return Agent(name="guide", instructions="You are brief.", model=kind(model, client), model_settings=BRIEF, **more)


def chat(model):
    return Runner.run_sync(agent(model), CHAT).final_output


def stream(model):
    async def collect():
        pieces = []
        async for event in Runner.run_streamed(agent(model), STORY).stream_events():
            if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
                pieces.append(event.data.delta)
        return pieces

    return asyncio.run(collect())


def tools(model):
    return Runner.run_sync(agent(model, tools=[get_weather]), WEATHER).final_output


def structured(model):
    return Runner.run_sync(agent(model, output_type=City), CITY).final_output.model_dump()


run(globals())
