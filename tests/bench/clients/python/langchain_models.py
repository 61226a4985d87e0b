"""LangChain; PROVIDER is openai, openai-responses, ollama or anthropic."""

import os

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel

from checks import CHAT, CITY, KEY, STORY, TEXTS, URL, WEATHER, run, weather

PROVIDER = os.environ["PROVIDER"]


class City(BaseModel):
    """A city."""

    name: str
    population: int
    capital: bool


@tool
def get_weather(city: str) -> str:
    """Returns the weather in a city."""
    return weather(city)


def open_model(model):
    if PROVIDER == "ollama":
        from langchain_ollama import ChatOllama

        return ChatOllama(base_url=URL, model=model, num_predict=200)
    if PROVIDER == "anthropic":
        from langchain_anthropic import ChatAnthropic

        return ChatAnthropic(base_url=URL, api_key=KEY, model=model, max_tokens=200, max_retries=0)
    from langchain_openai import ChatOpenAI

    responses = {"use_responses_api": True} if PROVIDER == "openai-responses" else {}
    return ChatOpenAI(base_url=f"{URL}/v1", api_key=KEY, model=model, max_tokens=200, max_retries=0, **responses)


def text(message):
    content = message.content
    if isinstance(content, str):
        return content
    return "".join(block.get("text", "") for block in content if isinstance(block, dict))


def chat(model):
    return text(open_model(model).invoke(CHAT))


def stream(model):
    for chunk in open_model(model).stream(STORY):
        yield text(chunk)


def tools(model):
    bound = open_model(model).bind_tools([get_weather])
    messages = [HumanMessage(WEATHER)]
    answer = bound.invoke(messages)
    messages.append(answer)
    for call in answer.tool_calls:
        messages.append(ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"]))
    return text(bound.invoke(messages))


def structured(model):
    # By default Anthropic's models are made to call a tool that has the schema's name.
    prompt = CITY.replace("<<say ", "<<call City ") if PROVIDER == "anthropic" else CITY
    return open_model(model).with_structured_output(City).invoke(prompt).model_dump()


if PROVIDER == "openai":

    def embeddings(model):
        from langchain_openai import OpenAIEmbeddings

        embedder = OpenAIEmbeddings(base_url=f"{URL}/v1", api_key=KEY, model=model, check_embedding_ctx_length=False)
        return embedder.embed_documents(TEXTS)


if PROVIDER == "ollama":

    def embeddings(model):
        from langchain_ollama import OllamaEmbeddings

        return OllamaEmbeddings(base_url=URL, model=model).embed_documents(TEXTS)


run(globals())
