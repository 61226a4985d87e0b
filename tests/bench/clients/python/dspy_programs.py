"""DSPy, which writes its own prompts. The scripted answer is in the form that its adapter reads."""

import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import dspy
from pydantic import BaseModel

from checks import KEY, TEXTS, URL, run

FIELDS = '{"name": "Paris", "population": 2102650, "capital": true}'


class City(BaseModel):
    name: str
    population: int
    capital: bool


def predict(model, adapter, signature, question):
    lm = dspy.LM(f"openai/{model}", api_base=f"{URL}/v1", api_key=KEY, max_tokens=300, cache=False, num_retries=0)
    with dspy.context(lm=lm, adapter=adapter):
        return dspy.Predict(signature)(question=question)


def chat(model):
    said = "[[ ## answer ## ]]\nHello there.\n\n[[ ## completed ## ]]"
    return predict(model, dspy.ChatAdapter(), "question -> answer", f"Say hello. <<say {said}>>").answer


def structured(model):
    signature = dspy.Signature("question -> city: City", custom_types={"City": City})
    question = f'Describe Paris. <<say {{"city": {FIELDS}}}>>'
    return predict(model, dspy.JSONAdapter(), signature, question).city.model_dump()


def embeddings(model):
    return dspy.Embedder(f"openai/{model}", api_base=f"{URL}/v1", api_key=KEY, caching=False)(TEXTS)


run(globals())
