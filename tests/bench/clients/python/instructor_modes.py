"""Instructor, which asks for structured output in several modes. PROVIDER is openai or anthropic."""

import os

import instructor
from anthropic import Anthropic
from openai import OpenAI
from pydantic import BaseModel

from checks import CITY, KEY, URL, run

PROVIDER = os.environ["PROVIDER"]


class City(BaseModel):
    """A city."""

    name: str
    population: int
    capital: bool


def extract(client, model, prompt):
    messages = [{"role": "user", "content": prompt}]
    return client.create(
        model=model, max_tokens=300, messages=messages, response_model=City, max_retries=1
    ).model_dump()


def structured(model):
    as_call = CITY.replace("<<say ", "<<call City ")
    if PROVIDER == "anthropic":
        client = Anthropic(base_url=URL, api_key=KEY, max_retries=0)
        return extract(instructor.from_anthropic(client), model, as_call)
    client = OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0)
    modes = instructor.Mode
    cities = [
        extract(instructor.from_openai(client, mode=mode), model, as_call if mode in (modes.TOOLS, modes.TOOLS_STRICT) else CITY)
        for mode in (modes.TOOLS, modes.TOOLS_STRICT, modes.JSON, modes.JSON_SCHEMA, modes.MD_JSON)
    ]
    assert all(city.keys() == cities[0].keys() for city in cities), cities
    return cities[-1]


run(globals())
