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
    # In the last two, the schema is in the prompt alone, which a small model may not follow.
    tried = [modes.TOOLS, modes.TOOLS_STRICT, modes.JSON_SCHEMA]
    if model == "scripted":
        tried += [modes.JSON, modes.MD_JSON]
    cities = []
    for mode in tried:
        prompt = as_call if mode in (modes.TOOLS, modes.TOOLS_STRICT) else CITY
        cities.append(extract(instructor.from_openai(client, mode=mode), model, prompt))
    assert all(city.keys() == cities[0].keys() for city in cities), cities
    return cities[-1]


run(globals())
