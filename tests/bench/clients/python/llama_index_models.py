"""LlamaIndex; PROVIDER is openai-like or ollama."""

import os

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from checks import CHAT, CITY, KEY, STORY, TEXTS, URL, WEATHER, run, weather

PROVIDER = os.environ["PROVIDER"]


class City(BaseModel):
    """A city."""

    name: str
    population: int
    capital: bool


def get_weather(city: str) -> str:
    """Returns the weather in a city."""
    return weather(city)


def open_model(model) -> FunctionCallingLLM:
    if PROVIDER == "ollama":
        from llama_index.llms.ollama import Ollama

        return Ollama(base_url=URL, model=model, request_timeout=60, context_window=8000, additional_kwargs={"num_predict": 200})
    from llama_index.llms.openai_like import OpenAILike

    return OpenAILike(
        api_base=f"{URL}/v1",
        api_key=KEY,
        model=model,
        is_chat_model=True,
        is_function_calling_model=True,
        context_window=8000,
        max_tokens=200,
        max_retries=0,
        should_use_structured_outputs=True,
    )


def chat(model):
    return open_model(model).chat([ChatMessage(content=CHAT)]).message.content


def stream(model):
    for chunk in open_model(model).stream_chat([ChatMessage(content=STORY)]):
        yield chunk.delta


def tools(model):
    llm = open_model(model)
    tool = FunctionTool.from_defaults(get_weather)
    history = [ChatMessage(content=WEATHER)]
    answer = llm.chat_with_tools([tool], chat_history=history)
    history.append(answer.message)
    for call in llm.get_tool_calls_from_response(answer):
        result = str(tool.call(**call.tool_kwargs).raw_output)
        history.append(ChatMessage(role="tool", content=result, additional_kwargs={"tool_call_id": call.tool_id}))
    return llm.chat_with_tools([tool], chat_history=history).message.content


def structured(model):
    answer = open_model(model).as_structured_llm(City).chat([ChatMessage(content=CITY)])
    return answer.raw.model_dump()


def embeddings(model):
    if PROVIDER == "ollama":
        from llama_index.embeddings.ollama import OllamaEmbedding

        return OllamaEmbedding(base_url=URL, model_name=model).get_text_embedding_batch(TEXTS)
    from llama_index.embeddings.openai_like import OpenAILikeEmbedding

    embedder = OpenAILikeEmbedding(api_base=f"{URL}/v1", api_key=KEY, model_name=model, max_retries=0)
    return embedder.get_text_embedding_batch(TEXTS)


run(globals())
